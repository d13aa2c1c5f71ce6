//! Wake-up hints: who may send them, and what they achieve.

use std::time::Duration;

use sandbox_bench::hint_client::{HintClient, Target, sender, token};
use serde_json::json;

use crate::harness::{TestCluster, one_queue, throughout, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_of_an_authorized_sender_wakes_a_queue_long_before_its_next_read() {
    with_namespace("a-hint-wakes-a-queue", |cluster| async move {
        let queue = cluster.queue("all");
        // The queue is read every five minutes, so only a hint can wake the fleet in time.
        let rarely =
            json!({"pollingInterval": "5m", "quietPollingInterval": "5m", "cooldownPeriod": "5m"});
        cluster.apply(one_queue(&queue, 0, 2, &rarely)).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let workflow = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        sleeps_on(&cluster, Duration::from_secs(6)).await?;

        let rights = tempfile::NamedTempFile::new()?;
        std::fs::write(&rights, sender(&cluster.namespace, "sender").to_string())?;
        cluster.kubectl(&["apply", "--filename", &rights.path().to_string_lossy()])?;
        cluster.kubectl(&["create", "serviceaccount", "stranger"])?;
        let of = |account: &str| token(&cluster.sandbox, &cluster.namespace, account);
        let for_the_api = cluster.kubectl(&["create", "token", "sender"])?;
        let client = HintClient::open(&cluster.sandbox)?;
        let hint = |token: Option<&str>, queue: &str| -> anyhow::Result<u16> {
            let target = Target {
                namespace: &cluster.namespace,
                fleet: "orders",
                queue,
            };
            Ok(client.connect()?.send(token, &target)?.0)
        };
        let refused = [
            hint(None, "all")?,
            hint(Some(for_the_api.trim()), "all")?,
            hint(Some(&of("stranger")?), "all")?,
            hint(Some(&of("sender")?), "no-such-queue")?,
        ];
        assert_eq!(refused, [401, 401, 403, 404]);
        sleeps_on(&cluster, Duration::from_secs(2)).await?;

        assert_eq!(hint(Some(&of("sender")?), "all")?, 202);
        cluster
            .replicas_are("all", "the hint wakes the queue", |requested, _| {
                requested > 0
            })
            .await?;
        cluster.temporal.result(&workflow).await?;
        Ok(())
    })
    .await;
}

async fn sleeps_on(cluster: &TestCluster, span: Duration) -> anyhow::Result<()> {
    throughout(span, "the queue stays at zero", || async {
        Ok(match cluster.replicas("all").await? {
            (0, 0) => Ok(()),
            other => Err(format!("(requested, ready) is {other:?}")),
        })
    })
    .await
}
