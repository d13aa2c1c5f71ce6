//! The chart's dashboards and rules, evaluated on what the sandbox's Prometheus has scraped from
//! the operator; `top` and `explain` on the same fleet.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use sandbox_demo::dashboard::panels::{DASHBOARD, Dashboard, FLEETS_DASHBOARD, variables};
use sandbox_machine::clients::prometheus::Prometheus;
use serde_json::{Value, json};

use crate::harness::{OPERATOR_NAMESPACE, TestCluster, eventually, output, with_namespace};

/// Seconds between two points of a query; the sandbox scrapes every 2 s.
const STEP: i64 = 2;

/// Panels that show nothing while nothing is wrong, and those that a short run may pass by: its
/// eight tasks may fit between two heartbeats, its wait between two whole minutes, and the start of
/// its worker between two scrapes.
const EMPTY_WHEN_WELL: [&str; 9] = [
    "Findings",
    "Fleets that need a person",
    "Highest utilization",
    "Most time over the target",
    "Queues with a finding",
    "Reconcile errors",
    "Slowest tasks",
    "Worker faults",
    "Workers missing",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboards_show_a_run_and_no_panel_is_empty() {
    with_namespace("the-dashboard-shows-a-run", |cluster| async move {
        let from = jiff::Timestamp::now().as_second();
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 2).await?;
        let order = json!({"total": 100, "card": "tok_delay_2000"});
        let workflows = cluster.temporal.orders(&queue, 0..8, &order)?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready > 0)
            .await?;
        people_see_what_runs(&cluster, &queue)?;
        cluster.temporal.results(&workflows).await?;
        cluster
            .replicas_are(
                "all",
                "the idle fleet is back at zero",
                |requested, ready| (requested, ready) == (0, 0),
            )
            .await?;
        people_see_why_it_went_to_zero(&cluster)?;

        let prometheus = Prometheus::of(&cluster.sandbox)?;
        let mut variables = variables(&cluster.namespace, "orders", "all", "30s");
        variables.extend([("__interval", "2s"), ("__range", "5m")]);
        let parse = |text| Dashboard::parse(text, &variables).map_err(anyhow::Error::msg);
        let (dashboard, fleets) = (parse(DASHBOARD)?, parse(FLEETS_DASHBOARD)?);
        eventually("Prometheus has scraped the run and its end", || async {
            let now = jiff::Timestamp::now().as_second();
            let ready = format!(
                "taskqueue_operator_ready_replicas{{namespace=\"{}\"}}",
                cluster.namespace
            );
            let samples: Vec<f64> = prometheus
                .range(&ready, from, now, STEP)?
                .into_iter()
                .flat_map(|series| series.samples)
                .map(|(_, value)| value)
                .collect();
            let shown = samples.iter().any(|value| *value > 0.0) && samples.last() == Some(&0.0);
            Ok(if shown {
                Ok(())
            } else {
                Err(format!("{samples:?}"))
            })
        })
        .await?;
        // The queries need time, too: rates need two scrapes of the latest events.
        eventually("no panel is empty", || async {
            let now = jiff::Timestamp::now().as_second();
            let mut empty = empty_queries(&prometheus, &dashboard, (from, now))?;
            empty.extend(empty_queries(&prometheus, &fleets, (from, now))?);
            for dashboard in [&dashboard, &fleets] {
                empty.extend(unmarked(&prometheus, dashboard, (from, now))?);
                empty.extend(missing_choices(
                    &prometheus,
                    dashboard,
                    &variables,
                    (from, now),
                )?);
            }
            Ok(if empty.is_empty() {
                Ok(())
            } else {
                Err(empty.join("\n"))
            })
        })
        .await?;
        let now = jiff::Timestamp::now().as_second();
        // Slots are left out: eight short tasks may fit between two heartbeats.
        let still: Vec<&str> = [
            "Backlog",
            "Ready and requested",
            "Changes by reason",
            "Decisions by reason",
        ]
        .into_iter()
        .filter(|title| !rises(&prometheus, &dashboard, title, (from, now)))
        .collect();
        assert_eq!(
            still,
            Vec::<&str>::new(),
            "these panels do not show the run"
        );
        Ok(())
    })
    .await;
}

/// The queries to which Prometheus returns no sample. A refused query is an error.
fn empty_queries(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    (from, to): (i64, i64),
) -> anyhow::Result<Vec<String>> {
    let mut empty = Vec::new();
    for panel in &dashboard.panels {
        for query in &panel.queries {
            // A table shows one moment. Of some, that is the moment of the work, and not its end.
            let answer = prometheus.range(&query.expression, from, to, STEP)?;
            let may_be_empty = EMPTY_WHEN_WELL.contains(&panel.title.as_str());
            if !may_be_empty && answer.iter().all(|series| series.samples.is_empty()) {
                empty.push(format!("{}: {}", panel.title, query.expression));
            }
        }
    }
    Ok(empty)
}

/// The annotations that mark nothing.
fn unmarked(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    (from, to): (i64, i64),
) -> anyhow::Result<Vec<String>> {
    let mut unmarked = Vec::new();
    for annotation in &dashboard.annotations {
        // Each point speaks for the step before it, so the last one is the end.
        let steps = (to - from) / annotation.step + 1;
        let begin = to - steps * annotation.step;
        let answer = prometheus.range(&annotation.expression, begin, to, annotation.step)?;
        if answer.iter().all(|series| series.samples.is_empty()) {
            unmarked.push(format!("{}: {}", annotation.title, annotation.expression));
        }
    }
    Ok(unmarked)
}

/// The variables among whose values the chosen one is not.
fn missing_choices(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    chosen: &BTreeMap<&str, &str>,
    range: (i64, i64),
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for choice in &dashboard.choices {
        let offered = prometheus.label_values(&choice.selector, &choice.label, range)?;
        let value = chosen
            .get(choice.name.as_str())
            .copied()
            .unwrap_or_default();
        let found = match choice.name.as_str() {
            // All of them, which are none: the sandbox's series have no such label.
            "cluster" => offered.is_empty(),
            _ => offered.iter().any(|one| one == value),
        };
        if !found {
            missing.push(format!("{} {value} of {offered:?}", choice.name));
        }
    }
    Ok(missing)
}

/// Whether the first query of a panel was ever above zero.
fn rises(
    prometheus: &Prometheus,
    dashboard: &Dashboard,
    title: &str,
    (from, to): (i64, i64),
) -> bool {
    let panel = dashboard.panels.iter().find(|panel| panel.title == title);
    let query = panel.and_then(|panel| panel.queries.first());
    let answer = query.and_then(|query| prometheus.range(&query.expression, from, to, STEP).ok());
    answer
        .unwrap_or_default()
        .iter()
        .any(|series| series.samples.iter().any(|(_, value)| *value > 0.0))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_evaluates_every_rule_of_the_chart() {
    with_namespace("prometheus-evaluates-every-rule", |cluster| async move {
        let prometheus = Prometheus::of(&cluster.sandbox)?;
        let chart: Value = serde_saphyr::from_str(include_str!(
            "../../charts/taskqueue-operator/files/rules.yaml"
        ))?;
        let groups = chart["groups"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default())
            .filter_map(|rule| {
                let name = rule["alert"].as_str().or(rule["record"].as_str());
                name.map(str::to_owned)
            })
            .collect();
        names.sort();
        eventually("every rule was evaluated", || async {
            let rules = prometheus.rules()?;
            let failed: Vec<_> = rules.iter().filter(|rule| rule.health == "err").collect();
            anyhow::ensure!(failed.is_empty(), "{failed:?}");
            let mut evaluated: Vec<String> = rules
                .into_iter()
                .filter(|rule| rule.health == "ok")
                .map(|rule| rule.name)
                .collect();
            evaluated.sort();
            Ok(if evaluated == names {
                Ok(())
            } else {
                Err(format!("{evaluated:?}"))
            })
        })
        .await?;
        Ok(())
    })
    .await;
}

/// Runs `taskqueue-operator ARGUMENTS` as a person would.
fn operator(cluster: &TestCluster, arguments: &[&str]) -> anyhow::Result<String> {
    output(&mut operator_command(cluster, arguments)?)
}

/// `taskqueue-operator ARGUMENTS` with the sandbox's kubeconfig. The program is the one in the
/// image.
pub(crate) fn operator_command(
    cluster: &TestCluster,
    arguments: &[&str],
) -> anyhow::Result<Command> {
    let tests = std::env::current_exe()?;
    let folder = tests
        .ancestors()
        .nth(2)
        .map(PathBuf::from)
        .unwrap_or_default();
    let mut command = Command::new(folder.join("taskqueue-operator"));
    command
        .args(arguments)
        .args(["--namespace", &cluster.namespace])
        .env("KUBECONFIG", cluster.sandbox.kubeconfig());
    Ok(command)
}

/// While a worker runs, the table shows it with its metrics.
fn people_see_what_runs(cluster: &TestCluster, queue: &str) -> anyhow::Result<()> {
    let seen: Value = serde_json::from_str(&operator(cluster, &["top", "-o", "json"])?)?;
    assert_eq!(seen["notes"], json!([]), "{seen}");
    let row = &seen["fleets"][0]["queues"][0];
    assert_eq!(
        (&row["name"], &row["taskQueue"]),
        (&json!("all"), &json!(queue))
    );
    assert_eq!((&row["min"], &row["max"]), (&json!(0), &json!(2)));
    assert!(row["figures"]["backlogTasks"].is_number(), "{row}");
    // Without a program of their own: in the leader's pod, with the operator's rights.
    let leader = cluster.sandbox.operator_pod()?;
    let mut kubectl = cluster.sandbox.kubectl();
    kubectl.args(["--namespace", OPERATOR_NAMESPACE, "exec", &leader, "--"]);
    kubectl.args(["/taskqueue-operator", "top", "-o", "json"]);
    kubectl.args(["--namespace", &cluster.namespace]);
    kubectl.args(["--metrics", "http://127.0.0.1:8080"]);
    let seen: Value = serde_json::from_str(&output(&mut kubectl)?)?;
    assert_eq!(seen["notes"], json!([]), "{seen}");
    let row = &seen["fleets"][0]["queues"][0];
    assert_eq!(row["taskQueue"], json!(queue), "{seen}");
    assert!(row["figures"]["backlogTasks"].is_number(), "{row}");
    let table = operator(cluster, &["top"])?;
    let head: Vec<&str> = table
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(head[..4], ["FLEET", "QUEUE", "BACKLOG", "WAIT"], "{table}");
    Ok(())
}

/// Afterwards `explain` shows the last decision and the Events in order.
fn people_see_why_it_went_to_zero(cluster: &TestCluster) -> anyhow::Result<()> {
    let seen: Value =
        serde_json::from_str(&operator(cluster, &["explain", "orders", "-o", "json"])?)?;
    assert_eq!(seen["queue"]["lastDecision"]["to"], 0, "{seen}");
    let events = seen["events"].as_array().cloned().unwrap_or_default();
    let scaled: Vec<&str> = events
        .iter()
        .filter_map(|event| event["reason"].as_str())
        .filter(|reason| reason.starts_with("Scaled"))
        .collect();
    assert_eq!(scaled.first(), Some(&"ScaledUp"), "{seen}");
    assert_eq!(scaled.last(), Some(&"ScaledDown"), "{seen}");
    let text = operator(cluster, &["explain", "orders", "all"])?;
    for section in ["NOW", "LAST CHANGE", "WHAT HOLDS THE FLEET BACK", "EVENTS"] {
        assert!(text.lines().any(|line| line.starts_with(section)), "{text}");
    }
    Ok(())
}
