//! The generated blocks about operating and the flags, made from the code and the chart.

use std::fmt::Write as _;

use clap::{Arg, Args, Command};
use serde_json::Value;
use taskqueue_api::{ConditionType, Reason};
use taskqueue_cli::{check, explain, top, version};
use taskqueue_exposition::{Kind, Spec, table};
use taskqueue_operator::error::{Class, ErrorReason};
use taskqueue_operator::settings::Settings;
use taskqueue_scaling as scaling;

use crate::{code, read, rows, rules};

pub(crate) fn conditions() -> String {
    rows(
        &["condition", "when it is True"],
        ConditionType::ALL.map(|kind| vec![code(kind), kind.describe().to_owned()]),
    )
}

pub(crate) fn reasons(keep: impl Fn(&str) -> bool) -> String {
    let body = Reason::OWN.iter().filter(|reason| keep(reason.describe()));
    rows(
        &["reason", "meaning"],
        body.map(|reason| {
            let meaning = reason.describe();
            let meaning = meaning.strip_prefix("Event: ").unwrap_or(meaning);
            vec![code(reason), meaning.to_owned()]
        }),
    )
}

pub(crate) fn scaling_reasons() -> String {
    rows(
        &["reason", "kind", "meaning"],
        scaling::Reason::ALL.map(|reason| {
            let kind = if reason.is_limit() { "limit" } else { "demand" };
            vec![
                code(reason.as_str()),
                kind.to_owned(),
                reason.describe().to_owned(),
            ]
        }),
    )
}

pub(crate) fn metrics() -> String {
    let row = |spec: &Spec| {
        let kind = match spec.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = spec.labels.iter().map(code).collect();
        vec![
            code(spec.name),
            kind.to_owned(),
            labels.join(", "),
            spec.help.to_owned(),
        ]
    };
    rows(
        &["metric", "type", "labels", "meaning"],
        table::ALL.iter().map(row),
    )
}

/// One alert of the chart.
struct Alert {
    name: String,
    severity: String,
    after: String,
    says: String,
    first: String,
}

fn alert_rules() -> Vec<Alert> {
    let rules = rules();
    let groups = rules["groups"].as_array().unwrap().iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let alert = |rule: &Value| {
        let text = |value: &Value| plain(value.as_str().unwrap_or_default());
        Some(Alert {
            name: rule["alert"].as_str()?.to_owned(),
            severity: text(&rule["labels"]["severity"]),
            after: rule["for"].as_str().unwrap_or("at once").to_owned(),
            says: text(&rule["annotations"]["description"]),
            first: text(&rule["annotations"]["runbook"]),
        })
    };
    rules.filter_map(alert).collect()
}

pub(crate) fn alerts() -> String {
    let row = |alert: Alert| {
        let name = &alert.name;
        vec![
            format!("[`{name}`](../runbooks/{name}.md)"),
            alert.severity,
            alert.after,
            alert.says,
        ]
    };
    rows(
        &["alert", "severity", "after", "what it says"],
        alert_rules().into_iter().map(row),
    )
}

/// The head of each alert's runbook: the name of the alert, and the text.
pub(crate) fn runbooks() -> Vec<(String, String)> {
    let head = |alert: Alert| {
        let body = [
            ("fires after", alert.after),
            ("says", alert.says),
            ("look first", alert.first),
        ];
        let body = body.map(|(what, text)| vec![what.to_owned(), text]);
        (alert.name, rows(&["severity", &alert.severity], body))
    };
    alert_rules().into_iter().map(head).collect()
}

/// The text of an annotation with its placeholders as words in capitals.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, tail) = after.split_once("}}").expect("a placeholder ends");
        let word = inside.split('|').next().unwrap_or_default().trim();
        let word = word.trim_start_matches("$labels.").trim_start_matches('$');
        plain.push_str(before);
        plain.push_str(&word.to_uppercase());
        rest = tail;
    }
    plain.push_str(rest);
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(crate) fn flags() -> String {
    flags_of::<Settings>()
}

/// The flags of `top`.
pub(crate) fn top_flags() -> String {
    flags_of::<top::Arguments>()
}

/// The arguments and flags of `explain`.
pub(crate) fn explain_flags() -> String {
    flags_of::<explain::Arguments>()
}

/// The arguments and flags of `check`.
pub(crate) fn check_flags() -> String {
    flags_of::<check::Arguments>()
}

/// The flags of `version`.
pub(crate) fn version_flags() -> String {
    flags_of::<version::Arguments>()
}

/// The flags of a subcommand.
pub(crate) fn flags_of<Flags: Args>() -> String {
    let command = Flags::augment_args(Command::new("command"));
    let row = |arg: &Arg| {
        let defaults: Vec<String> = arg
            .get_default_values()
            .iter()
            .map(|value| code(value.to_string_lossy()))
            .collect();
        let variable = arg.get_env().map(|name| code(name.to_string_lossy()));
        vec![
            code(arg.get_long().map_or_else(
                || arg.get_id().to_string().to_uppercase(),
                |long| format!("--{long}"),
            )),
            variable.unwrap_or_default(),
            defaults.join(", "),
            arg.get_help().map(ToString::to_string).unwrap_or_default(),
        ]
    };
    rows(
        &["flag", "variable", "default", "meaning"],
        command.get_arguments().map(row),
    )
}

/// The rules of a template of the chart, each with the comment above it.
pub(crate) fn rights(template: &str) -> String {
    let text = read("charts/taskqueue-operator/templates/_rbac.tpl");
    let (_, rules) = text
        .split_once(&format!("{template}\" -}}}}"))
        .expect("the chart defines the rules");
    let (rules, _) = rules
        .split_once("{{- end -}}")
        .expect("the definition has an end");
    let mut why = String::new();
    let mut body: Vec<Vec<String>> = Vec::new();
    let mut group = String::new();
    let mut kinds = String::new();
    let list = |line: &str, key: &str| {
        let value = line.trim().trim_start_matches("- ").strip_prefix(key)?;
        Some(value.trim().trim_matches(['[', ']']).to_owned())
    };
    for line in rules.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            write!(why, "{comment} ").unwrap();
        } else if let Some(value) = list(line, "apiGroups:") {
            value.trim_matches('"').clone_into(&mut group);
        } else if let Some(value) = list(line, "resources:") {
            kinds = value;
        } else if let Some(verbs) = list(line, "verbs:") {
            let group = if group.is_empty() { "core" } else { &group };
            let why = std::mem::take(&mut why).trim().to_owned();
            body.push(vec![group.to_owned(), kinds.clone(), verbs, why]);
        }
    }
    assert!(!body.is_empty() && body.iter().all(|row| !row[3].is_empty()));
    rows(&["group", "resources", "verbs", "why"], body)
}

pub(crate) fn errors() -> String {
    let seconds = |class: Class, attempt| format!("{} s", class.wait(attempt).as_secs());
    rows(
        &["class", "reasons", "first retry after", "longest interval"],
        Class::ALL.map(|class| {
            let reasons: Vec<String> = ErrorReason::of(class)
                .map(|reason| code(reason.as_str()))
                .collect();
            vec![
                code(class.as_str()),
                reasons.join(", "),
                seconds(class, 0),
                seconds(class, u32::MAX),
            ]
        }),
    )
}
