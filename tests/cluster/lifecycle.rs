//! The life cycle of a fleet: created, changed, queues added and removed, deleted.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use taskqueue_api::TaskQueueWorker;

use crate::harness::{OPERATOR, eventually, one_queue, throughout, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_gets_one_deployment_per_queue_with_the_injected_environment() {
    with_namespace(
        "a-fleet-gets-one-deployment-per-queue",
        |cluster| async move {
            let mut spec = one_queue(&cluster.queue("a"), 1, 2, &json!({}));
            spec["queues"] = json!([
                {"name": "a", "taskQueue": cluster.queue("a"), "replicas": {"min": 1, "max": 2}},
                {"name": "b", "taskQueue": cluster.queue("b"), "replicas": {"min": 0, "max": 2},
                 "env": [{"name": "ORDER_WORKER_ROLE", "value": "payments"}]},
            ]);
            cluster.apply(spec).await?;
            cluster.condition_is("Ready", "True", "Available").await?;
            cluster
                .replicas_are("a", "the minimum runs", |requested, ready| {
                    (requested, ready) == (1, 1)
                })
                .await?;
            cluster
                .replicas_are("b", "nothing runs", |requested, ready| {
                    (requested, ready) == (0, 0)
                })
                .await?;

            let deployments = cluster.deployments().await?;
            let names: BTreeSet<&str> = deployments.keys().map(String::as_str).collect();
            assert_eq!(names, BTreeSet::from(["a", "b"]));
            let fleet = cluster.fleet().await?;
            for (queue, deployment) in &deployments {
                let owner = &deployment.owner_references()[0];
                assert_eq!(
                    (owner.kind.as_str(), &owner.uid),
                    ("TaskQueueWorker", &fleet.uid().unwrap())
                );
                let pod = deployment
                    .spec
                    .as_ref()
                    .unwrap()
                    .template
                    .spec
                    .as_ref()
                    .unwrap();
                let env: Vec<(&str, &str)> = pod.containers[0]
                    .env
                    .iter()
                    .flatten()
                    .filter_map(|var| Some((var.name.as_str(), var.value.as_deref()?)))
                    .collect();
                assert_eq!(
                    env[..4],
                    [
                        ("TEMPORAL_ADDRESS", crate::harness::TEMPORAL),
                        ("TEMPORAL_NAMESPACE", "default"),
                        ("TEMPORAL_TASK_QUEUE", cluster.queue(queue).as_str()),
                        ("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "60"),
                    ]
                );
                assert_eq!(
                    env.contains(&("ORDER_WORKER_ROLE", "payments")),
                    queue == "b"
                );
                assert_eq!(pod.termination_grace_period_seconds, Some(75));
            }
            Ok(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_template_rolls_the_fleet_and_a_rollout_restart_survives() {
    with_namespace("a-changed-template-rolls-the-fleet", |cluster| async move {
        let queue = cluster.queue("all");
        cluster.apply(one_queue(&queue, 1, 1, &json!({}))).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let before = cluster.live_pods().await?[0].name_any();

        let mut spec = one_queue(&queue, 1, 1, &json!({}));
        spec["template"]["metadata"]["annotations"] = json!({"example.com/change": "1"});
        cluster.apply(spec).await?;
        let after = eventually("another pod has taken over", || async {
            let pods = cluster.live_pods().await?;
            let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
            Ok(if names.len() == 1 && names[0] != before {
                Ok(names[0].clone())
            } else {
                Err(format!("{names:?}"))
            })
        })
        .await?;
        cluster.condition_is("Ready", "True", "Available").await?;

        let deployment = cluster.deployments().await?["all"].name_any();
        cluster.kubectl(&["rollout", "restart", &format!("deployment/{deployment}")])?;
        eventually("the restart has replaced the pod", || async {
            let pods = cluster.live_pods().await?;
            let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
            Ok(if names.len() == 1 && names[0] != after {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            })
        })
        .await?;
        let restarted = |deployment: &Deployment| {
            let template = deployment.spec.as_ref().map(|spec| &spec.template);
            let annotations =
                template.and_then(|template| template.metadata.as_ref()?.annotations.as_ref());
            annotations.is_some_and(|annotations| {
                annotations.contains_key("kubectl.kubernetes.io/restartedAt")
            })
        };
        // Another pass must not remove the annotation, which would restart the pods once more.
        cluster.kubectl(&["annotate", "tqw/orders", "example.com/poke=1"])?;
        throughout(
            std::time::Duration::from_secs(5),
            "the restart stays",
            || async {
                let deployment = cluster.deployments().await?["all"].clone();
                Ok(if restarted(&deployment) {
                    Ok(())
                } else {
                    Err("the annotation is gone".into())
                })
            },
        )
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_added_and_removed_and_a_deleted_fleet_leaves_nothing() {
    with_namespace("a-queue-comes-and-goes", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("a"), 1, 1, &json!({}));
        spec["queues"][0]["name"] = json!("a");
        cluster.apply(spec.clone()).await?;
        cluster
            .replicas_are("a", "the first queue runs", |_, ready| ready == 1)
            .await?;

        spec["queues"] = json!([
            {"name": "a", "taskQueue": cluster.queue("a"), "replicas": {"min": 1, "max": 1}},
            {"name": "b", "taskQueue": cluster.queue("b"), "replicas": {"min": 1, "max": 1}},
        ]);
        cluster.apply(spec.clone()).await?;
        cluster
            .replicas_are("b", "the second queue runs", |_, ready| ready == 1)
            .await?;

        spec["queues"] = json!([{
            "name": "b", "taskQueue": cluster.queue("b"),
            "replicas": {"min": 1, "max": 1},
        }]);
        cluster.apply(spec).await?;
        eventually("the first queue's Deployment is pruned", || async {
            let list = cluster
                .api::<Deployment>()
                .list(&ListParams::default())
                .await?;
            let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
            Ok(if names.len() == 1 && names[0].starts_with("orders-b-") {
                Ok(())
            } else {
                Err(format!("{names:?}"))
            })
        })
        .await?;
        eventually("an Event reports that the queue left", || async {
            let notes = cluster.events("QueueRemoved").await?;
            Ok(
                if notes
                    .iter()
                    .any(|note| note.starts_with("queue a was removed from the spec"))
                {
                    Ok(())
                } else {
                    Err(format!("{notes:?}"))
                },
            )
        })
        .await?;

        cluster
            .api::<TaskQueueWorker>()
            .delete("orders", &DeleteParams::default())
            .await?;
        eventually("Deployments and pods are gone", || async {
            let deployments = cluster
                .api::<Deployment>()
                .list(&ListParams::default())
                .await?
                .items
                .len();
            let pods = cluster
                .api::<Pod>()
                .list(&ListParams::default())
                .await?
                .items
                .len();
            Ok(if (deployments, pods) == (0, 0) {
                Ok(())
            } else {
                Err(format!("{deployments} Deployments, {pods} pods"))
            })
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_deployment_is_recreated_and_one_of_another_owner_is_not_changed() {
    with_namespace("a-deleted-deployment-is-recreated", |cluster| async move {
        let spec = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster
            .replicas_are("all", "the fleet runs", |_, ready| ready == 1)
            .await?;
        let first = cluster.deployments().await?["all"].clone();
        let api: Api<Deployment> = cluster.api();
        api.delete(&first.name_any(), &DeleteParams::default())
            .await?;
        eventually("the Deployment is recreated", || async {
            let now = api
                .get_opt(&first.name_any())
                .await?
                .and_then(|deployment| deployment.uid());
            Ok(if now.is_some() && now != first.uid() {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            })
        })
        .await?;
        cluster
            .replicas_are("all", "the fleet runs again", |_, ready| ready == 1)
            .await?;

        // An object of the same name with another owner is never adopted.
        cluster
            .api::<TaskQueueWorker>()
            .delete("orders", &DeleteParams::default())
            .await?;
        eventually("the Deployment is collected", || async {
            Ok(api
                .get_opt(&first.name_any())
                .await?
                .map_or(Ok(()), |_| Err("it is still there".into())))
        })
        .await?;
        let other = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": first.name_any()},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "other"}},
                "template": {"metadata": {"labels": {"app": "other"}},
                    "spec": {"containers": [{"name": "c", "image": "localhost/none:1"}]}}},
        });
        api.patch(
            &first.name_any(),
            &PatchParams::apply("someone-else"),
            &Patch::Apply(&other),
        )
        .await?;
        cluster.apply(spec).await?;
        let conflict = cluster
            .condition_is("Ready", "False", "NameConflict")
            .await?;
        assert!(
            conflict.message.contains(&first.name_any()),
            "{}",
            conflict.message
        );
        let untouched = api.get(&first.name_any()).await?;
        assert_eq!(
            untouched.spec.unwrap().selector.match_labels.unwrap()["app"],
            "other"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_fleet_takes_over_the_workers_that_kept_running() {
    with_namespace("a-recreated-fleet-takes-over", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("all"), 2, 2, &json!({}));
        spec["disruptionBudget"] = json!({"maxUnavailable": 1});
        cluster.apply(spec.clone()).await?;
        let workers = cluster.workers_run(2).await?;
        let first = cluster.fleet().await?.uid();
        cluster.kubectl(&["delete", "tqw", "orders", "--cascade=orphan"])?;
        let owner = async || {
            let api = cluster.api::<Deployment>();
            let deployments = api.list(&ListParams::default()).await?;
            let owner = deployments.items[0].owner_references().first();
            anyhow::Ok(owner.map(|owner| owner.uid.clone()))
        };
        eventually("the fleet is gone", || async {
            let fleet = cluster.api::<TaskQueueWorker>().get_opt("orders").await?;
            Ok(fleet.map_or(Ok(()), |_| Err("it is still there".to_owned())))
        })
        .await?;
        assert_eq!(owner().await?, None);

        cluster.apply(spec).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let second = cluster.fleet().await?.uid();
        assert_ne!(first, second);
        assert_eq!(owner().await?, second);
        cluster.untouched(&workers, "the new fleet").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_a_fleet_in_a_readable_form() {
    with_namespace("kubectl-shows-a-fleet", |cluster| async move {
        cluster
            .apply(one_queue(&cluster.queue("all"), 1, 1, &json!({})))
            .await?;
        cluster.kubectl(&[
            "wait",
            "--for=condition=Ready",
            "tqw/orders",
            "--timeout=90s",
        ])?;
        let table = cluster.kubectl(&["get", "tqw"])?;
        let header: Vec<&str> = table
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(
            header,
            [
                "NAME",
                "QUEUES",
                "REPLICAS",
                "READY",
                "SCALING",
                "MODE",
                "TEMPORAL-NAMESPACE",
                "AGE"
            ]
        );
        let row: Vec<&str> = table
            .lines()
            .nth(1)
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(row[5..7], ["Active", "default"], "{table}");
        for field in [
            "",
            ".spec",
            ".spec.scaling",
            ".spec.scaling.queueWaitTarget",
            ".spec.queues",
            ".status.queues.lastDecision",
        ] {
            let text = cluster.kubectl(&["explain", &format!("tqw{field}")])?;
            assert!(
                text.contains("DESCRIPTION:") && !text.contains("<empty>"),
                "tqw{field}:\n{text}"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_test_lists_the_fleets() {
    with_namespace("the-charts-test", |cluster| async move {
        cluster
            .apply(one_queue(&cluster.queue("all"), 1, 1, &json!({})))
            .await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let result = cluster.helm(&["test", OPERATOR, "--logs", "--timeout=2m"])?;
        assert!(result.contains("Succeeded"), "{result}");
        let fleet = [cluster.namespace.as_str(), "orders"];
        let listed = |line: &str| line.split_whitespace().take(2).eq(fleet);
        assert!(result.lines().any(listed), "{result}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_in_a_former_task_queue_are_reported() {
    with_namespace("tasks-in-a-former-task-queue", |cluster| async move {
        let former = cluster.queue("former");
        let paused = json!({"mode": "Paused"});
        cluster.apply(one_queue(&former, 0, 1, &paused)).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        cluster
            .temporal
            .orders(&former, 0..3, &json!({"total": 100}))?;
        eventually("the operator has read the three tasks", || async {
            let waiting = [("task_type", "workflow")];
            let read = cluster.series("taskqueue_operator_backlog_tasks", &waiting)?;
            Ok(if read == Some(3.0) {
                Ok(())
            } else {
                Err(format!("{read:?}"))
            })
        })
        .await?;
        let next = cluster.queue("next");
        cluster.apply(one_queue(&next, 0, 1, &paused)).await?;
        let note = format!(
            "queue all: its workers move from task queue {former} to {next}; when the former was \
             last read, 3 tasks waited in it, and this fleet no longer works on them"
        );
        eventually("an Event tells how many tasks are left", || async {
            let notes = cluster.events("QueueMoved").await?;
            Ok(if notes.contains(&note) {
                Ok(())
            } else {
                Err(format!("{notes:?}"))
            })
        })
        .await
    })
    .await;
}
