//! A changed connection is tested before it reaches running pods.

use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;

use crate::harness::{TestCluster, eventually, one_queue, throughout, with_namespace};

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
