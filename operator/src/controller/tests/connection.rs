//! Passes with a changed credential, while Temporal is read all the time.

use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskqueue_api::validate;
use taskqueue_scaling::TypeBacklog;

use super::*;
use crate::testing::slow_api;

/// How long the API server takes to answer for the new Secret: longer than the interval of reads.
const SLOW: Duration = Duration::from_secs(11);

/// A Temporal with empty queues and without workers. It accepts every key.
struct Empty;

impl QueueStats for Empty {
    fn describe<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
        _: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>> {
        Box::pin(async { Ok(TypeBacklog::default()) })
    }

    fn describe_past_cache<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
        types: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>> {
        let empty = types.iter().map(|&of| (of, TypeBacklog::default()));
        Box::pin(async { Ok(empty.collect()) })
    }

    fn release(&self, _: &ResolvedConnection) {}

    fn list_workers<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a [u8],
    ) -> BoxFuture<'a, Result<WorkersPage, CallError>> {
        Box::pin(async { Ok(WorkersPage::default()) })
    }

    fn describe_worker<'a>(
        &'a self,
        _: &'a ResolvedConnection,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Heartbeat>, CallError>> {
        Box::pin(async { Ok(None) })
    }
}

/// A fleet with an API key in this Secret.
fn with_key(secret: &str) -> Value {
    let mut object = object();
    object["spec"]["connection"] = json!({
        "address": "temporal:7233", "temporalNamespace": "default",
        "apiKeySecretRef": {"name": secret, "key": "key"}, "tls": {},
    });
    object
}

/// Its Deployment, running.
fn running(object: &Value) -> Deployment {
    let fleet = validate(&serde_json::from_value(object.clone()).unwrap()).unwrap();
    let queue = &fleet.queues[0];
    let mut made = taskqueue_api::render(&fleet, queue, &testing::usable(&fleet).spec);
    made.metadata.uid = Some("deployment-uid".to_owned());
    made.metadata.resource_version = Some("9".to_owned());
    made.spec.as_mut().unwrap().replicas = Some(1);
    made
}

#[tokio::test(start_paused = true)]
async fn a_reading_with_the_former_key_does_not_prove_the_next_one() {
    let api = slow_api(|request| {
        let secret = |name: &str| request.line.contains(&format!("/secrets/{name}"));
        let key = STANDARD.encode("a-key");
        let found = (
            200,
            json!({"metadata": {"name": "key"}, "data": {"key": key}}),
        );
        if secret("second") {
            (SLOW, found)
        } else if secret("first") {
            (Duration::ZERO, found)
        } else {
            (Duration::ZERO, (200, accepted(request)))
        }
    });
    let mut operator = Operator::reading(Arc::new(Empty), api);
    let (first, mut second) = (with_key("first"), with_key("second"));
    second["metadata"]["generation"] = json!(99);
    let event = Event::Apply(running(&first));
    operator.caches.deployments.apply_watcher_event(&event);
    let updates = operator.context.shared.readers.updates();
    let mut updates = pin!(updates);
    operator.pass(&first).await.0.unwrap();
    updates.next().await.unwrap();

    let rolls = |lines: &[String]| {
        let template = |line: &String| line.contains("/deployments/") && line.contains("force=");
        lines.iter().any(template)
    };
    let (_, lines) = operator.pass(&second).await;
    assert!(!rolls(&lines), "no reading with the second key: {lines:?}");
    // The readings during that pass may be reported only now.
    let rolled = async {
        while !rolls(&operator.pass(&second).await.1) {
            updates.next().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(1), rolled)
        .await
        .expect("a reading with the second key proves it");
}
