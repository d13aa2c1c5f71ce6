//! The log of `run`: what is written, where, and what never is. Installs the subscriber of the
//! process.

use anyhow::Context as _;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, Settings};

/// Starts the log on standard error.
///
/// # Errors
/// If the filter is none.
pub fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level)
        .with_context(|| format!("the log filter {:?}", settings.log_level))?;
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_discreet));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            log.with(lines.with_current_span(false).with_span_list(false))
                .init();
        }
        LogFormat::Text => log.with(lines).init(),
    }
    Ok(())
}

/// Whether a line is written, whatever the settings ask for. Some libraries write down what they
/// were given, and some of that comes from Secrets.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let most = match metadata.target() {
        // A certificate that it cannot read, byte by byte: a private key, if the wrong key of a
        // Secret was named.
        target if target == "rustls" || target.starts_with("rustls::") => Level::DEBUG,
        // Whole answers that it cannot decode: a TokenReview with its token, pods with their
        // variables. The error is returned all the same.
        "kube_client::client" => Level::ERROR,
        _ => Level::TRACE,
    };
    *metadata.level() <= most
}
