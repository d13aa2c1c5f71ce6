//! Words of the documentation that must exist: metrics, alerts, values of the chart, fields, paths.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use taskqueue_api::Reason;
use taskqueue_exposition::{Kind, Spec, table};
use taskqueue_scaling::{self as core, Stuck, UnknownReason};

use crate::links::Repository;
use crate::{code, read, root, rules};

/// The documents that describe the code as it is: all but those of a frozen release.
fn documents() -> Vec<(String, String)> {
    let all = Repository::read(&root()).documents;
    let frozen = |path: &str| path.starts_with("tests/fixtures/") && path.matches('/').count() > 2;
    all.into_iter().filter(|(path, _)| !frozen(path)).collect()
}

#[test]
fn every_named_metric_exists() {
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
    for (path, text) in &documents() {
        for (at, _) in text.match_indices(PREFIX) {
            let rest = &text[at..];
            let end = rest
                .find(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'))
                .unwrap_or(rest.len());
            let word = &rest[..end];
            // The prefix alone means all of them.
            if word != PREFIX && !known(word) {
                unknown.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn every_reason_has_a_description_on_its_page() {
    let missing = |page: &str, words: &mut dyn Iterator<Item = &'static str>| -> Vec<String> {
        let text = by_hand(&read(page));
        words
            .filter(|word| !text.contains(&code(word)))
            .map(|word| format!("{page}: {word}"))
            .collect()
    };
    let missing = [
        missing(
            "docs/operating/conditions.md",
            &mut Reason::OWN.iter().map(|reason| reason.as_str()),
        ),
        missing(
            "docs/operating/troubleshooting.md",
            &mut Stuck::ALL.map(Stuck::as_str).into_iter(),
        ),
        missing(
            "docs/operating/metrics.md",
            &mut UnknownReason::ALL.map(UnknownReason::as_str).into_iter(),
        ),
        missing(
            "docs/scaling/limits.md",
            &mut core::Reason::ALL.map(core::Reason::as_str).into_iter(),
        ),
    ];
    assert_eq!(missing.concat(), Vec::<String>::new());
}

#[test]
fn no_page_of_the_book_is_too_long_to_read_at_once() {
    const WORDS: usize = 1500;
    let long: Vec<String> = documents()
        .into_iter()
        .filter(|(path, _)| path.starts_with("docs/"))
        .map(|(path, text)| (path, by_hand(&text).split_whitespace().count()))
        .filter(|(_, words)| *words > WORDS)
        .map(|(path, words)| format!("{path}: {words} words, of at most {WORDS}; split it"))
        .collect();
    assert_eq!(long, Vec::<String>::new());
}

/// A text without the blocks that are made.
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
fn every_named_alert_exists() {
    let rules = rules().to_string();
    let mut unknown = Vec::new();
    for (path, text) in &documents() {
        for word in quoted(text) {
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
fn every_named_chart_value_and_field_exists() {
    let values: Value =
        serde_saphyr::from_str(&read("charts/taskqueue-operator/values.yaml")).unwrap();
    let crd: Value =
        serde_saphyr::from_str(&read("crds/taskqueue.dev_taskqueueworkers.yaml")).unwrap();
    let spec = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    // Fields are named from the spec, from a queue, or from `scaling`.
    let fields = [
        spec,
        &spec["properties"]["queues"]["items"],
        &spec["properties"]["scaling"],
    ];
    let mut unknown = Vec::new();
    for (path, text) in &documents() {
        for name in quoted(text).filter_map(dotted) {
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
fn every_named_path_exists() {
    let mut lost = Vec::new();
    for (path, text) in &documents() {
        let text = by_hand(text);
        let folder = root().join(path).parent().expect("a folder").to_owned();
        let there = |word: &&str| root().join(word).exists() || folder.join(word).exists();
        let paths = quoted(&text).filter(|word| is_path(word));
        lost.extend(
            paths
                .filter(|word| !there(word))
                .map(|word| format!("{path}: {word}")),
        );
    }
    assert_eq!(lost, Vec::<String>::new());
}

/// The code spans of each line.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Words that can only be paths of this repository.
fn is_path(word: &str) -> bool {
    let folders = [
        "operator/",
        "charts/",
        "crds/",
        "docs/",
        "worker/",
        "sandbox/",
        "tests/",
        "examples/",
    ];
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let document = Path::new(word).extension().is_some_and(|end| end == "md");
    (folders.iter().any(|folder| word.starts_with(folder)) || document) && word.chars().all(plain)
}
