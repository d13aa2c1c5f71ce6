//! How a changed template replaces pods: without room for more of them, with busy ones, and for one
//! queue alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::{
    ResourceExt,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

use crate::harness::{TestCluster, eventually, one_queue, with_namespace};

/// The spec with a template that differs from all others by this word.
fn changed(mut spec: Value, word: &str) -> Value {
    spec["template"]["metadata"] = json!({"annotations": {"example.com/change": word}});
    spec
}

/// Waits until the only pod in the namespace has the template with this word and is ready.
async fn replaced_by(cluster: &TestCluster, change: &str) -> anyhow::Result<()> {
    eventually(
        &format!("the only pod has the template {change}"),
        || async {
            let pods = cluster
                .api::<Pod>()
                .list(&ListParams::default())
                .await?
                .items;
            let found: Vec<Option<String>> = pods
                .iter()
                .map(|pod| pod.annotations().get("example.com/change").cloned())
                .collect();
            Ok(if found == [Some(change.to_owned())] {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            })
        },
    )
    .await?;
    cluster
        .replicas_are("all", "the new pod is ready", |_, ready| ready == 1)
        .await
        .map(drop)
}

/// Checks that `Progressing` stays True from now until no pod in the namespace drains.
async fn draining_is_a_rollout(cluster: &TestCluster) -> anyhow::Result<()> {
    eventually("the old pod is gone", || async {
        // Asked for first: the condition may change as soon as the pod is gone.
        let progressing = cluster.condition("Progressing").await?;
        let pods = cluster
            .api::<Pod>()
            .list(&ListParams::default())
            .await?
            .items;
        let drains = |pod: &Pod| pod.metadata.deletion_timestamp.is_some();
        if !pods.iter().any(drains) {
            return Ok(Ok(()));
        }
        let status = progressing.as_ref().map(|found| found.status.as_str());
        anyhow::ensure!(status == Some("True"), "a pod drains: {progressing:?}");
        Ok(Err(format!("{progressing:?}")))
    })
    .await
}

async fn strategy(cluster: &TestCluster) -> anyhow::Result<Value> {
    let deployment = cluster.deployments().await?["all"].clone();
    let strategy = deployment.spec.and_then(|spec| spec.strategy);
    Ok(serde_json::to_value(strategy)?)
}

async fn one_pod_fits(cluster: &TestCluster) -> anyhow::Result<()> {
    let quota: ResourceQuota = serde_json::from_value(json!({
        "metadata": {"name": "pods"}, "spec": {"hard": {"pods": "1"}},
    }))?;
    cluster
        .api::<ResourceQuota>()
        .create(&PostParams::default(), &quota)
        .await?;
    Ok(())
}

/// Starts an order on the fleet's only pod, and waits until its payment of 8 s is running.
async fn pay_slowly(cluster: &TestCluster, queue: &str, number: usize) -> anyhow::Result<String> {
    let order = json!({"total": 100, "card": "tok_delay_8000"});
    let workflow = cluster.temporal.order(queue, number, order)?;
    eventually("the payment is running", || async {
        let attempts = cluster.temporal.attempts(&workflow)?;
        // A running activity has no started event yet; the earlier ones have.
        let reserved = attempts.iter().any(|(name, _)| name == "reserve_inventory");
        Ok(if reserved {
            Ok(())
        } else {
            Err(format!("{attempts:?}"))
        })
    })
    .await?;
    Ok(workflow)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_without_room_names_the_way_out_and_a_busy_pod_drains_on_it() {
    with_namespace("a-rollout-without-room", |cluster| async move {
        one_pod_fits(&cluster).await?;
        let queue = cluster.queue("all");
        let mut spec = one_queue(&queue, 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        cluster.apply(changed(spec.clone(), "1")).await?;
        let stalled = cluster
            .condition_is("Progressing", "False", "RolloutStalled")
            .await?;
        for part in ["exceeded quota", "maxSurge 0 and maxUnavailable 1"] {
            assert!(stalled.message.contains(part), "{}", stalled.message);
        }

        let workflow = pay_slowly(&cluster, &queue, 0).await?;
        spec["deployment"] =
            json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}});
        cluster.apply(changed(spec, "1")).await?;
        // The pod drains, its room becomes free, and the new pod ends the order.
        let waiting = cluster
            .condition_is("Progressing", "True", "RollingOut")
            .await?;
        assert!(
            waiting.message.contains("is replacing its pods"),
            "{}",
            waiting.message
        );
        draining_is_a_rollout(&cluster).await?;
        replaced_by(&cluster, "1").await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        assert_eq!(cluster.events("DrainExceeded").await?, [""; 0]);
        cluster.temporal.results_at_once(&[workflow]).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pod_drains_before_it_is_recreated() {
    with_namespace("a-busy-pod-drains-before-it-is-recreated", |cluster| async move {
        let queue = cluster.queue("all");
        let mut spec = one_queue(&queue, 1, 1, &json!({}));
        cluster.apply(spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let workflow = pay_slowly(&cluster, &queue, 0).await?;
        // The API server must accept each strategy over the other.
        spec["deployment"] = json!({"strategy": {"type": "Recreate"}});
        cluster.apply(changed(spec.clone(), "1")).await?;
        cluster
            .condition_is("Progressing", "True", "RollingOut")
            .await?;
        draining_is_a_rollout(&cluster).await?;
        replaced_by(&cluster, "1").await?;
        cluster
            .condition_is("Progressing", "False", "RolledOut")
            .await?;
        assert_eq!(strategy(&cluster).await?, json!({"type": "Recreate"}));
        cluster.temporal.results_at_once(&[workflow]).await?;
        assert_eq!(cluster.events("DrainExceeded").await?, [""; 0]);

        spec.as_object_mut().unwrap().remove("deployment");
        cluster.apply(changed(spec, "2")).await?;
        replaced_by(&cluster, "2").await?;
        assert_eq!(
            strategy(&cluster).await?,
            json!({
                "type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
            })
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_template_of_a_queue_reaches_its_pods_alone() {
    with_namespace("the-template-of-a-queue", |cluster| async move {
        let mut spec = one_queue(&cluster.queue("a"), 1, 1, &json!({}));
        let with = |name: &str, word: &str| {
            json!({
                "name": name, "taskQueue": cluster.queue(name), "replicas": {"min": 1, "max": 1},
                "template": {
                    "metadata": {"annotations": {"example.com/change": word}},
                    "spec": {
                        "containers": [{
                            "name": "worker", "env": [{"name": "WORD", "value": word}],
                        }],
                        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}],
                    },
                },
            })
        };
        spec["queues"] = json!([with("a", "1"), with("b", "1")]);
        spec["deployment"] = json!({"annotations": {"example.com/team": "orders"}});
        cluster.apply(spec.clone()).await?;
        let before = cluster.workers_run(2).await?;

        spec["queues"] = json!([with("a", "1"), with("b", "2")]);
        cluster.apply(spec).await?;
        let after = eventually("the pod of the other queue is replaced", || async {
            let workers = cluster.workers().await?;
            let old = workers
                .pods
                .keys()
                .filter(|pod| before.pods.contains_key(*pod));
            let ready = workers.pods.values().all(|pod| pod.ready);
            Ok(if workers.pods.len() == 2 && old.count() == 1 && ready {
                Ok(workers)
            } else {
                Err(format!("{workers:?}"))
            })
        })
        .await?;
        let pods = cluster
            .api::<Pod>()
            .list(&ListParams::default())
            .await?
            .items;
        let words: BTreeMap<String, (String, bool)> = pods
            .iter()
            .map(|pod| {
                let word = pod.annotations()["example.com/change"].clone();
                let env = pod.spec.iter().flat_map(|spec| &spec.containers[0].env);
                let env = env.flatten().any(|variable| {
                    variable.name == "WORD" && variable.value.as_deref() == Some(word.as_str())
                });
                (pod.labels()["taskqueue.dev/queue"].clone(), (word, env))
            })
            .collect();
        let is = |word: &str| (word.to_owned(), true);
        assert_eq!(
            words,
            BTreeMap::from([("a".to_owned(), is("1")), ("b".to_owned(), is("2"))])
        );
        assert_eq!(after.deployments.len(), 2);
        for deployment in cluster.deployments().await?.values() {
            assert_eq!(deployment.annotations()["example.com/team"], "orders");
        }
        Ok(())
    })
    .await;
}
