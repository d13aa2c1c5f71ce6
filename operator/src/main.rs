//! The command line: `run` is the operator, `crd` prints the resources' definitions, `simulate`
//! tries a policy on a trace, `top`, `explain`, `check` and `version` show people what runs, why,
//! and what is wrong. `completion` is for their shells.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use taskqueue_operator::commands::{check, completion, explain, simulate, top, version};
use taskqueue_operator::settings::Settings;
use taskqueue_operator::{logs, run};

/// The name of the program.
const PROGRAM: &str = "taskqueue-operator";
/// Its name as a kubectl plugin.
const PLUGIN: &str = "kubectl-tqw";

/// Runs Temporal workers on Kubernetes and keeps each task queue's fleet at the size its work
/// needs.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<Settings>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd {
        /// Write one file per definition into this folder instead. May be given several times.
        #[arg(long, value_name = "FOLDER")]
        dir: Vec<PathBuf>,
    },
    /// Compare a policy with the HPA, KEDA, Temporal's autoscaler and a fixed fleet on your own
    /// trace.
    #[command(after_help = simulate::HELP)]
    Simulate(Box<simulate::Arguments>),
    /// Show the fleets, their queues and the last decisions, live.
    #[command(after_help = top::HELP)]
    Top(Box<top::Arguments>),
    /// Explain why a queue has its current number of replicas.
    #[command(after_help = explain::HELP)]
    Explain(Box<explain::Arguments>),
    /// List what is wrong with a fleet and its workers, and what to do.
    #[command(after_help = check::HELP)]
    Check(Box<check::Arguments>),
    /// Show the versions of this program and of the operator in the cluster.
    #[command(after_help = version::HELP)]
    Version(Box<version::Arguments>),
    /// Print a script that completes the commands and flags in a shell.
    #[command(after_help = completion::HELP)]
    Completion {
        /// What completes.
        #[arg(value_enum)]
        completer: completion::Completer,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let done = match arguments()?.command {
        Command::Run(settings) => operate(&settings),
        Command::Crd { dir } if dir.is_empty() => print(&taskqueue_api::crds_yaml()?),
        Command::Crd { dir } => dir.iter().try_for_each(|dir| write_definitions(dir)),
        Command::Simulate(arguments) => print(&simulate::simulate(&arguments)?),
        Command::Top(arguments) => on_runtime(top::run(&arguments)),
        Command::Explain(arguments) => on_runtime(explain::run(&arguments)),
        Command::Check(arguments) => return Ok(list_issues(&arguments)),
        Command::Version(arguments) => on_runtime(version::run(&arguments)),
        Command::Completion { completer } => {
            let name = if is_plugin() { PLUGIN } else { PROGRAM };
            print(&completion::script(completer, Arguments::command(), name))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Runs `check`. The code 1 means that something is wrong with the fleet, so an error has another.
fn list_issues(arguments: &check::Arguments) -> ExitCode {
    let outcome = on_runtime(check::run(arguments)).unwrap_or_else(|error| {
        // If standard error is closed, nobody reads it.
        _ = writeln!(std::io::stderr(), "Error: {error:?}");
        check::Outcome::Unknown
    });
    outcome.into()
}

/// Parses the command line. Called as kubectl-tqw, the program is a kubectl plugin, and its help
/// says so.
fn arguments() -> anyhow::Result<Arguments> {
    let mut command = Arguments::command();
    if is_plugin() {
        command = command.bin_name("kubectl tqw");
    }
    Ok(Arguments::from_arg_matches(&command.get_matches())?)
}

fn is_plugin() -> bool {
    let called = std::env::args_os().next().map(PathBuf::from);
    let called = called.as_deref().and_then(Path::file_stem);
    called.is_some_and(|name| name == PLUGIN)
}

/// Installs the TLS provider, and runs `work` on a new tokio runtime.
fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is already installed"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}

fn write_definitions(dir: &Path) -> anyhow::Result<()> {
    for (name, text) in taskqueue_api::crd_files()? {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn operate(settings: &Settings) -> anyhow::Result<()> {
    logs::start(settings)?;
    on_runtime(run::run(settings))
}
