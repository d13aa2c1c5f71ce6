//! The cargo command without the environment of an outer cargo, and what it says that it built.
//! Starts cargo.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::{
    error::{Attempt, Error, Result},
    run,
};

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

/// Runs a build of cargo for these binaries, and returns where each is. Cargo's own output goes to
/// standard error.
pub fn executables(build: &mut Command, binaries: &[&str]) -> Result<Vec<PathBuf>> {
    build.arg("--message-format=json-render-diagnostics");
    for binary in binaries {
        build.args(["--bin", binary]);
    }
    let what = run::describe(build);
    let output = build
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .attempt(|| format!("starting {what}"))?;
    if !output.status.success() {
        let why = format!("{}; see the output above", output.status);
        return Err(Error::Command {
            what,
            why,
            tail: String::new(),
        });
    }
    let text = String::from_utf8_lossy(&output.stdout);
    binaries.iter().map(|binary| find(&text, binary)).collect()
}

/// A line of cargo's output about an artifact.
#[derive(Debug, Deserialize)]
struct Made {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
}

fn find(output: &str, binary: &str) -> Result<PathBuf> {
    output
        .lines()
        .filter_map(|line| serde_json::from_str::<Made>(line).ok())
        .find_map(|made| {
            made.executable
                .filter(|_| made.target.is_some_and(|target| target.name == binary))
        })
        .ok_or_else(|| Error::Machine(format!("cargo built no binary {binary}")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_binary_is_where_cargo_says() {
        let output = r#"
{"reason":"compiler-artifact","target":{"name":"order_worker"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"order-worker"},"executable":"/t/debug/order-worker"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            find(output, "order-worker").unwrap(),
            Path::new("/t/debug/order-worker")
        );
        assert_eq!(
            find(output, "taskqueue-operator").unwrap_err().to_string(),
            "cargo built no binary taskqueue-operator"
        );
    }
}
