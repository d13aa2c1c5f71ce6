//! The structure of the workspace: no Rust files import each other in a circle, the map in
//! ARCHITECTURE.md names only what exists, the command line is built without the operator, only
//! what may be published can be, and no line is too long. Reads the sources and runs
//! `cargo metadata` and `cargo tree`; needs no cluster.
//!
//! `imports` defines what counts as an import, `resolve` how a name leads to the file that defines
//! it. Code that is compiled only for tests does not count.
//!
//! Why not `cargo modules dependencies --acyclic`: it embeds rust-analyzer, would have to be
//! installed beside cargo, and shows only the first circle of one target at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic freely"
)]

mod attributes;
mod circles;
mod dependencies;
mod fixtures;
mod imports;
mod map;
mod modules;
mod published;
mod resolve;
mod width;
mod workspace;

use crate::circles::{Arrow, circles};
use crate::modules::Modules;

/// Finds the circles of the crate with this root file; `read` returns the text of a file, if it
/// exists.
fn circles_of(root: &str, read: &dyn Fn(&str) -> Option<String>) -> Vec<Vec<Arrow>> {
    let modules = Modules::load(root, read);
    circles(&imports::imports(&modules))
}

/// Formats a circle for people: one arrow per line, with the names that the first file uses.
fn lines(circle: &[Arrow]) -> Vec<String> {
    let line = |arrow: &Arrow| {
        let names: Vec<&str> = arrow.names.iter().map(String::as_str).collect();
        format!("{} -> {}: {}", arrow.from, arrow.to, names.join(", "))
    };
    circle.iter().map(line).collect()
}

#[test]
fn no_files_of_the_workspace_import_each_other_in_a_circle() {
    let mut found = Vec::new();
    for target in workspace::targets() {
        for circle in circles_of(&target.root, &workspace::read) {
            found.push(format!("{}, {} files", target.name, circle.len()));
            found.extend(lines(&circle).iter().map(|line| format!("  {line}")));
        }
    }
    assert!(
        found.is_empty(),
        "these files import each other in a circle; move what they share to a file of its own:\n{}",
        found.join("\n")
    );
}
