//! The libraries and programs of the workspace, according to cargo. Runs `cargo metadata`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A library or a program.
pub(crate) struct Target {
    /// The name of its package, and its kind.
    pub(crate) name: String,
    /// The folder of its package, relative to the repository root.
    pub(crate) package: String,
    /// Its first file, relative to the repository root.
    pub(crate) root: String,
}

/// The folder of the repository, with a trailing slash.
pub(crate) fn checkout() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    format!("{}/", folder.to_str().unwrap())
}

/// The text of a file in the repository, if it exists.
pub(crate) fn read(path: &str) -> Option<String> {
    fs::read_to_string(format!("{}{path}", checkout())).ok()
}

/// The packages of the workspace, as `cargo metadata` has them.
pub(crate) fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(checkout())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// All libraries and programs, without tests and benches.
pub(crate) fn targets() -> Vec<Target> {
    let targets: Vec<Target> = packages().iter().flat_map(targets_of).collect();
    assert!(targets.len() > 8, "cargo names too few targets");
    targets
}

fn targets_of(package: &Value) -> Vec<Target> {
    let outside = ["test", "bench", "example", "custom-build"];
    let name = package["name"].as_str().unwrap();
    let manifest = relative(&package["manifest_path"]);
    let folder = manifest.trim_end_matches("/Cargo.toml");
    let targets = package["targets"].as_array().unwrap().iter();
    targets
        .filter(|target| {
            let kinds = target["kind"].as_array().unwrap();
            !kinds
                .iter()
                .any(|kind| outside.contains(&kind.as_str().unwrap()))
        })
        .map(|target| Target {
            name: format!("{name} ({})", target["kind"][0].as_str().unwrap()),
            package: folder.to_owned(),
            root: relative(&target["src_path"]),
        })
        .collect()
}

/// A path from the metadata, relative to the repository root.
fn relative(path: &Value) -> String {
    let path = path.as_str().unwrap().strip_prefix(&checkout());
    path.expect("every member is in the repository").to_owned()
}
