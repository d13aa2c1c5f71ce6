//! What may be published: one package, which depends on nothing that is not, and which cargo packs
//! completely. Starts cargo, which packs and does not compile.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::workspace;

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

#[test]
fn only_the_library_for_workers_is_published_and_its_dependencies_have_versions() {
    let packages = workspace::packages();
    // `null` allows every registry, an empty list none.
    let published: Vec<&Value> = packages.iter().filter(|p| p["publish"].is_null()).collect();
    let names: Vec<&str> = published.iter().map(|package| name(package)).collect();
    assert_eq!(names, ["taskqueue-worker"]);
    let is_private = |dependency: &Value| {
        let own = packages
            .iter()
            .any(|package| name(package) == name(dependency));
        own && !names.contains(&name(dependency))
    };
    for package in published {
        let all = package["dependencies"].as_array().unwrap().iter();
        // Cargo leaves development dependencies without a version out of the package.
        let wrong: Vec<&str> = all
            .filter(|dependency| dependency["kind"] != "dev")
            .filter(|dependency| dependency["req"] == "*" || is_private(dependency))
            .map(name)
            .collect();
        assert_eq!(wrong, Vec::<&str>::new(), "{}", name(package));
    }
}

/// Packs the published package, or lists the files that it would have.
fn package(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--package", "taskqueue-worker", "--offline"])
        // A change that is not committed yet is checked as well.
        .args(["--allow-dirty", "--color", "never"])
        .args(["--target-dir", env!("CARGO_TARGET_TMPDIR")])
        .args(arguments)
        .current_dir(workspace::checkout())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo package: {errors}");
    output
}

#[test]
fn cargo_packs_the_library_and_misses_nothing_in_its_manifest() {
    let output = package(&["--no-verify"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("warning"))
        .collect();
    assert_eq!(
        warnings,
        [
            "warning: ignoring test `worker` as `tests/worker/main.rs` is not included in the \
             published package"
        ]
    );
    let packages = workspace::packages();
    let library = packages
        .iter()
        .find(|package| name(package) == "taskqueue-worker")
        .unwrap();
    for field in ["description", "license", "readme", "documentation"] {
        assert!(library[field].is_string(), "{field}: {}", library[field]);
    }
    // The limits of crates.io.
    for field in ["keywords", "categories"] {
        let words = library[field].as_array().unwrap();
        assert!((1..=5).contains(&words.len()), "{field}: {words:?}");
    }
}

/// The files that a source includes when it is compiled, relative to the package.
fn included(source: &str, text: &str) -> Vec<PathBuf> {
    let folder = Path::new(source).parent().unwrap();
    let calls = text.match_indices("include_").filter_map(|(at, _)| {
        let (_, argument) = text[at..].split_once("!(\"")?;
        Some(argument.split_once('"')?.0)
    });
    calls
        .map(|file| {
            let mut path = PathBuf::new();
            for part in folder.join(file).components() {
                match part {
                    Component::ParentDir => assert!(path.pop(), "{file} is outside the package"),
                    part => path.push(part),
                }
            }
            path
        })
        .collect()
}

#[test]
fn the_packed_library_has_its_licence_its_example_and_every_file_that_it_includes() {
    let output = package(&["--list"]);
    let listed = String::from_utf8(output.stdout).unwrap();
    let files: BTreeSet<&Path> = listed.lines().map(Path::new).collect();
    for file in ["Cargo.toml", "LICENSE", "README.md", "examples/minimal.rs"] {
        assert!(
            files.contains(Path::new(file)),
            "{file} is missing in\n{listed}"
        );
    }
    let sources: Vec<&str> = listed
        .lines()
        .filter(|file| Path::new(file).extension() == Some("rs".as_ref()))
        .collect();
    assert!(sources.len() > 30, "{listed}");
    let mut includes = 0;
    for source in sources {
        let text = workspace::read(&format!("worker/library/{source}")).unwrap();
        for file in included(source, &text) {
            assert!(
                files.contains(&*file),
                "{source} includes {}",
                file.display()
            );
            includes += 1;
        }
    }
    assert!(includes > 0, "the library's documentation is its README.md");
}
