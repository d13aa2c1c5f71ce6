//! What ships for GitOps tools, run by their own languages: the health check for Argo CD by Lua,
//! the configuration for Kustomize by kubectl. Starts both programs.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::helm::{program, read, root};
use crate::objects::{text, yaml};

const FLEET: &str = "TaskQueueWorker";

/// The statuses of a fleet in every state that tools tell apart, as the operator writes them.
const STATUSES: &str = "operator/src/report/status/snapshots/taskqueue_operator__report__status__kstatus__statuses.snap";

/// The health check of a kind as Argo CD reads it: a part of its own ConfigMap.
fn health_check(kind: &str) -> String {
    let config = yaml(&read(&root().join("examples/gitops/argocd/argocd-cm.yaml")));
    let key = format!("/data/resource.customizations.health.taskqueue.dev_{kind}");
    text(&config, &key).to_owned()
}

/// A value as Argo CD passes it to Lua.
fn to_lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => {
            let bytes = text.bytes().fold(String::new(), |mut all, byte| {
                _ = write!(all, "\\{byte:03}");
                all
            });
            format!("\"{bytes}\"")
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(to_lua).collect();
            format!("{{{}}}", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| {
                    format!("[{}] = {}", to_lua(&name.as_str().into()), to_lua(value))
                })
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
    }
}

/// The health and the message that Argo CD shows for each object of a kind.
fn health(kind: &str, objects: &[Value]) -> Vec<(String, String)> {
    let check = health_check(kind);
    let mut script = format!("local function health(obj)\n{check}\nend\n");
    for object in objects {
        _ = writeln!(
            script,
            "local found = health({})\nprint(found.status .. '\\t' .. found.message)",
            to_lua(object)
        );
    }
    let output = Command::new(program("lua5.4"))
        .args(["-e", &script])
        .output()
        .expect("lua5.4 starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).expect("the messages are text");
    printed
        .lines()
        .map(|line| {
            let (status, message) = line.split_once('\t').expect("a status and a message");
            (status.to_owned(), message.to_owned())
        })
        .collect()
}

#[test]
fn argo_cd_sees_the_actual_state_of_a_fleet() {
    let snapshot = read(&root().join(STATUSES));
    let (_, statuses) = snapshot[3..]
        .split_once("\n---\n")
        .expect("a snapshot has a head");
    let statuses = yaml(statuses);
    let cases: Vec<&Value> = statuses.as_array().expect("a list").iter().collect();
    let object = |case: &Value, generation: i64| {
        serde_json::json!({
            "metadata": {"generation": generation}, "status": case["status"],
        })
    };
    let now: Vec<Value> = cases.iter().map(|case| object(case, 2)).collect();
    let seen: Vec<(&str, String)> = cases
        .iter()
        .map(|case| text(case, "/case"))
        .zip(health(FLEET, &now).into_iter().map(|(health, _)| health))
        .collect();
    let expected = [
        ("all is well", "Healthy"),
        ("the fleet is paused", "Suspended"),
        ("Temporal is away", "Healthy"),
        ("a queue wakes from zero", "Healthy"),
        ("nothing is there", "Progressing"),
        ("the first pods start", "Progressing"),
        ("pods are replaced", "Progressing"),
        ("the API server is away", "Progressing"),
        ("the API server is busy", "Progressing"),
        ("no node has room", "Progressing"),
        ("a webhook denies", "Degraded"),
        ("a Secret is missing", "Degraded"),
        ("a rival is older", "Degraded"),
        ("the image is not there", "Degraded"),
        ("the image of a rollout is not there", "Degraded"),
        ("a rollout is paused", "Degraded"),
        ("the spec is refused", "Degraded"),
    ];
    assert_eq!(
        seen,
        expected.map(|(case, health)| (case, health.to_owned()))
    );
    // A message says what to do, and a change that the operator has not seen is none of these.
    for (case, (_, message)) in cases.iter().zip(health(FLEET, &now)) {
        assert!(message.len() > 10, "{case}: {message}");
    }
    let changed: Vec<Value> = cases.iter().map(|case| object(case, 3)).collect();
    let unseen = health(FLEET, &changed);
    assert!(
        unseen.iter().all(|(health, _)| health == "Progressing"),
        "{unseen:?}"
    );
    let new = serde_json::json!({"metadata": {"generation": 1}});
    assert_eq!(health(FLEET, &[new])[0].0, "Progressing");
}

#[test]
fn argo_cd_sees_whether_a_connection_is_valid() {
    let object = |generation: i64, conditions: Value| {
        serde_json::json!({
            "metadata": {"generation": generation},
            "status": {"observedGeneration": 2, "conditions": conditions},
        })
    };
    let ready = |status: &str| {
        serde_json::json!([
            {"type": "CertificateExpiring", "status": "True", "message": "soon"},
            {"type": "Ready", "status": status, "message": "why"},
        ])
    };
    let objects = [
        object(2, ready("True")),
        object(2, ready("False")),
        object(3, ready("True")),
        object(2, serde_json::json!([])),
        serde_json::json!({"metadata": {"generation": 1}}),
    ];
    let unseen = (
        "Progressing",
        "the operator has not seen this generation yet",
    );
    let expected = [
        ("Healthy", "why"),
        ("Degraded", "why"),
        unseen,
        ("Progressing", "no condition Ready yet"),
        unseen,
    ];
    let expected = expected.map(|(health, message)| (health.to_owned(), message.to_owned()));
    for kind in ["TemporalConnection", "ClusterTemporalConnection"] {
        assert_eq!(health(kind, &objects), expected, "{kind}");
    }
}

#[test]
fn kustomize_renames_what_a_fleet_and_its_connection_name() {
    let output = Command::new(program("kubectl"))
        .args(["kustomize", "examples/gitops/kustomize"])
        .current_dir(root())
        .output()
        .expect("kubectl starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

/// Every reference of the schemas, so that a new one is not forgotten.
#[test]
fn kustomize_knows_every_reference_of_the_resources() {
    let configuration = yaml(&read(
        &root().join("examples/gitops/kustomize/taskqueue.yaml"),
    ));
    let mut known: Vec<(String, String)> = Vec::new();
    for of_kind in configuration["nameReference"].as_array().expect("a list") {
        for field in of_kind["fieldSpecs"].as_array().expect("a list") {
            let path = text(field, "/path").to_owned();
            known.push((text(field, "/kind").to_owned(), path));
        }
    }
    known.sort();
    // connectionRef may name an object of either kind of connection.
    known.dedup();
    let mut found = Vec::new();
    for file in [
        "taskqueueworkers",
        "temporalconnections",
        "clustertemporalconnections",
    ] {
        let crd = yaml(&read(
            &root().join(format!("crds/taskqueue.dev_{file}.yaml")),
        ));
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        references(schema, "spec", &mut |path| {
            found.push((text(&crd, "/spec/names/kind").to_owned(), path.to_owned()));
        });
    }
    found.sort();
    assert_eq!(known, found);
}

/// Calls `found` with the path of each field that holds the name of an object of the namespace
/// which Kustomize can generate.
fn references(schema: &Value, path: &str, found: &mut impl FnMut(&str)) {
    const REFERENCES: [&str; 13] = [
        "connectionRef/name",
        "SecretRef/name",
        "secretRef/name",
        "secretKeyRef/name",
        "configMapRef/name",
        "ConfigMapRef/name",
        "configMapKeyRef/name",
        "configMap/name",
        "secret/name",
        "secret/secretName",
        "imagePullSecrets/name",
        "persistentVolumeClaim/claimName",
        "/serviceAccountName",
    ];
    // Drivers of volumes have Secrets of their own, which nobody generates with an application, and
    // ephemeral containers are refused.
    const LEFT_OUT: [&str; 3] = ["volumes/", "ephemeralContainers/", "resourceClaims/"];
    const VOLUMES: [&str; 5] = [
        "volumes/configMap/name",
        "volumes/secret/secretName",
        "volumes/projected/sources/configMap/name",
        "volumes/projected/sources/secret/name",
        "volumes/persistentVolumeClaim/claimName",
    ];
    let left_out = LEFT_OUT.iter().any(|part| path.contains(part))
        && !VOLUMES.iter().any(|volume| path.ends_with(volume));
    let reference =
        REFERENCES.iter().any(|end| path.ends_with(end)) || path.ends_with("/priorityClassName");
    if schema["type"] == "string" && reference && !left_out {
        found(path);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let inner = match field.get("items") {
            Some(items) => items,
            None => field,
        };
        references(inner, &format!("{path}/{name}"), found);
    }
}
