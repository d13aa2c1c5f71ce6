//! Resources that the API server must refuse, each with what the refusal must say.
//!
//! The cluster tests apply each of them to a real API server: it alone evaluates the schema and its
//! rules, so only there can a test show that they refuse.

mod connection;
mod deployment;
mod fleet;
mod mistake;
mod queues;
mod scaling;
mod template;

use serde_json::{Value, json};

use crate::malformed::mistake::Mistake;

/// A resource with one mistake in it.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// The mistake, as a sentence.
    pub mistake: &'static str,
    /// The whole resource, in the namespace `default` if it has one.
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
                        {
                            "name": "worker", "image": "worker:1",
                            "env": [{"name": "A", "value": "1"}],
                        },
                        {"name": "sidecar", "image": "sidecar:1", "resources": {
                            "limits": {"cpu": 2, "memory": "1.5Gi", "ephemeral-storage": "2e9"},
                            "requests": {
                                "cpu": "500m", "memory": "+.5G", "ephemeral-storage": "1.",
                            },
                        }},
                    ],
                    "volumes": [{"name": "cache", "emptyDir": {}}],
                },
            },
            "queues": [
                {"name": "one", "replicas": {"min": 1, "max": 2}},
                {
                    "name": "two", "taskQueue": "zwei", "taskTypes": ["Activity"],
                    "replicas": {"max": 2},
                },
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

/// A `ClusterTemporalConnection` that is accepted.
pub fn well_formed_cluster_connection() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1",
        "kind": "ClusterTemporalConnection",
        "metadata": {"name": "connection"},
        "spec": {"namespaces": ["default"], "address": "temporal:7233"},
    })
}

/// One resource for each mistake that the API server refuses.
pub fn malformed() -> Vec<Malformed> {
    let workers = [
        fleet::FLEET,
        connection::INLINE,
        queues::QUEUES,
        template::TEMPLATES,
        deployment::DEPLOYMENTS,
        scaling::SCALING,
    ];
    let workers = workers.into_iter().flatten();
    let workers = workers.map(|mistake| make(well_formed(), mistake));
    let connections = connection::SHARED
        .iter()
        .map(|mistake| make(well_formed_connection(), mistake));
    let of_cluster = connection::OF_CLUSTER
        .iter()
        .map(|mistake| make(well_formed_cluster_connection(), mistake));
    workers.chain(connections).chain(of_cluster).collect()
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
