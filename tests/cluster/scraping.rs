//! Workers without heartbeats: their slots come from their own metrics.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    harness::{one_queue, throughout, with_namespace},
    scaling::works_with_an_empty_backlog,
};

/// One queue whose workers send no heartbeats and serve metrics on 8080. The operator scrapes
/// `port`.
fn without_heartbeats(task_queue: &str, min: u32, max: u32, port: u16) -> Value {
    let mut spec = one_queue(task_queue, min, max, &json!({"metricsPort": port}));
    spec["queues"][0]["env"] = json!([
        {"name": "TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS", "value": "0"},
    ]);
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_heartbeats_is_kept_while_its_metrics_show_that_it_is_busy() {
    with_namespace(
        "a-worker-without-heartbeats-is-kept",
        |cluster| async move {
            let queue = cluster.queue("all");
            cluster
                .apply(without_heartbeats(&queue, 0, 2, 8080))
                .await?;
            // As in the test with heartbeats.
            works_with_an_empty_backlog(&cluster, &queue).await?;
            // Without a slot signal the fleet would never go to zero.
            cluster
                .replicas_are("all", "the metrics prove it idle", |requested, _| {
                    requested == 0
                })
                .await?;
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_metrics_never_count_as_idleness() {
    with_namespace("unreadable-metrics", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(without_heartbeats(&queue, 0, 1, 9)).await?;
        let workflow = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&workflow).await?;
        throughout(
            Duration::from_secs(20),
            "a worker without readings stays",
            || async {
                let (requested, _) = cluster.replicas("all").await?;
                Ok(if requested == 1 {
                    Ok(())
                } else {
                    Err(format!("the operator requests {requested}"))
                })
            },
        )
        .await?;
        let fixed = without_heartbeats(&queue, 0, 1, 8080);
        cluster.apply(fixed).await?;
        cluster
            .replicas_are(
                "all",
                "the idle worker goes once its metrics are read",
                |requested, _| requested == 0,
            )
            .await?;
        Ok(())
    })
    .await;
}
