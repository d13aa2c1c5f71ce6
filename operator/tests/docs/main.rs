//! Checks the documentation against the code: generated blocks, names that must exist, links.
//!
//! Reads files of the repository; with `UPDATE_DOCS=1` it rewrites the blocks in `docs/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod operations;
mod scaling;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use taskqueue_api::Reason;
use taskqueue_operator::metrics::table::{self, Kind, Spec};
use taskqueue_scaling::{self as core, Stuck, UnknownReason};

use crate::operations::{
    alerts, conditions, errors, explain_flags, flags, metrics, reasons, rights, scaling_reasons,
    top_flags,
};
use crate::scaling::{
    SNAPSHOTS, TRACES, call_budget, defaults, quiet_budget, simulate_flags, simulation_cuts,
    simulation_summary, simulation_tables, worked_example,
};

const SCALING: &str = "docs/scaling.md";
const OPERATIONS: &str = "docs/operations.md";
const ALL: [&str; 11] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    SCALING,
    OPERATIONS,
    "docs/workers.md",
    "charts/taskqueue-operator/README.md",
    "sandbox/demo/README.md",
    "worker/README.md",
    "worker/GATEWAY.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the operator lies in the repository")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// ---------------------------------------------------------------- the blocks

#[test]
fn the_tables_of_scaling_are_those_of_the_code() {
    check(
        SCALING,
        &[
            ("worked-example", worked_example()),
            ("call-budget", call_budget()),
            ("quiet-budget", quiet_budget()),
            ("defaults", defaults()),
            ("simulate-flags", simulate_flags()),
            ("simulation-summary", simulation_summary()),
            ("simulation-tables", simulation_tables()),
            ("simulation-cuts", simulation_cuts()),
        ],
    );
}

#[test]
fn the_tables_of_operations_are_those_of_the_code() {
    check(
        OPERATIONS,
        &[
            ("conditions", conditions()),
            ("reasons", reasons(|word| !word.starts_with("Event"))),
            ("events", reasons(|word| word.starts_with("Event"))),
            ("scaling-reasons", scaling_reasons()),
            ("metrics", metrics()),
            ("alerts", alerts()),
            ("flags", flags()),
            ("top-flags", top_flags()),
            ("explain-flags", explain_flags()),
            ("rights", rights()),
            ("errors", errors()),
        ],
    );
}

/// Compares the blocks of a file with the expected content, or rewrites them.
fn check(path: &str, blocks: &[(&str, String)]) {
    let before = read(path);
    let mut after = before.clone();
    for (name, body) in blocks {
        let (begin, end) = markers(name);
        let (head, rest) = after
            .split_once(&begin)
            .unwrap_or_else(|| panic!("{path} has no line {begin}"));
        let (_, tail) = rest
            .split_once(&end)
            .unwrap_or_else(|| panic!("{path} has no line {end}"));
        after = format!("{head}{begin}\n{}\n{end}{tail}", body.trim_end());
    }
    let known: BTreeSet<String> = blocks.iter().map(|(name, _)| markers(name).0).collect();
    let marked = before
        .lines()
        .filter(|line| line.starts_with("<!-- begin: "));
    let unknown: Vec<&str> = marked.filter(|line| !known.contains(*line)).collect();
    assert_eq!(unknown, Vec::<&str>::new(), "nobody makes these blocks");
    if before == after {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), after).unwrap();
        return;
    }
    let differs = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    panic!(
        "{path} is not what the code says; run UPDATE_DOCS=1 cargo test -p taskqueue-operator --test docs. First: {differs:#?}"
    );
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- begin: {name} -->"),
        format!("<!-- end: {name} -->"),
    )
}

/// A Markdown table. Escapes bars, which would end a cell.
fn rows(head: &[&str], body: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = line(&head);
    text.push_str(&line(&vec!["---".to_owned(); head.len()]).replace(' ', ""));
    for cells in body {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        text.push_str(&line(&cells));
    }
    text
}

fn code(word: impl std::fmt::Display) -> String {
    format!("`{word}`")
}

fn rules() -> Value {
    serde_saphyr::from_str(&read("charts/taskqueue-operator/files/rules.yaml")).unwrap()
}

// ---------------------------------------------------------------- words and links

#[test]
fn every_snapshot_of_a_trace_is_in_the_documentation() {
    let names = fs::read_dir(root().join(SNAPSHOTS)).unwrap().map(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().into_owned()
    });
    let of_traces: BTreeSet<String> = names
        .filter_map(|name| {
            let trace = name.strip_prefix("simulation__bar__")?;
            Some(trace.trim_end_matches(".snap").to_owned())
        })
        .collect();
    assert_eq!(of_traces, TRACES.map(str::to_owned).into());
}

#[test]
fn every_metric_that_is_named_exists() {
    const PREFIX: &str = "taskqueue_operator_";
    let names: BTreeSet<&str> = table::ALL.iter().map(|spec| spec.name).collect();
    let known = |word: &str| {
        let parts = ["_bucket", "_sum", "_count"];
        names.contains(word)
            || parts
                .iter()
                .filter_map(|part| word.strip_suffix(part))
                .any(|name| {
                    let histogram =
                        |spec: &&Spec| spec.name == name && spec.kind == Kind::Histogram;
                    table::ALL.iter().any(|spec| histogram(&spec))
                })
    };
    let mut unknown = Vec::new();
    for path in ALL {
        let text = read(path);
        for (at, _) in text.match_indices(PREFIX) {
            let rest = &text[at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            // The prefix alone stands for all of them.
            if word != PREFIX && !known(word) {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_reason_says_what_to_do_and_every_limit_what_it_does() {
    let operations = by_hand(&read(OPERATIONS));
    let scaling = by_hand(&read(SCALING));
    let own = Reason::OWN.iter().map(|reason| reason.as_str());
    let stuck = Stuck::ALL.map(Stuck::as_str);
    let unknown = UnknownReason::ALL.map(UnknownReason::as_str);
    let missing: Vec<&str> = own
        .chain(stuck)
        .chain(unknown)
        .filter(|word| !operations.contains(&code(word)))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{OPERATIONS}");
    let missing: Vec<&str> = core::Reason::ALL
        .map(core::Reason::as_str)
        .into_iter()
        .filter(|word| !scaling.contains(&code(word)))
        .collect();
    assert_eq!(missing, Vec::<&str>::new(), "{SCALING}");
}

/// A text without its generated blocks.
fn by_hand(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside |= line.starts_with("<!-- begin: ");
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.starts_with("<!-- end: ");
    }
    kept
}

#[test]
fn every_alert_that_is_named_exists() {
    let rules = rules().to_string();
    let mut unknown = Vec::new();
    for path in ALL {
        let text = read(path);
        for word in quoted(&text) {
            let alert = word.starts_with("TaskQueue")
                && word.chars().all(|c| c.is_ascii_alphanumeric())
                && !["TaskQueueWorker", "TaskQueue"].contains(&word);
            if alert && !rules.contains(&format!("\"alert\":\"{word}\"")) {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_value_of_the_chart_and_every_field_that_is_named_exists() {
    let values: Value =
        serde_saphyr::from_str(&read("charts/taskqueue-operator/values.yaml")).unwrap();
    let crd: Value =
        serde_saphyr::from_str(&read("crds/taskqueue.dev_taskqueueworkers.yaml")).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    // Fields are named relative to the spec, to a queue, or to `scaling`.
    let fields = [
        spec,
        &spec["properties"]["queues"]["items"],
        &spec["properties"]["scaling"],
    ];
    let mut unknown = Vec::new();
    for path in ALL {
        let text = read(path);
        for name in quoted(&text).filter_map(dotted) {
            let parts: Vec<&str> = name.split('.').collect();
            let of_chart = values[parts[0]].is_object();
            let of_spec = |schema: &&Value| schema["properties"].get(parts[0]).is_some();
            let there = values.pointer(&format!("/{}", parts.join("/"))).is_some()
                || fields.iter().any(|schema| {
                    let pointer = format!("/properties/{}", parts.join("/properties/"));
                    schema.pointer(&pointer).is_some()
                });
            if (of_chart || fields.iter().any(of_spec)) && !there {
                unknown.push(format!("{path}: {name}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

/// The name in `a.b`, `a.b: value` and `a.b=value`.
fn dotted(word: &str) -> Option<&str> {
    let name = word.split([':', '=']).next()?.trim();
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphabetic());
    (name.contains('.') && name.split('.').all(plain)).then_some(name)
}

#[test]
fn every_link_and_path_leads_somewhere() {
    let mut lost = Vec::new();
    for path in ALL {
        let text = by_hand(&read(path));
        let folder = root().join(path).parent().expect("a folder").to_owned();
        for target in linked(&text) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if file.is_empty() {
                root().join(path)
            } else {
                folder.join(file)
            };
            if !there.exists() {
                lost.push(format!("{path}: {target}"));
            } else if !anchor.is_empty() && there.is_file() {
                let text = fs::read_to_string(&there).unwrap();
                if !headings(&text).contains(anchor) {
                    lost.push(format!("{path}: {target} (no such heading)"));
                }
            }
        }
        let paths = quoted(&text).filter(|word| is_path(word));
        lost.extend(
            paths
                .filter(|word| !root().join(word).exists() && !folder.join(word).exists())
                .map(|word| format!("{path}: {word}")),
        );
    }
    assert_eq!(lost, Vec::<String>::new());
}

/// The targets of links inside the repository.
fn linked(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// Texts in backticks within one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether a word can only be a path of this repository.
fn is_path(word: &str) -> bool {
    let folders = [
        "operator/",
        "charts/",
        "crds/",
        "docs/",
        "worker/",
        "sandbox/",
        "tests/",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let document = Path::new(word).extension().is_some_and(|end| end == "md");
    (folders.iter().any(|folder| word.starts_with(folder)) || document) && word.chars().all(plain)
}

/// The anchors of a document's headings, as Git forges generate them.
fn headings(text: &str) -> BTreeSet<String> {
    let titles = text.lines().filter(|line| line.starts_with('#'));
    titles
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn ci_runs_the_test_command_of_the_readme_and_nothing_else() {
    let readme = read("README.md");
    let commands = readme.lines().filter(|line| {
        line.starts_with("rustup toolchain install --no-self-update && cargo sandbox ")
    });
    let commands: Vec<&str> = commands
        .map(|line| {
            line.split_once(" #")
                .map_or(line, |(command, _)| command)
                .trim()
        })
        .collect();
    let [demo, test] = commands[..] else {
        panic!("the README opens with two commands, not with {commands:?}");
    };
    assert!(demo.ends_with("demo"), "{demo}");
    let ci = read(".ci/run");
    assert_eq!(ci.lines().last(), Some(test));
}
