//! Writes Prometheus' scrape targets: watches the pods with kubectl and writes those annotated with
//! `prometheus.io/scrape: "true"` to a file. Debian's Prometheus is built without service discovery
//! for Kubernetes. Starts kubectl; writes one file.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    components::API_PROXY,
    error::{Attempt, Error, Result},
    files,
    machine::Machine,
};

#[derive(Debug, Deserialize)]
struct Change {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

/// Writes the targets until kubectl ends. That is an error, after which the supervisor restarts
/// this.
pub(crate) fn run(machine: &Machine) -> Result<()> {
    let paths = &machine.paths;
    let file = paths.targets_file();
    let mut targets = BTreeMap::new();
    let external = machine.external_cluster.is_some();
    let server = if external {
        format!("--server=http://{API_PROXY}")
    } else {
        format!(
            "--kubeconfig={}",
            paths.pki().join("prometheus.kubeconfig").display()
        )
    };
    let mut kubectl = Command::new(&machine.programs.kubectl)
        .arg(server)
        .args([
            "get",
            "pods",
            "--all-namespaces",
            "--watch",
            "--output-watch-events",
        ])
        .args(["--output=json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .attempt(|| "starting kubectl".into())?;
    write(&file, &targets)?;
    if let Some(output) = kubectl.stdout.take() {
        let changes = serde_json::Deserializer::from_reader(std::io::BufReader::new(output));
        for change in changes.into_iter::<Change>() {
            let change = change.map_err(|source| Error::Json {
                what: "kubectl's output".into(),
                source,
            })?;
            if note(&mut targets, &change, external) {
                write(&file, &targets)?;
            }
        }
    }
    let status = kubectl.wait().attempt(|| "waiting for kubectl".into())?;
    Err(Error::Machine(format!("kubectl exited with {status}")))
}

fn write(file: &Path, targets: &BTreeMap<String, Value>) -> Result<()> {
    files::write_json(file, &targets.values().collect::<Vec<_>>())
}

/// Applies a change; returns whether the targets changed.
fn note(targets: &mut BTreeMap<String, Value>, change: &Change, external: bool) -> bool {
    let Some(uid) = change.object["metadata"]["uid"].as_str() else {
        return false;
    };
    let target = if change.kind == "DELETED" {
        None
    } else {
        target(&change.object, external)
    };
    let before = match &target {
        Some(target) => targets.insert(uid.to_owned(), target.clone()),
        None => targets.remove(uid),
    };
    before != target
}

/// The target of a pod that runs and wants to be read: the pod itself, or, in an external cluster,
/// the pod through the proxy of its API.
fn target(pod: &Value, external: bool) -> Option<Value> {
    let metadata = &pod["metadata"];
    let annotation = |name: &str| metadata["annotations"][name].as_str();
    let address = pod["status"]["podIP"]
        .as_str()
        .filter(|_| pod["status"]["phase"] == "Running")?;
    if annotation("prometheus.io/scrape") != Some("true") {
        return None;
    }
    let port = annotation("prometheus.io/port").unwrap_or("80");
    let path = annotation("prometheus.io/path").unwrap_or("/metrics");
    let (namespace, name) = (metadata["namespace"].as_str()?, metadata["name"].as_str()?);
    let instance = format!("{address}:{port}");
    let through_api = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{path}");
    let (at, path) = if external {
        (API_PROXY, through_api.as_str())
    } else {
        (instance.as_str(), path)
    };
    let mut labels = BTreeMap::from([
        ("__metrics_path__".to_owned(), path),
        ("instance".to_owned(), &instance),
        ("namespace".to_owned(), namespace),
        ("pod".to_owned(), name),
    ]);
    for (label, value) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(value) = value.as_str() {
            if label == "app.kubernetes.io/name" {
                labels.insert("app".into(), value);
            } else if label.starts_with("taskqueue.dev/") {
                labels.insert(
                    label.replace(|c: char| !c.is_ascii_alphanumeric(), "_"),
                    value,
                );
            }
        }
    }
    Some(json!({"targets": [at], "labels": labels}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(phase: &str, scrape: &str) -> Value {
        json!({
            "metadata": {
                "uid": "u1", "name": "worker-1", "namespace": "shop",
                "labels": {
                    "taskqueue.dev/queue": "payments", "app.kubernetes.io/name": "w", "other": "x",
                },
                "annotations": {"prometheus.io/scrape": scrape, "prometheus.io/port": "8080"},
            },
            "status": {"phase": phase, "podIP": "10.244.0.7"},
        })
    }

    #[test]
    fn an_annotated_running_pod_is_a_target_with_its_labels() {
        assert_eq!(
            target(&pod("Running", "true"), false),
            Some(json!({"targets": ["10.244.0.7:8080"], "labels": {
                "__metrics_path__": "/metrics", "instance": "10.244.0.7:8080",
                "namespace": "shop", "pod": "worker-1",
                "app": "w", "taskqueue_dev_queue": "payments"}}))
        );
        assert_eq!(target(&pod("Running", "false"), false), None);
        assert_eq!(target(&pod("Pending", "true"), false), None);
    }

    #[test]
    fn a_pod_of_an_external_cluster_is_scraped_through_the_proxy_of_its_api() {
        assert_eq!(
            target(&pod("Running", "true"), true),
            Some(json!({"targets": ["127.0.0.1:8001"], "labels": {
                "__metrics_path__": "/api/v1/namespaces/shop/pods/worker-1:8080/proxy/metrics",
                "instance": "10.244.0.7:8080", "namespace": "shop", "pod": "worker-1",
                "app": "w", "taskqueue_dev_queue": "payments"}}))
        );
    }

    #[test]
    fn targets_change_only_when_something_about_them_changes() {
        let mut targets = BTreeMap::new();
        let change = |kind: &str, object| Change {
            kind: kind.into(),
            object,
        };
        assert!(note(
            &mut targets,
            &change("ADDED", pod("Running", "true")),
            false
        ));
        assert!(!note(
            &mut targets,
            &change("MODIFIED", pod("Running", "true")),
            false
        ));
        assert!(note(
            &mut targets,
            &change("MODIFIED", pod("Failed", "true")),
            false
        ));
        assert!(!note(
            &mut targets,
            &change("DELETED", pod("Running", "true")),
            false
        ));
        assert!(targets.is_empty());
    }
}
