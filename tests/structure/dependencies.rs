//! What a package may not be built from, directly or through another one. Runs `cargo tree`.
//!
//! The manifests of the other packages show at a glance what they may not do. The command line has
//! many dependencies, so one that brings the operator with it would go unnoticed.

use std::collections::BTreeSet;
use std::process::Command;

use crate::workspace;

/// The names of all packages that a package is built from, itself among them. Dependencies of tests
/// do not count.
fn built_from(package: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "no-dev"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(workspace::checkout())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// Those that belong to the operator or to Temporal's client.
fn of_the_operator_or_temporal(names: &BTreeSet<String>) -> Vec<&str> {
    let ours = ["taskqueue-operator", "taskqueue-temporal"];
    let names = names.iter().map(String::as_str);
    names
        .filter(|name| ours.contains(name) || name.starts_with("temporalio"))
        .collect()
}

#[test]
fn the_command_line_contains_neither_the_operator_nor_the_client_of_temporal() {
    let names = built_from("taskqueue-cli");
    assert!(names.contains("taskqueue-api"), "{names:?}");
    assert_eq!(of_the_operator_or_temporal(&names), Vec::<&str>::new());
    // The operator does contain them, so the check sees them.
    let names = built_from("taskqueue-operator");
    let found = of_the_operator_or_temporal(&names);
    for name in [
        "taskqueue-operator",
        "taskqueue-temporal",
        "temporalio-client",
    ] {
        assert!(found.contains(&name), "{found:?}");
    }
}
