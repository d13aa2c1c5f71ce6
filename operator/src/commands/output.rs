//! How `top` and `explain` print. Writes to standard output.

use std::io::Write as _;

use anyhow::Context as _;
use clap::ValueEnum;

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON object. What is unknown is absent. Implies --once.
    Json,
}

/// Prints to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
