//! A changed connection is tested before it reaches running pods. A shared connection has a status.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;
use taskqueue_api::TemporalConnection;

use crate::harness::{TEMPORAL, TestCluster, eventually, one_queue, throughout, with_namespace};

/// The sorted names of the pods that are not terminating.
async fn pods(cluster: &TestCluster) -> anyhow::Result<Vec<String>> {
    let pods = cluster.live_pods().await?;
    let mut names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_an_answer_from_temporal_reaches_no_running_pod() {
    with_namespace("a-connection-is-tried-first", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 2, 2, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster
            .replicas_are("all", "the minimum runs", |_, ready| ready == 2)
            .await?;
        let before = pods(&cluster).await?;

        let good = spec["connection"]["address"].clone();
        spec["connection"]["address"] = json!("temporl.sandbox-services.svc:7233");
        cluster.apply(spec.clone()).await?;
        cluster
            .condition_is("Reconciling", "True", "ConnectionUntried")
            .await?;
        throughout(Duration::from_secs(10), "the same pods run", || async {
            let now = pods(&cluster).await?;
            Ok(if now == before {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            })
        })
        .await?;
        let condition = cluster
            .condition_is("Ready", "False", "ConnectionUntried")
            .await?;
        assert!(
            condition.message.contains("temporl"),
            "{}",
            condition.message
        );

        spec["connection"]["address"] = good;
        spec["queues"][0]["taskQueue"] = json!(cluster.queue("other"));
        cluster.apply(spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        eventually("an Event names the task queue that was left", || async {
            let notes = cluster.events("QueueMoved").await?;
            let left = cluster.queue("all");
            let is_named = notes.iter().any(|note| note.contains(&left));
            Ok(if is_named {
                Ok(())
            } else {
                Err(format!("{notes:?}"))
            })
        })
        .await?;

        // The user overrides the test.
        let before = pods(&cluster).await?;
        spec["connection"]["address"] = json!("temporl.sandbox-services.svc:7233");
        cluster.kubectl(&[
            "annotate",
            "tqw/orders",
            "taskqueue.dev/skip-connection-check=true",
        ])?;
        cluster.apply(spec).await?;
        eventually("a pod uses the new connection", || async {
            let now = pods(&cluster).await?;
            let new = now.iter().any(|pod| !before.contains(pod));
            Ok(if new { Ok(()) } else { Err(format!("{now:?}")) })
        })
        .await
    })
    .await;
}

/// Waits until the shared connection has this status and reason of `Ready`, and these fleets.
async fn is_reported(
    cluster: &TestCluster,
    ready: (&str, &str),
    fleets: &[&str],
) -> anyhow::Result<()> {
    eventually(&format!("{ready:?} and {fleets:?}"), || async {
        let connection = cluster.api::<TemporalConnection>().get("shared").await?;
        let status = connection.status.unwrap_or_default();
        let current = status.observed_generation == connection.metadata.generation;
        let has_condition = status.conditions.iter().any(|condition| {
            condition.type_ == "Ready" && (&*condition.status, &*condition.reason) == ready
        });
        Ok(if current && has_condition && status.fleets == fleets {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_connection_shows_whether_it_is_valid_and_which_fleets_refer_to_it() {
    with_namespace("the-status-of-a-connection", |cluster| async move {
        let tls = json!({"caSecretRef": {"name": "missing"}});
        cluster
            .share_connection("shared", json!({"address": TEMPORAL, "tls": tls}))
            .await?;
        is_reported(&cluster, ("False", "SecretNotFound"), &[]).await?;
        cluster
            .share_connection("shared", json!({"address": TEMPORAL}))
            .await?;
        is_reported(&cluster, ("True", "ConnectionValid"), &[]).await?;

        let mut spec = one_queue(&cluster.queue("all"), 0, 1, &json!({}));
        let fields = spec.as_object_mut().unwrap();
        fields.remove("connection");
        fields.insert("connectionRef".to_owned(), json!({"name": "shared"}));
        cluster.apply(spec).await?;
        is_reported(&cluster, ("True", "ConnectionValid"), &["orders"]).await?;
        let shown = cluster.kubectl(&["get", "tconn", "shared", "--no-headers"])?;
        let columns: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(
            columns[..6],
            [
                "shared",
                TEMPORAL,
                "default",
                "True",
                "ConnectionValid",
                "1"
            ]
        );
        Ok(())
    })
    .await;
}
