//! The command line of the stand-in. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::faults::FaultOptions;
use crate::options::GatewayOptions;

/// Arguments of `gateway`. Rates are fractions of 1. The same seed hits the same keys and attempts
/// in every run.
///
/// Cards with a fixed behavior: tok_declined (402), tok_flaky (500 twice, then charged),
/// tok_flaky_N (500 N times, then charged), tok_broken (always 500, never charged), tok_lost
/// (charged, but always answered with 500), tok_slow (answered after --slow-ms), tok_delay_N
/// (answered after N milliseconds), tok_timeout (charged, answered after a minute),
/// tok_rate_limited (429 once).
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Keep the ledger in this file: read at the start, then appended to.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Changes which keys and attempts the rates hit.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Fraction of the attempts answered with 500 and not charged.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub error_rate: f64,
    /// Fraction of the attempts answered with 429 and Retry-After.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub rate_limit_rate: f64,
    /// Fraction of the attempts answered late.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub slow_rate: f64,
    /// Fraction of the attempts that are charged but answered with 500.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub lost_rate: f64,
    /// Fraction of the keys that are declined.
    #[arg(long, default_value_t = 0.0, value_parser = rate)]
    pub decline_rate: f64,
    /// A card that is declined; may be repeated.
    #[arg(long = "decline-card", value_name = "TOKEN")]
    pub decline_cards: Vec<String>,
    /// An amount that is declined; may be repeated.
    #[arg(long = "decline-amount", value_name = "AMOUNT")]
    pub decline_amounts: Vec<i64>,
    /// Retry-After of a 429, in seconds.
    #[arg(long, default_value_t = 1)]
    pub retry_after_seconds: u32,
    /// Delay of a slow answer, in milliseconds.
    #[arg(long, default_value_t = 2000)]
    pub slow_ms: u64,
    /// Delay of every answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
}

impl GatewayArgs {
    /// Converts the arguments into the options of the stand-in.
    pub fn options(&self) -> GatewayOptions {
        GatewayOptions {
            faults: FaultOptions {
                seed: self.seed,
                error_rate: self.error_rate,
                rate_limit_rate: self.rate_limit_rate,
                slow_rate: self.slow_rate,
                lost_rate: self.lost_rate,
                decline_rate: self.decline_rate,
                decline_cards: self.decline_cards.clone(),
                decline_amounts: self.decline_amounts.clone(),
                retry_after_seconds: self.retry_after_seconds,
                slow: Duration::from_millis(self.slow_ms),
            },
            ledger: self.ledger.clone(),
            keep: None,
            delay: Duration::from_millis(self.delay_ms),
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or_else(|| "must be a number from 0 to 1".to_owned())
}
