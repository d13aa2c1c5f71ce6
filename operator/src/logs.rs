//! The log of `run`: its format, its filter, and what is never logged. Installs the process's
//! tracing subscriber.

use anyhow::Context as _;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, Settings};

/// Starts logging to standard error.
///
/// # Errors
/// If the log filter cannot be parsed.
pub fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.log_level)
        .with_context(|| format!("invalid log filter {:?}", settings.log_level))?;
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

/// Whether a line may be written, whatever the settings ask for. Some libraries log their input,
/// and some of that comes from Secrets.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let most = match metadata.target() {
        // At TRACE it logs certificates that it cannot parse, byte by byte. Such a certificate may
        // be a private key, if a fleet names the wrong key of a Secret.
        target if target == "rustls" || target.starts_with("rustls::") => Level::DEBUG,
        // It logs whole answers that it cannot decode: a TokenReview with its token, pods with
        // their environment variables. It returns the error in any case. The watcher warns each
        // time that a watch is refused, which the caches report once.
        "kube_client::client" | "kube_runtime::watcher" => Level::ERROR,
        _ => Level::TRACE,
    };
    *metadata.level() <= most
}
