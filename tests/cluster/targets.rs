//! Workloads that somebody else deploys and a fleet scales. The worker is the sleeper, with four
//! task slots; it gets its settings from its own manifest.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::api::{Api, Patch, PatchParams};
use sandbox_machine::{Progress, Sleeper, Tasks};
use serde_json::{Value, json};

use crate::harness::{TEMPORAL, TestCluster, eventually, throughout, with_namespace};

/// The task slots of one pod.
const SLOTS: u32 = 4;

/// A manifest of somebody else: `worker`, with pods that poll the queue of the fleet.
fn workload(cluster: &TestCluster, sleeper: &Sleeper, kind: &str, replicas: u32) -> Value {
    let queue = cluster.queue("all");
    let slots = SLOTS.to_string();
    let mut template = sleeper.template(&[
        ("TEMPORAL_ADDRESS", TEMPORAL),
        ("TEMPORAL_NAMESPACE", "default"),
        ("TEMPORAL_TASK_QUEUE", queue.as_str()),
        ("SLEEPER_SLOTS", slots.as_str()),
    ]);
    template["metadata"] = json!({"labels": {"app": "theirs"}});
    template["spec"]["terminationGracePeriodSeconds"] = json!(60);
    let mut spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "theirs"}},
        "template": template,
    });
    if kind == "StatefulSet" {
        spec["serviceName"] = json!("worker");
        spec["podManagementPolicy"] = json!("Parallel");
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "worker"}, "spec": spec})
}

/// A fleet of this one queue.
fn fleet(cluster: &TestCluster, target: &Value, min: u32, mode: &str) -> Value {
    json!({
        "connection": {"address": TEMPORAL, "temporalNamespace": "default"},
        "queues": [{
            "name": "all", "taskQueue": cluster.queue("all"),
            "replicas": {"min": min, "max": 4}, "scaleTargetRef": target,
        }],
        "scaling": {
            "mode": mode, "slotsPerReplica": SLOTS, "cooldownPeriod": "5s",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        },
    })
}

impl TestCluster {
    async fn deploy<K>(&self, workload: &Value) -> anyhow::Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = self.api();
        let params = PatchParams::apply("somebody-else").force();
        api.patch("worker", &params, &Patch::Apply(workload))
            .await?;
        Ok(())
    }

    async fn sleeper_of_targets(&self) -> anyhow::Result<Sleeper> {
        let sandbox = self.sandbox.clone();
        let sleeper = tokio::task::spawn_blocking(move || sandbox.sleeper(Progress::silent()));
        Ok(sleeper.await??)
    }

    fn sleep(
        &self,
        sleeper: &Sleeper,
        count: usize,
        takes: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let tasks = Tasks {
            queue: &self.queue("all"),
            id: &self.queue("target"),
            count,
            takes,
            on_host: false,
        };
        sleeper.start(&self.sandbox.temporal()?, &tasks)?;
        Ok(tasks.ids())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_of_somebody_else_is_scaled_and_nothing_else_of_it_changes() {
    with_namespace("a-target-is-scaled", |cluster| async move {
        let sleeper = cluster.sleeper_of_targets().await?;
        cluster
            .deploy::<Deployment>(&workload(&cluster, &sleeper, "Deployment", 1))
            .await?;
        let deployments: Api<Deployment> = cluster.api();
        let before = deployments.get("worker").await?;
        // The trial decides and writes nothing.
        let target = json!({"name": "worker"});
        cluster.apply(fleet(&cluster, &target, 0, "DryRun")).await?;
        cluster
            .condition_is("ScalingActive", "False", "DryRun")
            .await?;
        let tasks = cluster.sleep(&sleeper, 12, Duration::from_secs(20))?;
        eventually("the trial says what it would do", || async {
            let status = cluster.fleet().await?.status.unwrap_or_default();
            let wanted = status.queues.first().and_then(|queue| queue.desired);
            Ok(if wanted > Some(1) {
                Ok(())
            } else {
                Err(format!("it wants {wanted:?}"))
            })
        })
        .await?;
        let trial = deployments.get("worker").await?;
        anyhow::ensure!(
            trial.spec == before.spec,
            "the trial changed the Deployment"
        );
        // Then it acts: all tasks end on their first attempt, also while the fleet shrinks.
        cluster.apply(fleet(&cluster, &target, 0, "Active")).await?;
        cluster
            .replicas_are("all", "the tasks start workers", |requested, _| {
                requested > 1
            })
            .await?;
        cluster.temporal.results_at_once(&tasks).await?;
        cluster
            .replicas_are("all", "it goes to zero", |requested, _| requested == 0)
            .await?;
        let mut after = deployments.get("worker").await?;
        if let (Some(after), Some(before)) = (&mut after.spec, &before.spec) {
            after.replicas = before.replicas;
        }
        anyhow::ensure!(
            after.spec == before.spec,
            "more than the replicas has changed"
        );
        anyhow::ensure!(
            after.metadata.labels == before.metadata.labels,
            "its labels have changed"
        );
        anyhow::ensure!(
            after.metadata.owner_references.is_none(),
            "it has got an owner"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_keeps_its_size_while_the_pod_on_top_is_busy() {
    with_namespace("a-stateful-target", |cluster| async move {
        let sleeper = cluster.sleeper_of_targets().await?;
        cluster
            .deploy::<StatefulSet>(&workload(&cluster, &sleeper, "StatefulSet", 1))
            .await?;
        let target = json!({"kind": "StatefulSet", "name": "worker"});
        let mut spec = fleet(&cluster, &target, 0, "Active");
        // The fleet may shrink before the pods that it has just started have reported their slots.
        spec["scaling"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = json!(5);
        cluster.apply(spec).await?;
        // Enough for every slot of four pods.
        let tasks = cluster.sleep(&sleeper, 16, Duration::from_secs(40))?;
        let sets: Api<StatefulSet> = cluster.api();
        let requested = || async {
            let set = sets.get("worker").await?;
            anyhow::Ok(set.spec.and_then(|spec| spec.replicas).unwrap_or(1))
        };
        eventually("it grows", || async {
            let requested = requested().await?;
            Ok(if requested == 4 {
                Ok(())
            } else {
                Err(format!("it asks for {requested}"))
            })
        })
        .await?;
        cluster.temporal.results_at_once(&tasks).await?;
        eventually("it goes to zero", || async {
            let requested = requested().await?;
            Ok(if requested == 0 {
                Ok(())
            } else {
                Err(format!("it asks for {requested}"))
            })
        })
        .await
    })
    .await;
}

/// The definition of a resource that only has replicas, a selector and a scale subresource.
fn pools(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("pools.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": "Pool", "plural": "pools", "singular": "pool"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "selector": {"type": "string"},
                    }},
                }}},
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_resource_with_a_scale_subresource_is_scaled() {
    with_namespace("a-custom-target", |cluster| async move {
        let group = format!("{}.example.com", cluster.namespace);
        let definition = pools(&group);
        let pool = json!({
            "apiVersion": format!("{group}/v1"), "kind": "Pool",
            "metadata": {"name": "worker"}, "spec": {"replicas": 1},
        });
        let role = json!([
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
             "metadata": {"name": "pools"}, "rules": [
                {"apiGroups": [group], "resources": ["pools/scale"], "verbs": ["get", "patch"]}]},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
             "metadata": {"name": "pools"},
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pools"},
             "subjects": [{
                 "kind": "ServiceAccount", "name": "taskqueue-operator",
                 "namespace": "taskqueue-system",
             }]},
        ]);
        let folder = tempfile::tempdir()?;
        let kubectl = |manifest: &Value| {
            let file = folder.path().join("manifest.json");
            std::fs::write(&file, manifest.to_string())?;
            cluster.kubectl(&["apply", "--filename", &file.to_string_lossy()])
        };
        kubectl(&definition)?;
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &format!("crd/pools.{group}"),
        ])?;
        kubectl(&pool)?;
        let target = json!({"apiVersion": format!("{group}/v1"), "kind": "Pool", "name": "worker"});
        cluster.apply(fleet(&cluster, &target, 3, "Active")).await?;
        // Without the right, the message names the chart's value.
        cluster.condition_is("Ready", "False", "Forbidden").await?;
        for object in role.as_array().into_iter().flatten() {
            kubectl(object)?;
        }
        // Its controller has not reported a selector yet, so its pods are unknown.
        cluster
            .condition_is("Ready", "False", "TargetNotFound")
            .await?;
        let status = json!({"status": {"replicas": 0, "selector": "app=pool"}}).to_string();
        cluster.kubectl(&[
            "patch",
            &format!("pools.{group}"),
            "worker",
            "--subresource=status",
            "--type=merge",
            "--patch",
            &status,
        ])?;
        let replicas = || {
            cluster.kubectl(&[
                "get",
                &format!("pools.{group}"),
                "worker",
                "--output=jsonpath={.spec.replicas}",
            ])
        };
        eventually("the pool is scaled to the minimum", || async {
            let replicas = replicas()?;
            Ok(if replicas == "3" {
                Ok(())
            } else {
                Err(replicas)
            })
        })
        .await?;
        throughout(Duration::from_secs(10), "it stays", || async {
            let replicas = replicas()?;
            Ok(if replicas == "3" {
                Ok(())
            } else {
                Err(replicas)
            })
        })
        .await?;
        cluster
            .kubectl(&["delete", &format!("crd/pools.{group}"), "--wait=false"])
            .map(drop)
    })
    .await;
}
