//! What a restarted operator knows: the owners of task queues, and which namespaces it serves.
//! These tests restart the shared operator, so they run alone.

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use serde_json::json;

use crate::{
    harness::{OPERATOR, OPERATOR_NAMESPACE, TestCluster, alone, eventually, one_queue, output},
    upgrade::release::{chart, on_a_bare_cluster},
};

/// Replaces the pods of the operator, and waits until the new ones are ready.
fn restart(cluster: &TestCluster) -> anyhow::Result<()> {
    let operator = format!("deployment/{OPERATOR}");
    for command in [
        &["rollout", "restart", &operator][..],
        &["rollout", "status", &operator, "--timeout=120s"],
    ] {
        let mut kubectl = cluster.sandbox.kubectl();
        output(
            kubectl
                .args(["--namespace", OPERATOR_NAMESPACE])
                .args(command),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_whose_spec_became_invalid_keeps_its_task_queue_after_a_restart() {
    alone("a-fleet-keeps-its-task-queue", |cluster| async move {
        let queue = cluster.queue("all");
        let spec = one_queue(&queue, 1, 1, &json!({}));
        cluster.apply_as("first", spec.clone()).await?;
        cluster.workers_run(1).await?;
        cluster.apply(spec.clone()).await?;
        cluster
            .condition_is("ScalingActive", "False", "QueueConflict")
            .await?;
        // The API server does not know the names of time zones.
        let mut invalid = spec;
        invalid["scaling"]["schedule"] = json!([{
            "start": "0 8 * * *", "end": "0 18 * * *", "timeZone": "Europe/Atlantis",
            "minReplicas": 1,
        }]);
        cluster.apply_as("first", invalid).await?;
        eventually("the first fleet is invalid", || async {
            let reason = cluster.kubectl(&[
                "get",
                "tqw",
                "first",
                r#"--output=jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#,
            ])?;
            Ok(if reason == "InvalidSpec" {
                Ok(())
            } else {
                Err(reason)
            })
        })
        .await?;
        let before = cluster.workers().await?;

        restart(&cluster)?;
        // A new generation of the second fleet shows that the new process has decided on it.
        cluster.apply(one_queue(&queue, 1, 2, &json!({}))).await?;
        cluster
            .condition_is("ScalingActive", "False", "QueueConflict")
            .await?;
        cluster.untouched(&before, "the restart").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_stops_no_other_at_the_next_start() {
    alone("a-deleted-watched-namespace", |cluster| async move {
        let other = format!("{}-other", cluster.namespace);
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let object = Namespace {
            metadata: ObjectMeta {
                name: Some(other.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        namespaces.create(&PostParams::default(), &object).await?;
        on_a_bare_cluster(&cluster, |release| async move {
            let cluster = &release.cluster;
            let watched = format!("watchNamespaces={{{},{other}}}", cluster.namespace);
            release.helm(&["install"], &chart(), &["--set", &watched])?;
            cluster.start_from_zero(&cluster.queue("all"), 1).await?;
            namespaces.delete(&other, &DeleteParams::default()).await?;
            eventually("the namespace is gone", || async {
                let found = namespaces.get_opt(&other).await?;
                Ok(found.map_or(Ok(()), |_| Err("it is still there".to_owned())))
            })
            .await?;

            restart(cluster)?;
            let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            cluster.apply(spec).await?;
            cluster.condition_is("Ready", "True", "Available").await?;
            let mut helm = cluster.sandbox.helm();
            helm.args(["uninstall", OPERATOR, "--wait", "--timeout=120s"]);
            output(helm.args(["--namespace", OPERATOR_NAMESPACE]))?;
            release.helm(&["install"], &chart(), &[]).map(drop)
        })
        .await
    })
    .await;
}
