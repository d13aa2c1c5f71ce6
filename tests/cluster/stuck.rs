//! Fleets that no number of replicas would help.

use std::time::Duration;

use serde_json::json;

use crate::harness::{one_queue, with_namespace, within};

/// The operator says it after two minutes, and pods have to start before.
const LONG: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_ready_and_do_not_poll_are_told_until_they_do() {
    with_namespace("ready-and-not-polling", |world| async move {
        let queue = world.queue("all");
        let right = one_queue(&queue, 1, 2, &json!({}));
        // The same image, started as something that is no worker.
        let mut wrong = right.clone();
        let container = &mut wrong["template"]["spec"]["containers"][0];
        container["args"] = json!(["gateway", "--listen=0.0.0.0:8090"]);
        container["readinessProbe"] =
            json!({"httpGet": {"path": "/livez", "port": 8090}, "periodSeconds": 1});
        world.apply(wrong).await?;
        world
            .replicas_are("all", "a pod is ready", |_, ready| ready == 1)
            .await?;
        within(LONG, "the fleet is found stuck", || async {
            let found = world.condition("ScalingActive").await?;
            let stuck = found
                .as_ref()
                .is_some_and(|found| found.status == "False" && found.reason == "NotPolling");
            Ok(if stuck {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            })
        })
        .await?;
        let finding = || {
            let label = r#"finding="ReadyButNotPolling""#;
            world.series("taskqueue_operator_finding", &[label])
        };
        assert_eq!(finding()?, Some(1.0));

        world.apply(right).await?;
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        assert_ne!(finding()?, Some(1.0));
        Ok(())
    })
    .await;
}
