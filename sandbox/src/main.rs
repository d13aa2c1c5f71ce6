//! The command `sandbox`: parses the command line and calls the library.

mod ci;
mod cli;
mod demo;
mod release;
mod stdout;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            sandbox_machine::Progress::default().say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
