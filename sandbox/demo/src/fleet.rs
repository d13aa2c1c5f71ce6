//! The fleet in the cluster: applies it, reads its replicas, and collects diagnostics after a
//! failure. Runs kubectl; parsing its output is pure.

use serde_json::Value;

use crate::{
    error::{Error, Result},
    table::QueueRow,
};
use sandbox_machine::{
    Attempt, Image, OPERATOR_NAMESPACE, OPERATOR_RELEASE, Sandbox, checkout, files, last_lines,
};

/// The namespace of the fleet.
pub(crate) const NAMESPACE: &str = "shop";
/// The name of the fleet.
pub(crate) const NAME: &str = "orders";
/// Its queues; each is also the name of its task queue in Temporal.
pub(crate) const QUEUES: [&str; 4] = ["order-processing", "inventory", "payments", "notifications"];
/// The fleet's manifest, in the checkout.
const MANIFEST: &str = "crds/examples/orders.yaml";

/// The labels of everything that the operator makes for a fleet.
const WORKER_LABEL: &str = "taskqueue.dev/worker";
const QUEUE_LABEL: &str = "taskqueue.dev/queue";

/// Creates the namespace and applies the manifest. Harmless if both exist.
pub(crate) fn apply(sandbox: &Sandbox) -> Result<()> {
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE},
    });
    let file = sandbox.paths().run().join("demo-namespace.json");
    files::write_json(&file, &namespace)?;
    sandbox.kubectl_output(&["apply", "--filename", &file.display().to_string()])?;
    let manifest = checkout()?.join(MANIFEST);
    let text =
        std::fs::read_to_string(&manifest).attempt(|| format!("reading {}", manifest.display()))?;
    // A cluster that takes its images from a registry knows the worker by another name.
    let image = Image::OrderWorker;
    let text = text.replace(&image.reference(), &sandbox.image_reference(image));
    let file = sandbox.paths().run().join("demo-fleet.yaml");
    files::write_file(&file, text.as_bytes())?;
    sandbox.kubectl_output(&["apply", "--filename", &file.display().to_string()])?;
    Ok(())
}

/// The fleet as the API server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FleetState {
    /// Whether the operator has accepted and applied the spec as it is now.
    pub(crate) ready: bool,
    /// Each condition with its reason and message, for people.
    pub(crate) conditions: String,
    /// One row per queue, in the order of [`QUEUES`], without backlog.
    pub(crate) rows: Vec<QueueRow>,
}

/// Reads the fleet, its Deployments and its pods in one call.
pub(crate) fn read(sandbox: &Sandbox) -> Result<FleetState> {
    let text = sandbox.kubectl_output(&[
        "get",
        "taskqueueworkers.taskqueue.dev,deployments.apps,pods",
        "--namespace",
        NAMESPACE,
        "--output=json",
    ])?;
    parse(&text).map_err(|why| Error::source("the fleet in the cluster", why))
}

fn parse(text: &str) -> Result<FleetState, String> {
    let list: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let items = list["items"]
        .as_array()
        .ok_or("the response is not a list")?;
    let of_kind = |kind: &'static str| items.iter().filter(move |item| item["kind"] == kind);
    let fleet = of_kind("TaskQueueWorker")
        .find(|item| item["metadata"]["name"] == NAME)
        .ok_or_else(|| format!("there is no TaskQueueWorker {NAME} in {NAMESPACE}"))?;
    let rows = QUEUES.map(|queue| {
        let of_queue = |item: &&Value| {
            let labels = &item["metadata"]["labels"];
            labels[WORKER_LABEL] == NAME && labels[QUEUE_LABEL] == queue
        };
        let deployment = of_kind("Deployment").find(of_queue).unwrap_or(&Value::Null);
        let draining = of_kind("Pod")
            .filter(of_queue)
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_string());
        QueueRow {
            queue: queue.to_owned(),
            desired: deployment["spec"]["replicas"].as_u64().unwrap_or(0),
            ready: deployment["status"]["readyReplicas"].as_u64().unwrap_or(0),
            draining: draining.count() as u64,
            why: last_decision(fleet, queue),
            ..QueueRow::default()
        }
    });
    let deployed = QUEUES.iter().all(|queue| {
        of_kind("Deployment").any(|item| item["metadata"]["labels"][QUEUE_LABEL] == **queue)
    });
    let (accepted, conditions) = conditions(fleet);
    Ok(FleetState {
        ready: accepted && deployed,
        conditions,
        rows: rows.to_vec(),
    })
}

fn last_decision(fleet: &Value, queue: &str) -> String {
    let queues = fleet["status"]["queues"].as_array();
    let decision = queues
        .into_iter()
        .flatten()
        .find(|entry| entry["name"] == queue)
        .map_or(&Value::Null, |entry| &entry["lastDecision"]);
    match (
        decision["from"].as_u64(),
        decision["to"].as_u64(),
        decision["reason"].as_str(),
    ) {
        (Some(from), Some(to), Some(reason)) => format!("{from} to {to}: {reason}"),
        _ => String::new(),
    }
}

/// Whether the present spec is Ready, and what the conditions say.
fn conditions(fleet: &Value) -> (bool, String) {
    let current = fleet["status"]["observedGeneration"] == fleet["metadata"]["generation"];
    let mut lines = Vec::new();
    let mut ready = false;
    for condition in fleet["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let part = |name: &str| condition[name].as_str().unwrap_or_default();
        ready |= part("type") == "Ready" && part("status") == "True";
        lines.push(format!(
            "{}={} {}: {}\n",
            part("type"),
            part("status"),
            part("reason"),
            part("message")
        ));
    }
    if lines.is_empty() {
        lines.push("the operator has written no status\n".to_owned());
    }
    (current && ready, lines.concat())
}

/// Diagnostics for an error: objects, events, the ends of logs. What cannot be read is named in
/// them.
pub(crate) fn diagnostics(sandbox: &Sandbox) -> String {
    // What is said of it, and how many of its last lines.
    let calls = [
        (
            "the fleet's objects",
            60,
            format!("get taskqueueworkers,deployments,pods -n {NAMESPACE} -o wide"),
        ),
        (
            "the fleet",
            160,
            format!("describe taskqueueworkers {NAME} -n {NAMESPACE} --show-events=false"),
        ),
        (
            "its events",
            40,
            format!("get events -n {NAMESPACE} --sort-by=.lastTimestamp"),
        ),
        (
            "the operator's objects",
            20,
            format!("get deployments,pods -n {OPERATOR_NAMESPACE} -o wide"),
        ),
        (
            "the operator's log",
            30,
            format!(
                "logs deployment/{OPERATOR_RELEASE} -n {OPERATOR_NAMESPACE} --tail=30 \
                 --pod-running-timeout=2s"
            ),
        ),
        (
            "the workers' logs",
            60,
            format!(
                "logs -l {WORKER_LABEL}={NAME} -n {NAMESPACE} --tail=8 --prefix \
                 --max-log-requests=50"
            ),
        ),
    ];
    calls
        .iter()
        .fold(String::new(), |text, (what, lines, command)| {
            let args: Vec<&str> = command.split(' ').collect();
            let output = sandbox
                .kubectl_output(&args)
                .unwrap_or_else(|error| error.to_string());
            let end = last_lines(&output, *lines);
            text + &format!("--- {what} (kubectl {command})\n{end}\n")
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labels(queue: &str) -> Value {
        json!({WORKER_LABEL: NAME, QUEUE_LABEL: queue})
    }

    fn cluster(observed: u64) -> Value {
        let mut items: Vec<Value> = QUEUES
            .iter()
            .map(|queue| {
                json!({
                    "kind": "Deployment", "metadata": {"labels": labels(queue)},
                    "spec": {"replicas": 0}, "status": {},
                })
            })
            .collect();
        items[2]["spec"]["replicas"] = json!(4);
        items[2]["status"]["readyReplicas"] = json!(3);
        items.push(json!({
            "kind": "Pod",
            "metadata": {"labels": labels("payments"), "deletionTimestamp": "2026-01-01T00:00:00Z"},
        }));
        items.push(json!({"kind": "Pod", "metadata": {"labels": labels("payments")}}));
        items.push(json!({
            "kind": "Pod",
            "metadata": {"labels": {"app": "another"}, "deletionTimestamp": "2026-01-01T00:00:00Z"},
        }));
        items.push(json!({
            "kind": "TaskQueueWorker",
            "metadata": {"name": NAME, "generation": 2},
            "status": {
                "observedGeneration": observed,
                "conditions": [{
                    "type": "Ready", "status": "True", "reason": "Ready", "message": "All is well.",
                }],
                "queues": [{
                    "name": "payments", "lastDecision": {"from": 0, "to": 4, "reason": "Drain"},
                }],
            },
        }));
        json!({"items": items})
    }

    #[test]
    fn replicas_come_from_the_deployments_and_decisions_from_the_status() {
        let state = parse(&cluster(2).to_string()).unwrap();
        let row = |queue: &str| QueueRow {
            queue: queue.into(),
            ..QueueRow::default()
        };
        assert_eq!(
            state,
            FleetState {
                ready: true,
                conditions: "Ready=True Ready: All is well.\n".into(),
                rows: vec![
                    row("order-processing"),
                    row("inventory"),
                    QueueRow {
                        desired: 4,
                        ready: 3,
                        draining: 1,
                        why: "0 to 4: Drain".into(),
                        ..row("payments")
                    },
                    row("notifications"),
                ],
            }
        );
    }

    #[test]
    fn a_status_of_an_older_spec_does_not_count_and_a_missing_fleet_is_named() {
        assert!(!parse(&cluster(1).to_string()).unwrap().ready);
        assert_eq!(
            parse(r#"{"items":[]}"#),
            Err("there is no TaskQueueWorker orders in shop".to_owned())
        );
    }

    #[test]
    fn the_queues_are_those_of_the_manifest_each_at_zero_without_work() {
        let manifest = std::fs::read_to_string(checkout().unwrap().join(MANIFEST)).unwrap();
        for queue in QUEUES {
            let start = manifest.find(&format!("- name: {queue}\n")).unwrap();
            let min = manifest[start..].find("min: ").unwrap();
            assert!(manifest[start + min..].starts_with("min: 0,"), "{queue}");
        }
        assert_eq!(manifest.matches("replicas: {").count(), QUEUES.len());
        // The workers of the workflow know where its activities run, so that an order need not say
        // it.
        for queue in &QUEUES[1..] {
            let variable = format!("ORDER_WORKER_{}_QUEUE", queue.to_uppercase());
            let set = format!("{{name: {variable}, value: {queue}}}");
            assert_eq!(manifest.matches(&set).count(), 1, "{set}");
        }
        assert!(manifest.contains(&format!("  name: {NAME}\n  namespace: {NAMESPACE}\n")));
    }
}
