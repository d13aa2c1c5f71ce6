//! The log of the process: its format, its filter, and what it never contains. Installs the
//! subscriber.

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::{LogFormat, SettingError};

/// Installs the subscriber with a filter in the syntax of `RUST_LOG`.
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

/// Whether a line may be written, whatever `RUST_LOG` asks for. At trace level, some libraries log
/// the data that they process.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target().split("::").next().unwrap_or_default();
    let most = match target {
        // rustls logs a certificate that it cannot parse, byte by byte; the SDK logs the payloads
        // of tasks, with their cards.
        "rustls" | "temporalio_sdk" | "temporalio_sdk_core" => Level::DEBUG,
        _ => Level::TRACE,
    };
    *metadata.level() <= most
}
