//! Resources that the API server must refuse, each with what the refusal has to say. Data for tests.
//!
//! The cluster tests apply each to a real API server: the schema and its rules live there, and only
//! there can it be shown that they refuse.

use serde_json::{Value, json};

/// A resource with one mistake in it.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// The mistake, as a sentence.
    pub mistake: &'static str,
    /// The whole resource, in the namespace `default`.
    pub resource: Value,
    /// Texts that the refusal must contain: the field, and what is allowed.
    pub refusal: &'static [&'static str],
}

/// A `TaskQueueWorker` that is accepted; each malformed one differs from it in one place.
pub fn well_formed() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1",
        "kind": "TaskQueueWorker",
        "metadata": {"name": "fleet", "namespace": "default"},
        "spec": {
            "connection": {"address": "temporal:7233"},
            "template": {
                "metadata": {"labels": {"team": "orders"}},
                "spec": {
                    "containers": [
                        {"name": "worker", "image": "worker:1", "env": [{"name": "A", "value": "1"}]},
                        {"name": "sidecar", "image": "sidecar:1"},
                    ],
                    "volumes": [{"name": "cache", "emptyDir": {}}],
                },
            },
            "queues": [
                {"name": "one", "replicas": {"min": 1, "max": 2}},
                {"name": "two", "taskQueue": "zwei", "taskTypes": ["Activity"], "replicas": {"max": 2}},
            ],
        },
    })
}

/// A `TemporalConnection` that is accepted.
pub fn well_formed_connection() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1",
        "kind": "TemporalConnection",
        "metadata": {"name": "connection", "namespace": "default"},
        "spec": {"address": "temporal:7233"},
    })
}

/// A mistake, the fields that make it (JSON pointer and value; null removes the field), and the refusal.
type Mistake = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// Every mistake that the API server refuses, one resource each.
pub fn malformed() -> Vec<Malformed> {
    let workers = WORKERS.iter().map(|mistake| make(well_formed(), mistake));
    let connections = CONNECTIONS
        .iter()
        .map(|mistake| make(well_formed_connection(), mistake));
    workers.chain(connections).collect()
}

fn make(mut resource: Value, (mistake, changes, refusal): &Mistake) -> Malformed {
    for (pointer, text) in *changes {
        set(
            &mut resource,
            pointer,
            serde_json::from_str(text).unwrap_or(Value::Null),
        );
    }
    Malformed {
        mistake,
        resource,
        refusal,
    }
}

/// Sets the value at a JSON pointer whose parent exists; null removes it.
fn set(resource: &mut Value, pointer: &str, value: Value) {
    let Some((parent, field)) = pointer.rsplit_once('/') else {
        return;
    };
    match resource.pointer_mut(parent) {
        Some(Value::Object(object)) if value.is_null() => {
            object.remove(field);
        }
        Some(Value::Object(object)) => {
            object.insert(field.replace("~1", "/"), value);
        }
        Some(Value::Array(items)) => items.push(value),
        _ => {}
    }
}

const WORKERS: &[Mistake] = &[
    (
        "a name that is no label",
        &[("/metadata/name", r#""a.b""#)],
        &["metadata.name must be at most 63 lower-case letters"],
    ),
    (
        "no queues field",
        &[("/spec/queues", "null")],
        &["spec.queues: Required value"],
    ),
    (
        "an empty list of queues",
        &[("/spec/queues", "[]")],
        &["spec.queues", "at least 1 items"],
    ),
    (
        "no template",
        &[("/spec/template", "null")],
        &["spec.template: Required value"],
    ),
    (
        "neither form of the connection",
        &[("/spec/connection", "null")],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "both forms of the connection",
        &[("/spec/connectionRef", r#"{"name": "shared"}"#)],
        &[
            "spec.connection",
            "exactly one of connection and connectionRef must be set",
        ],
    ),
    (
        "an address with a scheme",
        &[("/spec/connection/address", r#""http://temporal:7233""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an address without a port",
        &[("/spec/connection/address", r#""temporal""#)],
        &[
            "spec.connection.address",
            "address must be host:port without a scheme",
        ],
    ),
    (
        "an API key without TLS",
        &[(
            "/spec/connection/apiKeySecretRef",
            r#"{"name": "key", "key": "key"}"#,
        )],
        &[
            "spec.connection.apiKeySecretRef",
            "apiKeySecretRef needs tls",
        ],
    ),
    (
        "an API key without the key of the Secret",
        &[
            ("/spec/connection/tls", "{}"),
            ("/spec/connection/apiKeySecretRef", r#"{"name": "key"}"#),
        ],
        &["spec.connection.apiKeySecretRef.key: Required value"],
    ),
    (
        "an empty Temporal namespace",
        &[("/spec/connection/temporalNamespace", r#""""#)],
        &["spec.connection.temporalNamespace"],
    ),
    (
        "a field that does not exist",
        &[("/spec/scalling", "{}")],
        &["unknown field", "spec.scalling"],
    ),
    (
        "a typo in the pod template",
        &[(
            "/spec/template/spec/containers/0/imagePulPolicy",
            r#""Always""#,
        )],
        &[
            "unknown field",
            "spec.template.spec.containers[0].imagePulPolicy",
        ],
    ),
    (
        "a wrong type in the pod template",
        &[("/spec/template/spec/nodeSelector", r#"["a"]"#)],
        &["spec.template.spec.nodeSelector"],
    ),
    (
        "no container named worker",
        &[("/spec/template/spec/containers/0/name", r#""main""#)],
        &[
            "spec.template.spec.containers",
            "containers must have one named worker",
        ],
    ),
    (
        "two containers named worker",
        &[("/spec/template/spec/containers/1/name", r#""worker""#)],
        &["spec.template.spec.containers[1]", "Duplicate value"],
    ),
    (
        "a variable twice in the template",
        &[(
            "/spec/template/spec/containers/0/env/-",
            r#"{"name": "A", "value": "2"}"#,
        )],
        &["spec.template.spec.containers[0].env[1]", "Duplicate value"],
    ),
    (
        "a variable of the operator in the template",
        &[(
            "/spec/template/spec/containers/0/env/-",
            r#"{"name": "TEMPORAL_ADDRESS", "value": "elsewhere:7233"}"#,
        )],
        &[
            "spec.template.spec.containers",
            "must not set the variables that the operator sets",
            "TEMPORAL_ADDRESS",
        ],
    ),
    (
        "a volume of the operator",
        &[(
            "/spec/template/spec/volumes/-",
            r#"{"name": "taskqueue-tls", "emptyDir": {}}"#,
        )],
        &["spec.template.spec.volumes", "taskqueue-tls"],
    ),
    (
        "a label of the operator",
        &[(
            "/spec/template/metadata/labels/taskqueue.dev~1queue",
            r#""mine""#,
        )],
        &[
            "spec.template.metadata.labels",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "an annotation of the operator",
        &[(
            "/spec/template/metadata/annotations",
            r#"{"taskqueue.dev/x": "mine"}"#,
        )],
        &[
            "spec.template.metadata.annotations",
            "must not start with taskqueue.dev/",
        ],
    ),
    (
        "a host name",
        &[("/spec/template/spec/hostname", r#""worker-0""#)],
        &["spec.template.spec.hostname", "hostname must not be set"],
    ),
    (
        "a host name override",
        &[("/spec/template/spec/hostnameOverride", r#""worker-0""#)],
        &[
            "spec.template.spec.hostnameOverride",
            "hostnameOverride must not be set",
        ],
    ),
    (
        "the network of the node",
        &[("/spec/template/spec/hostNetwork", "true")],
        &[
            "spec.template.spec.hostNetwork",
            "hostNetwork must not be true",
        ],
    ),
    (
        "a full host name",
        &[("/spec/template/spec/setHostnameAsFQDN", "true")],
        &["spec.template.spec.setHostnameAsFQDN", "must not be true"],
    ),
    (
        "a termination grace of the user's own",
        &[("/spec/template/spec/terminationGracePeriodSeconds", "30")],
        &[
            "spec.template.spec.terminationGracePeriodSeconds",
            "set drain.gracePeriod",
        ],
    ),
    (
        "a deadline for the pods",
        &[("/spec/template/spec/activeDeadlineSeconds", "30")],
        &[
            "spec.template.spec.activeDeadlineSeconds",
            "must not be set",
        ],
    ),
    (
        "pods that are not restarted",
        &[("/spec/template/spec/restartPolicy", r#""Never""#)],
        &[
            "spec.template.spec.restartPolicy",
            "restartPolicy must be Always",
        ],
    ),
    (
        "two queues of one name",
        &[("/spec/queues/1/name", r#""one""#)],
        &["spec.queues[1]", "Duplicate value"],
    ),
    (
        "a queue without a name",
        &[("/spec/queues/0/name", "null")],
        &["spec.queues[0].name: Required value"],
    ),
    (
        "a queue name with capitals",
        &[("/spec/queues/0/name", r#""Orders""#)],
        &["spec.queues[0].name"],
    ),
    (
        "a queue name of 64 characters",
        &[(
            "/spec/queues/0/name",
            r#""aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
        )],
        &["spec.queues[0].name", "63"],
    ),
    (
        "a task queue of Temporal's own",
        &[("/spec/queues/0/taskQueue", r#""/_sys/x""#)],
        &["spec.queues[0].taskQueue", "must not start with /_sys/"],
    ),
    (
        "an empty task queue",
        &[("/spec/queues/0/taskQueue", r#""""#)],
        &["spec.queues[0].taskQueue"],
    ),
    (
        "two queues that serve the same tasks",
        &[("/spec/queues/1/taskQueue", r#""one""#)],
        &[
            "spec.queues",
            "two queues must not serve the same taskQueue",
        ],
    ),
    (
        "a queue without replicas",
        &[("/spec/queues/0/replicas", "null")],
        &["spec.queues[0].replicas: Required value"],
    ),
    (
        "replicas without a maximum",
        &[("/spec/queues/0/replicas/max", "null")],
        &["spec.queues[0].replicas.max: Required value"],
    ),
    (
        "a minimum over the maximum",
        &[("/spec/queues/0/replicas/min", "3")],
        &[
            "spec.queues[0].replicas.min",
            "replicas.min must not be greater than replicas.max",
        ],
    ),
    (
        "a negative minimum",
        &[("/spec/queues/0/replicas/min", "-1")],
        &["spec.queues[0].replicas.min", "greater than or equal to 0"],
    ),
    (
        "a maximum beyond reason",
        &[("/spec/queues/0/replicas/max", "1001")],
        &["spec.queues[0].replicas.max", "less than or equal to 1000"],
    ),
    (
        "a task type that does not exist",
        &[("/spec/queues/1/taskTypes", r#"["Query"]"#)],
        &[
            "spec.queues[1].taskTypes[0]",
            r#"supported values: "Workflow", "Activity", "Nexus""#,
        ],
    ),
    (
        "a task type twice",
        &[("/spec/queues/1/taskTypes", r#"["Activity", "Activity"]"#)],
        &["spec.queues[1].taskTypes[1]", "Duplicate value"],
    ),
    (
        "no task type at all",
        &[("/spec/queues/1/taskTypes", "[]")],
        &["spec.queues[1].taskTypes", "at least 1 items"],
    ),
    (
        "a variable of the operator in a queue",
        &[(
            "/spec/queues/0/env",
            r#"[{"name": "TEMPORAL_TASK_QUEUE", "value": "x"}]"#,
        )],
        &[
            "spec.queues[0].env",
            "env must not set the variables that the operator sets",
            "TEMPORAL_TASK_QUEUE",
        ],
    ),
    (
        "a variable twice in a queue",
        &[(
            "/spec/queues/0/env",
            r#"[{"name": "B", "value": "1"}, {"name": "B", "value": "2"}]"#,
        )],
        &["spec.queues[0].env[1]", "Duplicate value"],
    ),
    (
        "a typo in a queue's resources",
        &[("/spec/queues/0/resources", r#"{"request": {"cpu": "1"}}"#)],
        &["unknown field", "spec.queues[0].resources.request"],
    ),
    (
        "a duration without a unit",
        &[("/spec/scaling", r#"{"queueWaitTarget": "10"}"#)],
        &[
            "spec.scaling.queueWaitTarget",
            "must be a duration such as 5s",
        ],
    ),
    (
        "a duration as a number",
        &[("/spec/scaling", r#"{"cooldownPeriod": 60}"#)],
        &["spec.scaling.cooldownPeriod", "must be of type string"],
    ),
    (
        "a wait target that nothing could keep",
        &[("/spec/scaling", r#"{"queueWaitTarget": "100ms"}"#)],
        &[
            "spec.scaling.queueWaitTarget",
            "queueWaitTarget must be a duration such as 5s, 10m or 1h30m, from 500ms to 24h",
        ],
    ),
    (
        "a utilization over 100 percent",
        &[("/spec/scaling", r#"{"targetUtilization": 101}"#)],
        &[
            "spec.scaling.targetUtilization",
            "less than or equal to 100",
        ],
    ),
    (
        "no slots at all",
        &[("/spec/scaling", r#"{"slotsPerReplica": 0}"#)],
        &["spec.scaling.slotsPerReplica", "greater than or equal to 1"],
    ),
    (
        "polling too often",
        &[("/spec/scaling", r#"{"pollingInterval": "100ms"}"#)],
        &[
            "spec.scaling.pollingInterval",
            "pollingInterval must be a duration such as 5s, 10m or 1h30m, from 1s to 5m",
        ],
    ),
    (
        "a cooldown shorter than the polling interval",
        &[(
            "/spec/scaling",
            r#"{"cooldownPeriod": "5s", "pollingInterval": "10s"}"#,
        )],
        &[
            "spec.scaling.cooldownPeriod",
            "must not be shorter than scaling.pollingInterval",
        ],
    ),
    (
        "a quiet queue polled more often than a busy one",
        &[(
            "/spec/scaling",
            r#"{"quietPollingInterval": "5s", "pollingInterval": "10s"}"#,
        )],
        &[
            "spec.scaling.quietPollingInterval",
            "must not be shorter than scaling.pollingInterval",
        ],
    ),
    (
        "a queue whose cooldown is shorter than the fleet's polling interval",
        &[("/spec/queues/0/scaling", r#"{"cooldownPeriod": "2s"}"#)],
        &[
            "spec.queues",
            "cooldownPeriod must not be shorter than pollingInterval",
        ],
    ),
    (
        "a queue polled less often than the fleet's quiet ones",
        &[("/spec/queues/0/scaling", r#"{"pollingInterval": "50s"}"#)],
        &[
            "spec.queues",
            "quietPollingInterval must not be shorter than pollingInterval",
        ],
    ),
    (
        "a mode that does not exist",
        &[("/spec/scaling", r#"{"mode": "Off"}"#)],
        &[
            "spec.scaling.mode",
            r#"supported values: "Active", "DryRun", "Paused""#,
        ],
    ),
    (
        "a stabilization window over an hour",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}}"#,
        )],
        &[
            "spec.scaling.behavior.scaleDown.stabilizationWindowSeconds",
            "3600",
        ],
    ),
    (
        "a policy without a period",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1}]}}}"#,
        )],
        &["spec.scaling.behavior.scaleUp.policies[0].periodSeconds: Required value"],
    ),
    (
        "a policy that allows nothing",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}}"#,
        )],
        &[
            "spec.scaling.behavior.scaleUp.policies[0].value",
            "greater than or equal to 1",
        ],
    ),
    (
        "a tolerance in percent",
        &[(
            "/spec/scaling",
            r#"{"behavior": {"scaleUp": {"tolerance": "10%"}}}"#,
        )],
        &["spec.scaling.behavior.scaleUp.tolerance"],
    ),
    (
        "a fallback without replicas",
        &[("/spec/scaling", r#"{"fallback": {"failureThreshold": 3}}"#)],
        &["spec.scaling.fallback.replicas: Required value"],
    ),
    (
        "a drain grace of nothing",
        &[("/spec/drain", r#"{"gracePeriod": "0s"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
    (
        "a drain grace of two days",
        &[("/spec/drain", r#"{"gracePeriod": "48h"}"#)],
        &[
            "spec.drain.gracePeriod",
            "gracePeriod must be a duration such as 5s, 10m or 1h30m, from 1s to 24h",
        ],
    ),
];

const CONNECTIONS: &[Mistake] = &[
    (
        "a connection without an address",
        &[("/spec/address", "null")],
        &["spec.address: Required value"],
    ),
    (
        "a connection with an API key and no TLS",
        &[("/spec/apiKeySecretRef", r#"{"name": "key", "key": "key"}"#)],
        &["spec.apiKeySecretRef", "apiKeySecretRef needs tls"],
    ),
    (
        "a connection with a server name that is none",
        &[("/spec/tls", r#"{"serverName": "https://temporal"}"#)],
        &["spec.tls.serverName", "serverName must be a host name"],
    ),
    (
        "a connection with a Secret in another namespace",
        &[(
            "/spec/tls",
            r#"{"caSecretRef": {"name": "ca", "namespace": "other"}}"#,
        )],
        &["unknown field", "spec.tls.caSecretRef.namespace"],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TaskQueueWorker, TemporalConnection, validate};

    #[test]
    fn each_mistake_is_one_change_of_a_resource_that_is_accepted() {
        let mut worker: TaskQueueWorker = serde_json::from_value(well_formed()).unwrap();
        worker.metadata.uid = Some("uid".to_owned());
        validate(&worker).unwrap();
        let _: TemporalConnection = serde_json::from_value(well_formed_connection()).unwrap();
        for malformed in malformed() {
            assert_ne!(malformed.resource, well_formed(), "{}", malformed.mistake);
            assert_ne!(
                malformed.resource,
                well_formed_connection(),
                "{}",
                malformed.mistake
            );
        }
    }

    /// What passes an older definition must not pass the operator.
    #[test]
    fn what_can_be_read_of_the_malformed_is_refused_or_harmless() {
        let accepted: Vec<&str> = malformed()
            .into_iter()
            .filter(|malformed| {
                serde_json::from_value::<TaskQueueWorker>(malformed.resource.clone()).is_ok_and(
                    |mut worker| {
                        worker.metadata.uid = Some("uid".to_owned());
                        validate(&worker).is_ok()
                    },
                )
            })
            .map(|malformed| malformed.mistake)
            .collect();
        insta::assert_yaml_snapshot!(accepted);
    }
}
