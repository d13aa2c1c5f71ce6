//! Rules, alerts and dashboards are valid, tested, and name only metrics and labels that the
//! operator registers. Starts `promtool`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use taskqueue_exposition::Kind;
use taskqueue_exposition::table::ALL;

use crate::helm::{chart, chart_file, program, read, write_tmp};
use crate::objects::{text, yaml};

/// What the names of the operator's metrics begin with.
const PREFIXES: [&str; 2] = ["taskqueue_operator_", "process_"];

fn promtool(arguments: &[&str], file: &Path) {
    let output = Command::new(program("promtool"))
        .args(arguments)
        .arg(file)
        .output()
        .expect("promtool can be started");
    assert!(
        output.status.success(),
        "promtool {}:\n{}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn rules_test() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chart/rules_test.yaml")
}

/// Every rule of `files/rules.yaml`.
pub(crate) fn rules() -> Vec<Value> {
    yaml(&chart_file("files/rules.yaml"))["groups"]
        .as_array()
        .expect("rules.yaml has groups")
        .iter()
        .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
        .collect()
}

/// The title and query of everything that the dashboards show.
fn queries() -> Vec<(String, String)> {
    dashboards().iter().flat_map(queries_of).collect()
}

fn queries_of(dashboard: &Value) -> Vec<(String, String)> {
    let of_panel = |panel: &Value| {
        let title = text(panel, "/title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets
            .into_iter()
            .map(move |target| (title.clone(), text(&target, "/expr").to_owned()))
    };
    let of_annotation = |annotation: &Value| {
        let part = |pointer| text(annotation, pointer).to_owned();
        (part("/name"), part("/expr"))
    };
    let panels = dashboard["panels"].as_array();
    let annotations = dashboard["annotations"]["list"].as_array();
    let of_panels = panels.into_iter().flatten().flat_map(of_panel);
    of_panels
        .chain(annotations.into_iter().flatten().map(of_annotation))
        .collect()
}

/// The dashboard of one fleet, and that of all fleets.
pub(crate) fn dashboards() -> [Value; 2] {
    ["files/dashboard.json", "files/dashboard-fleets.json"]
        .map(|path| serde_json::from_str(&chart_file(path)).expect(path))
}

#[test]
fn the_rules_are_valid() {
    promtool(&["check", "rules"], &chart().join("files/rules.yaml"));
}

#[test]
fn the_alerts_fire_when_they_should_and_not_before() {
    promtool(&["test", "rules"], &rules_test());
}

#[test]
fn every_alert_has_a_firing_and_a_silent_test_and_its_annotations() {
    let mut expected = BTreeMap::new();
    for rule in rules() {
        let alert = text(&rule, "/alert");
        if !alert.is_empty() {
            for annotation in ["summary", "description", "runbook"] {
                let pointer = format!("/annotations/{annotation}");
                assert!(
                    !text(&rule, &pointer).is_empty(),
                    "{alert} has no {annotation}"
                );
            }
            assert!(
                ["warning", "critical"].contains(&text(&rule, "/labels/severity")),
                "{alert}"
            );
            expected.insert(alert.to_owned(), BTreeSet::from([false, true]));
        }
    }
    let mut shown: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    let tests = yaml(&read(&rules_test()));
    for test in tests["tests"]
        .as_array()
        .expect("rules_test.yaml has tests")
    {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            let fires = case["exp_alerts"]
                .as_array()
                .is_some_and(|alerts| !alerts.is_empty());
            shown
                .entry(text(case, "/alertname").to_owned())
                .or_default()
                .insert(fires);
        }
    }
    assert_eq!(
        shown, expected,
        "alert: [silent, firing] in rules_test.yaml (left) and all of rules.yaml (right)"
    );
}

#[test]
fn every_query_of_the_dashboards_can_be_parsed() {
    let mut file = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (index, (title, query)) in queries().iter().enumerate() {
        let times = ["$__rate_interval", "$__interval", "$__range"];
        let query = times
            .iter()
            .fold(query.clone(), |query, time| query.replace(time, "5m"));
        assert!(!query.is_empty(), "{title}");
        writeln!(
            file,
            "  - record: query:{index}\n    expr: {}",
            Value::from(query)
        )
        .expect("a string takes everything");
    }
    promtool(
        &["check", "rules"],
        &write_tmp("dashboard-queries.yaml", &file),
    );
}

/// Series of an operator with one fleet while nothing waits, runs or changes: `promtool`'s input.
fn quiet() -> Vec<Value> {
    // A wait target, free slots, and metrics that say something by their labels alone.
    let ones = [
        "taskqueue_operator_build_info",
        "taskqueue_operator_fleet_condition",
        "taskqueue_operator_queue_wait_target_seconds",
        "taskqueue_operator_slots_available",
    ];
    let plain = ALL.iter().filter(|spec| spec.kind != Kind::Histogram);
    plain
        .map(|spec| {
            let labels = spec.labels.iter().map(|label| format!("{label}=\"x\""));
            let labels: Vec<String> = labels.collect();
            let value = u8::from(ones.contains(&spec.name));
            json!({
                "series": format!("{}{{{}}}", spec.name, labels.join(",")),
                "values": format!("{value}x20"),
            })
        })
        .collect()
}

#[test]
fn no_table_lists_a_row_of_zero_and_no_bar_is_empty() {
    let mut tests = Vec::new();
    for panel in dashboards()
        .iter()
        .flat_map(|one| one["panels"].as_array().cloned().unwrap_or_default())
    {
        let bars = text(&panel, "/fieldConfig/defaults/custom/drawStyle") == "bars";
        if text(&panel, "/type") != "table" && !bars {
            continue;
        }
        for target in panel["targets"].as_array().into_iter().flatten() {
            let variables = [
                ("$__interval", "1m"),
                ("$__range", "5m"),
                ("$cluster", ".*"),
                ("$namespace", ".*"),
                ("$fleet", ".*"),
                ("$queue", ".*"),
            ];
            let query = text(target, "/expr").to_owned();
            let query = variables
                .iter()
                .fold(query, |query, (name, value)| query.replace(name, value));
            tests.push(json!({"expr": format!("({query}) == 0"), "eval_time": "10m"}));
        }
    }
    assert!(!tests.is_empty(), "the dashboards have tables");
    let test = json!({
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": quiet(), "promql_expr_test": tests}],
    });
    promtool(
        &["test", "rules"],
        &write_tmp("dashboard-zeros.yaml", &test.to_string()),
    );
}

#[test]
fn the_dashboards_can_be_imported() {
    let dashboards = dashboards();
    let uids: BTreeSet<&str> = dashboards.iter().map(|one| text(one, "/uid")).collect();
    assert_eq!(
        uids,
        BTreeSet::from(["taskqueue-operator", "taskqueue-operator-fleets"]),
        "each links to the other by its uid"
    );
    dashboards.iter().for_each(can_be_imported);
}

fn can_be_imported(dashboard: &Value) {
    let panels = dashboard["panels"]
        .as_array()
        .expect("the dashboard has panels");
    let ids: BTreeSet<Option<u64>> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels share an id");
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = text(panel, "/title");
        assert!(!title.is_empty(), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect(title);
        for column in place("x")..place("x") + place("w") {
            for line in place("y")..place("y") + place("h") {
                let other = taken.insert((column, line), title);
                assert_eq!(other, None, "{title} overlaps another panel");
            }
        }
        if text(panel, "/type") != "row" {
            assert!(
                !text(panel, "/description").is_empty(),
                "{title} has no description"
            );
        }
    }
}

/// Every use of the operator's metrics in an expression: the name and the labels that select it.
pub(crate) fn uses(expression: &str) -> Vec<(String, Vec<String>)> {
    PREFIXES
        .iter()
        .flat_map(|prefix| expression.match_indices(prefix))
        // This is part of the name of a recording rule.
        .filter(|(start, _)| !expression[..*start].ends_with(':'))
        .map(|(start, _)| {
            let rest = &expression[start..];
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = selector.map_or_else(Vec::new, |(selector, _)| {
                selector
                    .split(", ")
                    .map(|matcher| {
                        matcher
                            .split(['=', '!'])
                            .next()
                            .unwrap_or_default()
                            .to_owned()
                    })
                    .collect()
            });
            (name.to_owned(), labels)
        })
        .collect()
}

/// What is wrong with an expression's use of the operator's metrics.
fn complaints(place: &str, expression: &str) -> Vec<String> {
    uses(expression)
        .into_iter()
        .flat_map(|(name, labels)| {
            let known = ALL.iter().find(|spec| {
                spec.name == name
                    || (spec.kind == Kind::Histogram
                        && ["_bucket", "_sum", "_count"]
                            .iter()
                            .any(|suffix| name.strip_suffix(suffix) == Some(spec.name)))
            });
            match known {
                None => vec![format!("{place}: the operator has no metric {name}")],
                Some(spec) => labels
                    .iter()
                    // Prometheus adds `cluster`, where there are several.
                    .filter(|label| *label != "cluster" && !spec.labels.contains(&label.as_str()))
                    .map(|label| format!("{place}: {name} has no label {label}"))
                    .collect(),
            }
        })
        .collect()
}

#[test]
fn rules_and_dashboards_use_only_metrics_and_labels_of_the_operator() {
    let of_rules = rules().into_iter().map(|rule| {
        let place = [text(&rule, "/alert"), text(&rule, "/record")].concat();
        (place, text(&rule, "/expr").to_owned())
    });
    let variables = dashboards().into_iter().flat_map(|dashboard| {
        let list = dashboard["templating"]["list"].as_array().cloned();
        list.unwrap_or_default()
    });
    let of_variables = variables.map(|variable| {
        (
            text(&variable, "/name").to_owned(),
            text(&variable, "/definition").to_owned(),
        )
    });
    let found: Vec<String> = of_rules
        .chain(queries())
        .chain(of_variables)
        .flat_map(|(place, expression)| complaints(&place, &expression))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_unknown_metric_or_label_is_noticed() {
    assert_eq!(
        complaints(
            "p",
            "sum(taskqueue_operator_backlog_tasks{namspace=\"a\", queue!=\"b\"}) / \
             taskqueue_operator_typo + process_typo"
        ),
        [
            "p: taskqueue_operator_backlog_tasks has no label namspace",
            "p: the operator has no metric taskqueue_operator_typo",
            "p: the operator has no metric process_typo",
        ]
    );
}

/// The metrics that these expressions use; of a histogram, its own name.
fn used(expressions: impl Iterator<Item = String>) -> BTreeSet<String> {
    let names = expressions.flat_map(|expression| uses(&expression));
    let own = |(name, _): (String, _)| name.trim_end_matches("_bucket").to_owned();
    names.map(own).collect()
}

#[test]
fn every_metric_about_the_operator_is_on_a_dashboard_or_in_an_alert() {
    let rules = rules()
        .into_iter()
        .map(|rule| text(&rule, "/expr").to_owned());
    let shown = used(rules.chain(queries().into_iter().map(|(_, query)| query)));
    let missing: Vec<&str> = ALL
        .iter()
        .filter(|spec| !spec.labels.contains(&"name") && !shown.contains(spec.name))
        .map(|spec| spec.name)
        // Says nothing by itself: what is resident counts.
        .filter(|name| *name != "process_virtual_memory_bytes")
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_metric_about_a_queue_is_on_the_dashboard_of_its_fleet() {
    let [fleet, _] = dashboards();
    let shown = used(queries_of(&fleet).into_iter().map(|(_, query)| query));
    let missing: Vec<&str> = ALL
        .iter()
        .filter(|spec| spec.labels.contains(&"queue") && !shown.contains(spec.name))
        .map(|spec| spec.name)
        // The reading's age and the condition ScalingActive show this already; it has series only
        // in trouble.
        .filter(|name| *name != "taskqueue_operator_reading_unknown")
        // Its label is the pod's name, for `explain`; the dashboard would have a line for each pod.
        .filter(|name| *name != "taskqueue_operator_held_pod")
        // Exists only where tasks have priorities; `explain` shows it.
        .filter(|name| *name != "taskqueue_operator_backlog_tasks_by_priority")
        // Exists only where a fleet sets scaling.metricsPort; an alert watches it.
        .filter(|name| *name != "taskqueue_operator_pod_scrapes_total")
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
}
