//! Fleets that no number of replicas would help.

use std::time::Duration;

use serde_json::json;

use crate::harness::{one_queue, with_namespace, within};

/// The operator reports it after two minutes, and the pods must start first.
const LONG: Duration = Duration::from_mins(5);

#[tokio::test(flavor = "multi_thread")]
async fn ready_pods_that_do_not_poll_are_reported_until_they_do() {
    with_namespace("ready-and-not-polling", |cluster| async move {
        let queue = cluster.queue("all");
        let right = one_queue(&queue, 1, 2, &json!({}));
        // The same image, started as a process that is not a worker.
        let mut wrong = right.clone();
        let container = &mut wrong["template"]["spec"]["containers"][0];
        container["args"] = json!(["gateway", "--listen=0.0.0.0:8090"]);
        container["readinessProbe"] =
            json!({"httpGet": {"path": "/livez", "port": 8090}, "periodSeconds": 1});
        cluster.apply(wrong).await?;
        cluster
            .replicas_are("all", "a pod is ready", |_, ready| ready == 1)
            .await?;
        within(LONG, "the fleet reports a finding", || async {
            let found = cluster.condition("ScalingActive").await?;
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
            let label = ("finding", "ReadyButNotPolling");
            cluster.series("taskqueue_operator_finding", &[label])
        };
        assert_eq!(finding()?, Some(1.0));

        cluster.apply(right).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        assert_ne!(finding()?, Some(1.0));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_whose_version_gets_no_tasks_are_reported_until_it_is_current() {
    with_namespace("version-not-current", |cluster| async move {
        let queue = cluster.queue("all");
        let deployment = cluster.namespace.clone();
        let mut spec = one_queue(&queue, 1, 1, &json!({}));
        let env = spec["template"]["spec"]["containers"][0]["env"].as_array_mut();
        env.unwrap().extend([
            json!({"name": "TEMPORAL_DEPLOYMENT_NAME", "value": deployment}),
            json!({"name": "TEMPORAL_WORKER_BUILD_ID", "value": "1"}),
        ]);
        cluster.apply(spec).await?;
        cluster.workers_run(1).await?;
        let order = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        within(LONG, "the fleet reports a finding", || async {
            let found = cluster.condition("ScalingActive").await?;
            let stuck = found.as_ref().is_some_and(|found| {
                found.status == "False"
                    && found.reason == "VersionNotCurrent"
                    && found.message.contains("set-current-version")
            });
            Ok(if stuck {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            })
        })
        .await?;

        cluster.temporal.run(&[
            "worker",
            "deployment",
            "set-current-version",
            "--deployment-name",
            &deployment,
            "--build-id",
            "1",
            "--yes",
        ])?;
        cluster.temporal.result(&order).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        Ok(())
    })
    .await;
}
