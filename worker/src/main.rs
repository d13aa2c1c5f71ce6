//! The `order-worker` command: reads the command line and the environment, and runs the command.
//! Exit codes: 0 success, 1 failure, 2 invalid settings or arguments.

use std::process::ExitCode;

use clap::Parser;
use order_worker::commands::cli::{Cli, Command};
use order_worker::commands::settings::{database_url, task_queues};
use order_worker::commands::{self, run};
use taskqueue_worker::{Environment, LogOutput, TemporalSettings, run_command};

fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or_default();
    let environment = Environment::of_process();
    let output = if command.serves() {
        LogOutput::Stdout
    } else {
        LogOutput::Stderr
    };
    run_command(&environment, output, execute(command, &environment))
}

async fn execute(command: Command, environment: &Environment) -> anyhow::Result<ExitCode> {
    let temporal = || TemporalSettings::from_environment(environment);
    match command {
        Command::Run(args) => {
            let worker = taskqueue_worker::run(environment, async |environment| {
                run::worker(environment, args.standalone()).await
            });
            // Large, and the other commands need no such future.
            Box::pin(worker).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Start(mut args) => {
            let queue = environment.get("TEMPORAL_TASK_QUEUE").map(str::to_owned);
            args.task_queue = args.task_queue.or(queue);
            commands::start(temporal()?, &task_queues(environment)?, args).await
        }
        Command::Status(args) => commands::status(temporal()?, &args).await,
        Command::Cancel(args) => commands::cancel(temporal()?, &args).await,
        Command::Migrate => commands::migrate(&database_url(environment)?).await,
        #[cfg(feature = "standalone")]
        Command::Gateway(args) => {
            order_gateway::serve(args).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
