//! Scaling from zero and back, and never under a running task.

use std::time::Duration;

use serde_json::json;

use crate::harness::{TestCluster, eventually, one_queue, throughout, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn orders_scale_a_fleet_up_from_zero_and_it_goes_back() {
    with_namespace("orders-scale-a-fleet-up-from-zero", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 3).await?;
        cluster
            .replicas_are("all", "nothing runs", |requested, _| requested == 0)
            .await?;

        let order = json!({"total": 100, "recipients": ["a@shop.example"]});
        let workflows = cluster.temporal.orders(&queue, 0..10, &order)?;
        cluster
            .replicas_are("all", "the backlog starts workers", |requested, _| {
                requested > 0
            })
            .await?;
        for workflow in &workflows {
            let result = cluster.temporal.result(workflow).await?;
            assert_eq!(
                workflow,
                &format!("order-{}", result["order_id"].as_str().unwrap_or_default()),
                "{result}"
            );
        }
        let up = cluster.events("ScaledUp").await?;
        let from_zero = |note: &String| {
            let mut starts = (1..=3).map(|to| format!("queue all: scaled 0 to {to}: "));
            starts.any(|start| note.starts_with(&start)) && note.contains(" workflow task")
        };
        assert!(up.iter().any(from_zero), "{up:?}");
        cluster
            .replicas_are(
                "all",
                "an idle fleet goes back to zero",
                |requested, ready| (requested, ready) == (0, 0),
            )
            .await?;
        // The Event is written after the replicas.
        eventually("an Event gives the reason", || async {
            let down = cluster.events("ScaledDown").await?;
            let to_zero = |note: &String| {
                note.starts_with("queue all: scaled ")
                    && note.ends_with(" to 0: no task waits, none arrives and no slot is in use")
            };
            Ok(if down.iter().any(to_zero) {
                Ok(())
            } else {
                Err(format!("{down:?}"))
            })
        })
        .await?;
        let decision = cluster
            .fleet()
            .await?
            .status
            .and_then(|status| status.queues[0].last_decision.clone());
        let decision = decision.ok_or_else(|| anyhow::anyhow!("the status has no decision"))?;
        let why = format!(
            "scaled {} to 0: no task waits, none arrives and no slot is in use",
            decision.from
        );
        assert_eq!(
            (decision.to, decision.reason.as_str(), &decision.message),
            (0, "NoDemand", &why)
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_with_an_empty_backlog_keeps_its_replica() {
    with_namespace("a-busy-worker-keeps-its-replica", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(one_queue(&queue, 0, 2, &json!({}))).await?;
        works_with_an_empty_backlog(&cluster, &queue).await?;
        cluster
            .replicas_are("all", "then it goes", |requested, _| requested == 0)
            .await?;
        Ok(())
    })
    .await;
}

/// Places an order that keeps one worker of the fleet `orders` busy for 20 s while nothing waits:
/// one activity mails four recipients one after the other, 5 s each. That is longer than the
/// cooldown and the stabilization window together, and the worker must stay until the end.
pub(crate) async fn works_with_an_empty_backlog(
    cluster: &TestCluster,
    queue: &str,
) -> anyhow::Result<()> {
    let recipients: Vec<String> = (0..4)
        .map(|number| format!("slow-5000.{number}@shop.example"))
        .collect();
    let order = json!({"total": 100, "recipients": recipients});
    let workflow = cluster.temporal.order(queue, 0, order)?;
    cluster
        .replicas_are("all", "the order starts a worker", |_, ready| ready == 1)
        .await?;
    eventually("the mails are sent", || async {
        let (requested, ready) = cluster.replicas("all").await?;
        let running = cluster.temporal.is_running(&workflow)?;
        anyhow::ensure!(
            !running || (requested >= 1 && ready >= 1),
            "a working fleet was scaled down: {requested} requested, {ready} ready"
        );
        Ok(if running {
            Err("running".into())
        } else {
            Ok(())
        })
    })
    .await?;
    cluster.temporal.results_at_once(&[workflow]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_finishes_its_activity_first() {
    with_namespace("a-deleted-pod-finishes-first", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(one_queue(&queue, 1, 1, &json!({}))).await?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready == 1)
            .await?;
        let workflow =
            cluster
                .temporal
                .order(&queue, 0, json!({"total": 100, "card": "tok_delay_8000"}))?;
        eventually("the payment is running", || async {
            let attempts = cluster.temporal.attempts(&workflow)?;
            // A running activity has no started event yet; the earlier ones have.
            Ok(
                if attempts.iter().any(|(name, _)| name == "reserve_inventory") {
                    Ok(())
                } else {
                    Err(format!("{attempts:?}"))
                },
            )
        })
        .await?;
        cluster.kubectl(&["delete", "pods", "--all", "--wait=false"])?;
        cluster.temporal.results_at_once(&[workflow]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_by_annotation_survives_an_apply_of_the_manifest() {
    with_namespace("a-pause-by-annotation", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(one_queue(&queue, 1, 2, &json!({}))).await?;
        cluster
            .replicas_are("all", "the minimum runs", |_, ready| ready == 1)
            .await?;
        cluster.kubectl(&["annotate", "tqw/orders", "taskqueue.dev/paused=true"])?;
        let paused = cluster
            .condition_is("ScalingActive", "False", "Paused")
            .await?;
        assert!(
            paused.message.contains("taskqueue.dev/paused"),
            "{}",
            paused.message
        );
        // The manifest as a GitOps tool applies it again, with a change.
        cluster.apply(one_queue(&queue, 2, 2, &json!({}))).await?;
        cluster
            .condition_is("ScalingActive", "False", "Paused")
            .await?;
        throughout(
            Duration::from_secs(8),
            "the new minimum is not followed",
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
        cluster.kubectl(&["annotate", "tqw/orders", "taskqueue.dev/paused-"])?;
        cluster
            .replicas_are("all", "the minimum is followed", |_, ready| ready == 2)
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_set_by_hand_are_reverted_and_kept_while_paused() {
    with_namespace("replicas-set-by-hand", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(one_queue(&queue, 1, 2, &json!({}))).await?;
        cluster
            .replicas_are("all", "the minimum runs", |_, ready| ready == 1)
            .await?;
        let deployment = cluster.fleet().await?.status.unwrap().queues[0]
            .deployment_name
            .clone();
        cluster.kubectl(&["scale", "deployment", &deployment, "--replicas=0"])?;
        cluster
            .replicas_are("all", "the operator reverts them", |requested, _| {
                requested == 1
            })
            .await?;
        eventually("an Event names who decides", || async {
            let notes = cluster.events("ReplicasReset").await?;
            let reset = format!(
                " scaled Deployment {deployment} from 1 to 0; the operator set it back to 1, \
                 because it decides the replicas; to decide them yourself, set scaling.mode to \
                 Paused"
            );
            Ok(if notes.iter().any(|note| note.ends_with(&reset)) {
                Ok(())
            } else {
                Err(format!("{notes:?}"))
            })
        })
        .await?;

        cluster
            .apply(one_queue(&queue, 1, 2, &json!({"mode": "Paused"})))
            .await?;
        cluster
            .condition_is("ScalingActive", "False", "Paused")
            .await?;
        cluster.kubectl(&["scale", "deployment", &deployment, "--replicas=2"])?;
        throughout(
            Duration::from_secs(8),
            "the replicas set by hand stay",
            || async {
                let (requested, _) = cluster.replicas("all").await?;
                Ok(if requested == 2 {
                    Ok(())
                } else {
                    Err(format!("the operator requests {requested}"))
                })
            },
        )
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_bound_is_shown_as_the_last_decision() {
    with_namespace("a-changed-bound", |cluster| async move {
        let queue = cluster.queue("all");
        // Each change comes right after a decision, whose reading has been used.
        for min in 1..=4 {
            cluster.apply(one_queue(&queue, min, 4, &json!({}))).await?;
            eventually("the last decision is that of the minimum", || async {
                let status = cluster.fleet().await?.status.unwrap_or_default();
                let queue = status.queues.into_iter().next();
                let last = queue.and_then(|queue| queue.last_decision);
                let is_shown = last.as_ref().is_some_and(|last| {
                    last.to == min && last.message.ends_with(&format!("replicas.min is {min}"))
                });
                Ok(if is_shown {
                    Ok(())
                } else {
                    Err(format!("{last:?}"))
                })
            })
            .await?;
        }
        Ok(())
    })
    .await;
}
