//! Builds the order worker with cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

/// A folder below the target folder for the files of this program.
pub(crate) fn scratch() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-worker");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Builds the order worker with the release profile. An error says why there is none.
pub(crate) fn order_worker() -> anyhow::Result<PathBuf> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--release", "--workspace", "--bin", "order-worker"]);
    command.arg("--message-format=json-render-diagnostics");
    // The variables that cargo sets for this package must not reach other build scripts.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    anyhow::ensure!(
        output.status.success(),
        "order-worker cannot be built; why stands above"
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|made| made["target"]["name"] == "order-worker")
        .find_map(|made| made["executable"].as_str().map(PathBuf::from))
        .context("cargo built no order-worker")
}
