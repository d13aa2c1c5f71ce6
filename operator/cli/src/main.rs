//! The program `kubectl-tqw`, a kubectl plugin: parses the command line and runs the command.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use taskqueue_cli::Command;

/// Shows and explains fleets of Temporal workers, and tries scaling policies. Changes no cluster.
#[derive(Parser)]
#[command(name = "kubectl-tqw", bin_name = "kubectl tqw", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> anyhow::Result<ExitCode> {
    Arguments::parse().command.run(Arguments::command())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_names_itself_as_kubectl_calls_it() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        let usage = command.render_usage().to_string();
        assert_eq!(usage, "Usage: kubectl tqw <COMMAND>");
        let version = command.render_version();
        assert_eq!(
            version,
            concat!("kubectl-tqw ", env!("CARGO_PKG_VERSION"), "\n")
        );
    }
}
