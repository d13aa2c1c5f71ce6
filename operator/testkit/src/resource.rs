//! A `TaskQueueWorker` as the API server has it.

use serde_json::{Value, json};
use taskqueue_api::{GuardedFleet, TaskQueueWorker};

/// A resource with the given queues.
pub fn resource(queues: &Value) -> TaskQueueWorker {
    serde_json::from_value(json!({
        "apiVersion": "taskqueue.dev/v1alpha1",
        "kind": "TaskQueueWorker",
        "metadata": {
            "name": "orders", "namespace": "shop", "uid": "fleet-uid", "generation": 4,
            "resourceVersion": "50", "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "connection": {"address": "temporal:7233", "temporalNamespace": "default"},
            "template": {"spec": {"containers": [{"name": "worker", "image": "worker:1"}]}},
            "queues": queues,
        },
    }))
    .unwrap()
}

/// A resource as the cache would hold it.
pub fn guarded(object: &TaskQueueWorker) -> GuardedFleet {
    serde_json::from_value(serde_json::to_value(object).unwrap()).unwrap()
}
