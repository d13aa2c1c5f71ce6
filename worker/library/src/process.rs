//! The process around a worker or another command: TLS provider, log, runtime, exit code.

use std::path::Path;
use std::process::ExitCode;

use crate::environment::{Environment, SettingError};
use crate::logs::{self, LogOutput};
use crate::run;
use crate::worker::Worker;

/// The `main` of a program that is one worker: runs it until SIGTERM or SIGINT (see
/// [`run`](crate::run)).
///
/// Exit codes: 0 after a drain, 1 for an error, 2 for an invalid setting.
pub fn main<F>(build: F) -> ExitCode
where
    F: AsyncFnOnce(&Environment) -> anyhow::Result<Worker>,
{
    let environment = Environment::of_process();
    run_command(&environment, LogOutput::Stdout, async {
        run::run(&environment, build).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs one command of a program: installs the TLS provider and the log, makes the runtime, and
/// turns an error into an exit code: 2 for an invalid setting ([`SettingError`]), 1 for any other.
pub fn run_command(
    environment: &Environment,
    output: LogOutput,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> ExitCode {
    // Must come before any use of TLS: once a provider is installed, no library has to pick one.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    if let Err(error) = logs::start(environment, output) {
        return fail(&error.into());
    }
    // The SDK's workers run on this thread, everything else on the runtime's threads: one thread
    // per core in total. One more thread makes tasks migrate between cores; on two cores, a
    // workflow with four activities then took 8 % more processor time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(1).max(1))
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let code = match runtime.block_on(command) {
        Ok(code) => code,
        Err(error) => fail(&error),
    };
    // A DNS lookup that hangs on a blocking thread must not delay the exit.
    runtime.shutdown_background();
    code
}

#[expect(
    clippy::print_stderr,
    reason = "the last words of a command are for people, not logs"
)]
fn fail(error: &anyhow::Error) -> ExitCode {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    eprintln!("{}: {error:#}", program.display());
    if error.is::<SettingError>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}
