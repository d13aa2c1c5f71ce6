//! The log of the process: what is written, and what never is. Installs the subscriber.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, SettingError};

/// Starts the log, with the filter of `RUST_LOG`.
pub fn start(
    format: LogFormat,
    filter: &str,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<(), SettingError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| SettingError {
        variable: "RUST_LOG".to_owned(),
        problem: format!("is not a log filter: {error}"),
    })?;
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_discreet));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => log.with(lines.json()).init(),
        LogFormat::Text => log.with(lines).init(),
    }
    Ok(())
}

/// Whether a line is written, whatever `RUST_LOG` asks for. Some libraries write down what they were given.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target().split("::").next().unwrap_or_default();
    let most = match target {
        // A certificate that it cannot read, byte by byte; the payloads of tasks, cards among them.
        "rustls" | "temporalio_sdk" | "temporalio_sdk_core" => Level::DEBUG,
        _ => Level::TRACE,
    };
    *metadata.level() <= most
}
