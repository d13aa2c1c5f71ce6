//! Decides which requests fail, and how. Pure and repeatable: the same seed, key and attempt give
//! the same answer on every machine.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// What goes wrong with one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 500; nothing was charged.
    ServerError,
    /// 429 with this many seconds of `Retry-After`; nothing was charged.
    RateLimit(u32),
    /// The answer is delayed by this time.
    Slow(Duration),
    /// The order is charged, but the answer is a 500.
    LostAnswer,
}

/// The rules. Rates are fractions of 1: 0 is never, 1 is always.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultOptions {
    /// Changes which keys and attempts are hit.
    pub seed: u64,
    /// Fraction of the attempts answered with 500.
    pub error_rate: f64,
    /// Fraction of the attempts answered with 429.
    pub rate_limit_rate: f64,
    /// Fraction of the attempts answered late.
    pub slow_rate: f64,
    /// Fraction of the attempts that are charged but answered with 500.
    pub lost_rate: f64,
    /// Fraction of the keys that are declined.
    pub decline_rate: f64,
    /// Cards that are declined, besides `tok_declined`.
    pub decline_cards: Vec<String>,
    /// Amounts that are declined.
    pub decline_amounts: Vec<i64>,
    /// `Retry-After` of a 429, in seconds.
    pub retry_after_seconds: u32,
    /// Delay of a slow answer.
    pub slow: Duration,
}

impl Default for FaultOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            error_rate: 0.0,
            rate_limit_rate: 0.0,
            slow_rate: 0.0,
            lost_rate: 0.0,
            decline_rate: 0.0,
            decline_cards: Vec::new(),
            decline_amounts: Vec::new(),
            retry_after_seconds: 1,
            slow: Duration::from_secs(2),
        }
    }
}

impl FaultOptions {
    /// The fault of this attempt (counted from 1), if any.
    pub(super) fn fault(&self, key: &str, attempt: u32, card: Option<&str>) -> Option<Fault> {
        match card {
            Some("tok_flaky") if attempt <= 2 => return Some(Fault::ServerError),
            Some("tok_broken") => return Some(Fault::ServerError),
            Some("tok_rate_limited") if attempt == 1 => {
                return Some(Fault::RateLimit(self.retry_after_seconds));
            }
            Some("tok_slow") => return Some(Fault::Slow(self.slow)),
            // Longer than any client waits.
            Some("tok_timeout") => return Some(Fault::Slow(Duration::from_mins(1))),
            Some("tok_lost") => return Some(Fault::LostAnswer),
            Some(card) => {
                // `tok_delay_8000` answers after 8 seconds.
                if let Some(millis) = card.strip_prefix("tok_delay_").and_then(|n| n.parse().ok()) {
                    return Some(Fault::Slow(Duration::from_millis(millis)));
                }
                // `tok_flaky_1` fails once.
                let failures = card.strip_prefix("tok_flaky_").and_then(|n| n.parse().ok());
                if failures.is_some_and(|failures: u32| attempt <= failures) {
                    return Some(Fault::ServerError);
                }
            }
            None => {}
        }
        let mut chance = self.chance(&format!("{key}\0{attempt}"));
        for (rate, fault) in [
            (self.error_rate, Fault::ServerError),
            (
                self.rate_limit_rate,
                Fault::RateLimit(self.retry_after_seconds),
            ),
            (self.lost_rate, Fault::LostAnswer),
            (self.slow_rate, Fault::Slow(self.slow)),
        ] {
            if chance < rate {
                return Some(fault);
            }
            chance -= rate;
        }
        None
    }

    /// Whether this key is declined, at every attempt.
    pub(super) fn declines(&self, key: &str, card: Option<&str>, amount: i64) -> bool {
        card == Some("tok_declined")
            || card.is_some_and(|card| self.decline_cards.iter().any(|c| c == card))
            || self.decline_amounts.contains(&amount)
            || self.chance(&format!("{key}\0decline")) < self.decline_rate
    }

    /// A number from 0 to 1 that depends only on the seed and the text.
    fn chance(&self, text: &str) -> f64 {
        let digest = Sha256::digest(format!("{}\0{text}", self.seed));
        let [a, b, c, d, ..] = digest[..] else {
            return 1.0;
        };
        f64::from(u32::from_be_bytes([a, b, c, d])) / 4_294_967_296.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_repeat_and_keep_their_rates() {
        let options = FaultOptions {
            error_rate: 0.2,
            decline_rate: 0.1,
            ..FaultOptions::default()
        };
        let keys: Vec<String> = (0..5000).map(|n| format!("order-{n}-charge")).collect();
        let errors = keys
            .iter()
            .filter(|key| options.fault(key, 1, None).is_some())
            .count();
        let declines = keys
            .iter()
            .filter(|key| options.declines(key, None, 1))
            .count();
        assert!((900..1100).contains(&errors), "{errors} of 5000");
        assert!((420..580).contains(&declines), "{declines} of 5000");
        assert!(
            keys.iter()
                .all(|key| options.fault(key, 1, None) == options.fault(key, 1, None))
        );
    }

    #[test]
    fn cards_decide_before_rates() {
        let options = FaultOptions {
            error_rate: 1.0,
            ..FaultOptions::default()
        };
        assert_eq!(
            options.fault("k", 1, Some("tok_lost")),
            Some(Fault::LostAnswer)
        );
        let options = FaultOptions::default();
        let flaky = |attempt| options.fault("k", attempt, Some("tok_flaky"));
        assert_eq!(
            [flaky(1), flaky(2), flaky(3)],
            [Some(Fault::ServerError), Some(Fault::ServerError), None]
        );
        let once = |attempt| options.fault("k", attempt, Some("tok_flaky_1"));
        assert_eq!([once(1), once(2)], [Some(Fault::ServerError), None]);
        assert_eq!(
            options.fault("k", 1, Some("tok_delay_8000")),
            Some(Fault::Slow(Duration::from_secs(8)))
        );
        assert!(options.declines("k", Some("tok_declined"), 1));
        assert!(!options.declines("k", Some("tok_ok"), 1));
    }
}
