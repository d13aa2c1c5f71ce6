//! The log of the process: its format, its colours, its filter, and what it never contains.
//! Installs the subscriber.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::environment::{Environment, SettingError};
use crate::settings::LogFormat;

/// Where the log goes. A worker logs to standard output, as containers do; a command that prints
/// data logs to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output, from level `info` unless `RUST_LOG` is set.
    Stdout,
    /// Standard error, from level `warn` unless `RUST_LOG` is set.
    Stderr,
}

/// Installs the subscriber, by `RUST_LOG` and `TASKQUEUE_WORKER_LOG_FORMAT`.
pub(crate) fn start(environment: &Environment, output: LogOutput) -> Result<(), SettingError> {
    let format = LogFormat::from_environment(environment)?;
    match output {
        LogOutput::Stdout => {
            let is_terminal = std::io::stdout().is_terminal();
            install(environment, "info", format, is_terminal, std::io::stdout)
        }
        LogOutput::Stderr => {
            let is_terminal = std::io::stderr().is_terminal();
            install(environment, "warn", format, is_terminal, std::io::stderr)
        }
    }
}

fn install(
    environment: &Environment,
    default: &str,
    format: LogFormat,
    is_terminal: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<(), SettingError> {
    let filter = environment.get("RUST_LOG").unwrap_or(default);
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| SettingError::new("RUST_LOG", format!("is not a log filter: {error}")))?;
    let log = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(is_discreet));
    // https://no-color.org
    let has_colours = is_terminal && environment.get("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(has_colours)
        .with_writer(writer);
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
