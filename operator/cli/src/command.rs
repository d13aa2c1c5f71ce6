//! The commands as the command line names them, and how each runs. `crd` writes files; the others
//! say in their modules what they do.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::output::print;
use crate::runtime::on_runtime;
use crate::{check, completion, explain, simulate, top, version};

/// A command for people.
#[derive(Debug, Clone, PartialEq, Subcommand)]
pub enum Command {
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
    #[command(after_help = top::help())]
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

impl Command {
    /// Runs the command, and returns the exit code. `program` is the whole command line of the
    /// program that it is a part of, under the name by which it is called.
    ///
    /// # Errors
    /// Those of the command, except of `check`: its code 1 means that something is wrong with the
    /// fleet, so it prints its errors itself and has another code for them.
    pub fn run(&self, program: clap::Command) -> anyhow::Result<ExitCode> {
        let done = match self {
            Self::Crd { dir } if dir.is_empty() => print(&taskqueue_api::crds_yaml()?),
            Self::Crd { dir } => dir.iter().try_for_each(|dir| write_definitions(dir)),
            Self::Simulate(arguments) => on_runtime(simulate::run(arguments)),
            Self::Top(arguments) => on_runtime(top::run(arguments)),
            Self::Explain(arguments) => on_runtime(explain::run(arguments)),
            Self::Check(arguments) => return Ok(list_issues(arguments)),
            Self::Version(arguments) => on_runtime(version::run(arguments)),
            Self::Completion { completer } => print(&completion::script(*completer, program)),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

fn list_issues(arguments: &check::Arguments) -> ExitCode {
    let outcome = on_runtime(check::run(arguments)).unwrap_or_else(|error| {
        // If standard error is closed, nobody reads it.
        _ = writeln!(std::io::stderr(), "Error: {error:?}");
        check::Outcome::Unknown
    });
    outcome.into()
}

fn write_definitions(dir: &Path) -> anyhow::Result<()> {
    for (name, text) in taskqueue_api::crd_files()? {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
