//! A changed template of one queue replaces the pods of that queue alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, api::ListParams};
use serde_json::json;

use crate::harness::{eventually, one_queue, with_namespace};

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
