//! The `order-worker` command: reads the command line and the environment, sets up logs and TLS,
//! and runs the command. Exit codes: 0 success, 1 failure, 2 invalid settings or arguments.

use std::process::ExitCode;

use clap::Parser;
use order_worker::commands;
use order_worker::commands::cli::{self, Cli, Command};
use order_worker::logs;
use order_worker::settings::{LogFormat, SettingError, Settings, TemporalSettings, Variables};
use order_worker::settings::{database_url, log_format, task_queues};

fn main() -> ExitCode {
    // Must come before any use of TLS: once a provider is installed, no library has to pick one.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let variables: Variables = std::env::vars_os()
        // Lossy conversion, or a value that is not Unicode would count as absent.
        .filter_map(|(name, value)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        })
        .collect();
    let logs = log_format(&variables)
        .and_then(|format| start_logs(format, cli.command.as_ref(), &variables));
    if let Err(error) = logs {
        return fail(&error.into());
    }
    // The SDK's workers run on this thread, everything else on the runtime's threads: one thread
    // per core in total. One more thread makes tasks migrate between cores; on two cores, an order
    // then took 8 % more processor time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = match runtime.block_on(execute(cli, &variables)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    };
    // A DNS lookup that hangs on a blocking thread must not delay the exit.
    runtime.shutdown_background();
    code
}

async fn execute(cli: Cli, variables: &Variables) -> anyhow::Result<ExitCode> {
    match cli.command.unwrap_or_default() {
        Command::Run(args) => {
            let settings = Settings::from_variables(variables, args.standalone())?;
            order_worker::run::run(settings, args.standalone()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Start(args) => {
            let temporal = TemporalSettings::from_variables(variables)?;
            let queues = task_queues(variables)?;
            commands::start(temporal, &queues, args).await
        }
        Command::Status(args) => {
            commands::status(TemporalSettings::from_variables(variables)?, &args).await
        }
        Command::Cancel(args) => {
            commands::cancel(TemporalSettings::from_variables(variables)?, &args).await
        }
        Command::Migrate => commands::migrate(&database_url(variables)?).await,
        #[cfg(feature = "standalone")]
        Command::Gateway(args) => {
            order_gateway::serve(args).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Workers log to standard output, as containers do. Commands that print data log to standard
/// error.
fn start_logs(
    format: LogFormat,
    command: Option<&Command>,
    variables: &Variables,
) -> Result<(), SettingError> {
    let to_stdout = command.is_none_or(Command::serves);
    let default = if to_stdout { "info" } else { "warn" };
    let filter = variables.get("RUST_LOG").map(String::as_str);
    let filter = filter.filter(|text| !text.is_empty()).unwrap_or(default);
    if to_stdout {
        logs::start(format, filter, std::io::stdout)
    } else {
        logs::start(format, filter, std::io::stderr)
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a command are for people, not logs"
)]
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("order-worker: {error:#}");
    if error.is::<SettingError>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}
