//! Specs of fleets and their parts, as a user would write them. Pure.

use serde_json::{Value, json};

/// The address of Temporal as pods reach it.
pub(crate) const TEMPORAL: &str = "temporal.sandbox-services.svc:7233";

/// A spec with one queue `all` that serves every part of an order. `scaling` overrides the tests'
/// short defaults field by field.
pub(crate) fn one_queue(task_queue: &str, min: u32, max: u32, scaling: &Value) -> Value {
    let mut quick = json!({
        "cooldownPeriod": "5s", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
    });
    if let (Some(quick), Some(scaling)) = (quick.as_object_mut(), scaling.as_object()) {
        quick.extend(scaling.clone());
    }
    json!({
        "connection": {"address": TEMPORAL, "temporalNamespace": "default"},
        "template": worker_template(),
        "queues": [{"name": "all", "taskQueue": task_queue, "replicas": {"min": min, "max": max}}],
        "scaling": quick,
        "drain": {"gracePeriod": "60s"},
    })
}

/// The order worker as a pod template, on the sandbox's PostgreSQL, SMTP and gateway.
fn worker_template() -> Value {
    json!({"spec": {"containers": [{
        "name": "worker",
        "image": format!("localhost/order-worker:{}", env!("CARGO_PKG_VERSION")),
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {
                "name": "DATABASE_URL",
                "value": "postgres://orders@postgres.sandbox-services.svc:5432/orders",
            },
            {
                "name": "PAYMENT_GATEWAY_URL",
                "value": "http://payment-gateway.sandbox-services.svc:8090",
            },
            {"name": "SMTP_URL", "value": "smtp://smtp.sandbox-services.svc:2525"},
            {"name": "MAIL_FROM", "value": "orders@shop.example"},
            {"name": "TASKQUEUE_WORKER_ACTIVITY_SLOTS", "value": "4"},
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    }]}})
}
