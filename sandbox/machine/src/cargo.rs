//! The cargo command without the environment of an outer cargo. Starts nothing.

use std::process::Command;

/// Cargo, as if a person called it. `cargo run` tells the program that it runs about the package
/// that it belongs to; an inner cargo whose build scripts see that builds *ring* again, and with it
/// the Temporal SDK, each time that the two take turns.
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
