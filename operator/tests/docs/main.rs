//! The documentation against the code: generated blocks, words that must exist, links, summary.
//!
//! Reads files of the repository; with `UPDATE_DOCS=1` it rewrites the blocks in `docs/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod links;
mod operations;
mod quotes;
mod reference;
mod remedies;
mod scaling;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::links::Repository;
use crate::operations::{
    alerts, check_flags, conditions, errors, explain_flags, flags, metrics, reasons, rights,
    runbooks, scaling_reasons, top_flags, version_flags,
};
use crate::scaling::{
    SNAPSHOTS, TRACES, call_budget, defaults, quiet_budget, simulate_flags, simulation_contest,
    simulation_cuts, simulation_forecast, simulation_summary, simulation_tables,
    simulation_throttled, worked_example,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the operator lies in the repository")
        .to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// ---------------------------------------------------------------- the generated blocks

/// Every generated block: its page, its name, its text.
fn blocks() -> Vec<(String, String, String)> {
    const COMMAND_LINE: &str = "docs/reference/command-line.md";
    const CONDITIONS: &str = "docs/operating/conditions.md";
    const METRICS: &str = "docs/operating/metrics.md";
    const SECURITY: &str = "docs/operating/security.md";
    const BUDGET: &str = "docs/scaling/call-budget.md";
    const SIMULATION: &str = "docs/simulation.md";
    let blocks = [
        (
            "docs/scaling/example.md",
            "worked-example",
            worked_example(),
        ),
        (BUDGET, "call-budget", call_budget()),
        (BUDGET, "quiet-budget", quiet_budget()),
        ("docs/tuning.md", "defaults", defaults()),
        (
            "docs/contest.md",
            "simulation-contest",
            simulation_contest(),
        ),
        (
            "docs/scaling/forecast.md",
            "simulation-forecast",
            simulation_forecast(),
        ),
        (SIMULATION, "simulation-summary", simulation_summary()),
        (SIMULATION, "simulation-tables", simulation_tables()),
        (SIMULATION, "simulation-cuts", simulation_cuts()),
        (
            "docs/scaling/capacity.md",
            "simulation-throttled",
            simulation_throttled(),
        ),
        (CONDITIONS, "conditions", conditions()),
        (
            CONDITIONS,
            "reasons",
            reasons(|word| !word.starts_with("Event")),
        ),
        (
            "docs/operating/events.md",
            "events",
            reasons(|word| word.starts_with("Event")),
        ),
        (METRICS, "metrics", metrics()),
        (METRICS, "errors", errors()),
        ("docs/operating/alerts.md", "alerts", alerts()),
        (SECURITY, "rights", rights("workloadRules")),
        (SECURITY, "cluster-rights", rights("clusterConnectionRules")),
        (
            "docs/reference/scaling-reasons.md",
            "scaling-reasons",
            scaling_reasons(),
        ),
        (COMMAND_LINE, "flags", flags()),
        (COMMAND_LINE, "top-flags", top_flags()),
        (COMMAND_LINE, "explain-flags", explain_flags()),
        (COMMAND_LINE, "check-flags", check_flags()),
        (COMMAND_LINE, "version-flags", version_flags()),
        (COMMAND_LINE, "simulate-flags", simulate_flags()),
        (
            "docs/reference/taskqueueworker.md",
            "taskqueueworker",
            reference::fields("crds/taskqueue.dev_taskqueueworkers.yaml"),
        ),
        (
            "docs/reference/temporalconnection.md",
            "temporalconnection",
            reference::fields("crds/taskqueue.dev_temporalconnections.yaml"),
        ),
        (
            "docs/reference/clustertemporalconnection.md",
            "clustertemporalconnection",
            reference::fields("crds/taskqueue.dev_clustertemporalconnections.yaml"),
        ),
        ("docs/reference/values.md", "values", reference::values()),
    ];
    let of_runbooks = runbooks()
        .into_iter()
        .map(|(alert, text)| (format!("docs/runbooks/{alert}.md"), alert, text));
    let owned = |(page, name, text): (&str, &str, String)| (page.to_owned(), name.to_owned(), text);
    blocks.into_iter().map(owned).chain(of_runbooks).collect()
}

#[test]
fn the_generated_blocks_match_the_code() {
    let blocks = blocks();
    let pages: BTreeSet<&String> = blocks.iter().map(|(page, _, _)| page).collect();
    for page in pages {
        let of_page = blocks.iter().filter(|(of, _, _)| of == page);
        check(
            page,
            of_page.map(|(_, name, body)| (name.as_str(), body.as_str())),
        );
    }
}

#[test]
fn every_block_that_is_marked_as_generated_is_generated() {
    let known: BTreeSet<(String, String)> = blocks()
        .into_iter()
        .map(|(page, name, _)| (page, markers(&name).0))
        .collect();
    let mut marked = BTreeSet::new();
    for (path, text) in &Repository::read(&root()).documents {
        let begins = text.lines().filter(|line| line.starts_with("<!-- begin: "));
        marked.extend(begins.map(|line| (path.clone(), line.to_owned())));
    }
    assert_eq!(marked, known);
}

/// Compares the blocks of a page with their text, or rewrites them.
fn check<'a>(path: &str, blocks: impl Iterator<Item = (&'a str, &'a str)>) {
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
    if before == after {
        return;
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(path), after).unwrap();
        return;
    }
    let differs = before.lines().zip(after.lines()).find(|(a, b)| a != b);
    panic!(
        "{path} is not what the code says; run UPDATE_DOCS=1 cargo test -p taskqueue-operator \
         --test docs. First: {differs:#?}"
    );
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- begin: {name} -->"),
        format!("<!-- end: {name} -->"),
    )
}

/// A table in Markdown. A bar in a cell would end it.
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
