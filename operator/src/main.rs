//! The command line of the image: `run` is the operator, and the other commands are those of the
//! program for people, `kubectl-tqw`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use taskqueue_cli::runtime::on_runtime;
use taskqueue_operator::settings::Settings;
use taskqueue_operator::{logs, run};

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
    #[command(flatten)]
    ForPeople(taskqueue_cli::Command),
}

fn main() -> anyhow::Result<ExitCode> {
    let program = program();
    let matches = program.clone().get_matches();
    match Arguments::from_arg_matches(&matches)?.command {
        Command::Run(settings) => {
            logs::start(&settings)?;
            on_runtime(run::run(&settings))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::ForPeople(command) => command.run(program),
    }
}

/// The command line. Called as kubectl-tqw, the program is a kubectl plugin, and its help says so.
fn program() -> clap::Command {
    const PLUGIN: &str = "kubectl-tqw";
    let called = std::env::args_os().next().map(PathBuf::from);
    let called = called.as_deref().and_then(Path::file_stem);
    let program = Arguments::command();
    if called.is_some_and(|name| name == PLUGIN) {
        program.name(PLUGIN).bin_name("kubectl tqw")
    } else {
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_of_the_image_has_the_commands_for_people_beside_run() {
        let command = Arguments::command();
        command.clone().debug_assert();
        let names: Vec<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let of_people = [
            "crd",
            "simulate",
            "top",
            "explain",
            "check",
            "version",
            "completion",
        ];
        assert_eq!(names, [&["run"], &of_people[..]].concat());
    }
}
