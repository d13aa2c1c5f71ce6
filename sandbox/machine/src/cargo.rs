//! The cargo command without the environment of an outer cargo. Starts nothing.

use std::process::Command;

/// Cargo with the environment of a direct call. `cargo run` sets variables about the package for
/// the program that it runs. If the build scripts of an inner cargo see them, *ring* and with it
/// the Temporal SDK are rebuilt on every alternation between the two.
pub fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}
