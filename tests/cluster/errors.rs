//! Each failure becomes a condition with a reason and a message that says what to do. Nothing that
//! runs is touched, and all other fleets continue.

use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use taskqueue_api::TaskQueueWorker;
use taskqueue_testkit::exposure::exposed;

use crate::authority::{Authority, LONG, secret};
use crate::harness::{eventually, one_queue, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn a_temporal_namespace_that_does_not_exist_is_named() {
    with_namespace(
        "a-temporal-namespace-that-does-not-exist",
        |cluster| async move {
            let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            spec["connection"]["temporalNamespace"] = json!("no-such-namespace");
            cluster.apply(spec).await?;
            let condition = cluster
                .condition_is("ScalingActive", "False", "TemporalNamespaceNotFound")
                .await?;
            assert!(
                condition.message.contains("no-such-namespace"),
                "{}",
                condition.message
            );
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_temporal_server_is_named() {
    with_namespace(
        "an-address-without-a-temporal-server",
        |cluster| async move {
            let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            spec["connection"]["address"] = json!("temporal.sandbox-services.svc:7");
            cluster.apply(spec).await?;
            let condition = cluster
                .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
                .await?;
            assert!(
                condition
                    .message
                    .contains("temporal.sandbox-services.svc:7"),
                "{}",
                condition.message
            );
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_secret_is_named_and_its_creation_is_noticed() {
    with_namespace("a-missing-secret-is-named", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 0, 1, &json!({}));
        spec["connection"]["tls"] = json!({});
        spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
        cluster.apply(spec).await?;
        let condition = cluster
            .condition_is("Ready", "False", "SecretNotFound")
            .await?;
        assert!(
            condition.message.contains("temporal-key"),
            "{}",
            condition.message
        );
        cluster.kubectl(&[
            "create",
            "secret",
            "generic",
            "temporal-key",
            "--from-literal=key=k",
        ])?;
        eventually("the Secret is noticed", || async {
            let ready = cluster.condition("Ready").await?;
            let reason = ready.map(|ready| ready.reason).unwrap_or_default();
            Ok(if reason.is_empty() || reason == "SecretNotFound" {
                Err(reason)
            } else {
                Ok(())
            })
        })
        .await
    })
    .await;
}

/// What environment files, JSON and manual copying do to the line breaks of a key.
const LOST: [(&str, &str); 3] = [("literal", "\\n"), ("spaces", " "), ("one-line", "")];

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_lost_its_line_breaks_is_named_and_never_shown() {
    with_namespace("a-key-that-lost-its-line-breaks", |cluster| async move {
        let signed = Authority::new()?.sign("client", LONG)?;
        for (name, line_break) in LOST {
            let key = signed.key.replace('\n', line_break);
            let pair = [("tls.crt", &*signed.certificate), ("tls.key", &*key)];
            secret(&cluster, name, &pair).await?;
            let mut spec = one_queue(&cluster.queue(name), 0, 1, &json!({}));
            spec["connection"]["tls"] = json!({"clientCertificateSecretRef": {"name": name}});
            let fleet = json!({
                "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
                "metadata": {"name": name}, "spec": spec,
            });
            let (by, fleet) = (PatchParams::apply("cluster-test"), Patch::Apply(&fleet));
            cluster
                .api::<TaskQueueWorker>()
                .patch(name, &by, &fleet)
                .await?;
        }
        for (name, _) in LOST {
            eventually(
                &format!("{name} is named in a condition and an Event"),
                || async {
                    let status = cluster.api::<TaskQueueWorker>().get(name).await?.status;
                    let conditions = status.map(|status| status.conditions).unwrap_or_default();
                    let events = cluster.events("SecretInvalid").await?;
                    let place = format!("Secret {name}, key tls.key");
                    let says = |text: &str| text.contains(&place) && text.contains("line breaks");
                    let in_condition = conditions.iter().any(|condition| says(&condition.message));
                    Ok(if in_condition && events.iter().any(|event| says(event)) {
                        Ok(())
                    } else {
                        Err(format!("{conditions:?} {events:?}"))
                    })
                },
            )
            .await?;
        }
        let body: String = signed
            .key
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let shown = [
            cluster.kubectl(&["get", "taskqueueworkers", "-o", "json"])?,
            cluster.kubectl(&["get", "events", "-o", "json"])?,
            cluster.operator_log()?,
        ];
        for line in shown.iter().flat_map(|text| text.lines()) {
            anyhow::ensure!(exposed(&[body.as_bytes()], line).is_none(), "{line}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_pulled_is_named_while_the_old_pod_keeps_running() {
    with_namespace("an-image-that-cannot-be-pulled", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let before = cluster.live_pods().await?[0].name_any();
        spec["template"]["spec"]["containers"][0]["image"] = json!("localhost/no-such-image:1");
        spec["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
        cluster.apply(spec).await?;
        eventually("a condition names the image", || async {
            let fleet = cluster.fleet().await?;
            let conditions = fleet
                .status
                .map(|status| status.conditions)
                .unwrap_or_default();
            let named = conditions.iter().any(|condition| {
                condition.reason == "RolloutStalled"
                    && condition.message.contains("localhost/no-such-image:1")
            });
            Ok(if named {
                Ok(())
            } else {
                Err(format!("{conditions:?}"))
            })
        })
        .await?;
        let alive = cluster
            .live_pods()
            .await?
            .iter()
            .any(|pod| pod.name_any() == before);
        assert!(alive, "the pod of the old template still runs");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_reference_without_its_object_is_named_until_it_exists() {
    with_namespace(
        "a-connection-reference-without-its-object",
        |cluster| async move {
            let mut spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            spec["connectionRef"] = json!({"name": "main"});
            spec.as_object_mut().unwrap().remove("connection");
            cluster.apply(spec).await?;
            let condition = cluster
                .condition_is("Ready", "False", "ConnectionNotFound")
                .await?;
            assert!(condition.message.contains("main"), "{}", condition.message);
            let connection =
                json!({"address": crate::harness::TEMPORAL, "temporalNamespace": "default"});
            cluster.share_connection("main", connection).await?;
            cluster.condition_is("Ready", "True", "Available").await?;
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newer_of_two_fleets_on_one_task_queue_does_not_scale() {
    with_namespace(
        "the-newer-of-two-fleets-does-not-scale",
        |cluster| async move {
            let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            cluster.apply(spec.clone()).await?;
            cluster.condition_is("Ready", "True", "Available").await?;
            let second = json!({
                "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
                "metadata": {"name": "second"}, "spec": spec,
            });
            let api = cluster.api::<TaskQueueWorker>();
            // creationTimestamp has whole seconds; within the same second, the name decides.
            api.patch(
                "second",
                &PatchParams::apply("cluster-test"),
                &Patch::Apply(&second),
            )
            .await?;
            eventually("the newer fleet reports QueueConflict", || async {
                let conditions = api
                    .get("second")
                    .await?
                    .status
                    .map(|status| status.conditions)
                    .unwrap_or_default();
                let found = conditions.iter().any(|condition| {
                    condition.reason == "QueueConflict" && condition.message.contains("orders")
                });
                Ok(if found {
                    Ok(())
                } else {
                    Err(format!("{conditions:?}"))
                })
            })
            .await?;
            let (requested, ready) = cluster.replicas("all").await?;
            assert_eq!((requested, ready), (1, 1), "the older fleet continues");
            Ok(())
        },
    )
    .await;
}
