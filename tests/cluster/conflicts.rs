//! A decision based on outdated knowledge is refused: the last safeguard in case two processes ever
//! believe that they lead.

use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::json;
use taskqueue_api::FleetKey;
use taskqueue_operator::{
    apply::Writer,
    clock::Clock,
    leading::Leading,
    metrics::Metrics,
    plan::{BudgetStep, Plan, QueuePlan, Scale, ScalePrecondition, Step},
};
use taskqueue_scaling::{Observation, Reading, Replicas, Time, UnknownReason};

use crate::harness::{TestCluster, eventually, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_a_decision_that_is_based_on_stale_data() {
    with_namespace("a-decision-based-on-stale-data", |cluster| async move {
        let api: Api<Deployment> = cluster.api();
        // The pods never start, which does not matter here.
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "stale"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "stale"}}, "template": {
                "metadata": {"labels": {"app": "stale"}},
                "spec": {
                    "nodeSelector": {"no": "node"},
                    "containers": [{"name": "c", "image": "localhost/none:1"}],
                }}},
        }))?;
        api.create(&PostParams::default(), &object).await?;
        let counted = eventually("its status is written", || async {
            let now = api.get("stale").await?;
            let replicas = now.status.as_ref().and_then(|status| status.replicas);
            Ok(if replicas == Some(2) {
                Ok(now)
            } else {
                Err(format!("{replicas:?}"))
            })
        })
        .await?;
        // The knowledge of a leader that slept, and a change that it missed.
        let known = counted
            .resource_version()
            .context("a Deployment has a version")?;
        cluster.kubectl(&["scale", "deployment", "stale", "--replicas=3"])?;
        let metrics = Metrics::new(Clock::start())?;
        let writer = Writer::new(cluster.client.clone(), metrics, Leading::default());
        let carry_out = async |plan: Plan| writer.apply(&plan, Duration::MAX, || {}).await;
        let uid = counted.uid().context("a Deployment has a uid")?;
        let decided_on = |resource_version: String| ScalePrecondition {
            uid: uid.clone(),
            resource_version,
            generation: None,
        };
        let applied = carry_out(changing(&cluster, (2, 1), decided_on(known.clone()))).await;
        let errors: Vec<String> = applied.errors().map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let class = applied.errors().next().map(|error| error.class().as_str());
        assert_eq!(class, Some("conflict"), "{errors:?}");
        assert_eq!(
            api.get("stale").await?.spec.and_then(|spec| spec.replicas),
            Some(3)
        );
        // Growth is refused too if the number of replicas has changed, but carried out if only the
        // version has.
        let applied = carry_out(changing(&cluster, (2, 5), decided_on(known.clone()))).await;
        assert_eq!(applied.errors().count(), 1, "{applied:?}");
        assert_eq!(
            api.get("stale").await?.spec.and_then(|spec| spec.replicas),
            Some(3)
        );
        let applied = carry_out(changing(&cluster, (3, 4), decided_on(known.clone()))).await;
        assert_eq!(applied.errors().count(), 0, "{applied:?}");
        assert_eq!(
            api.get("stale").await?.spec.and_then(|spec| spec.replicas),
            Some(4)
        );
        let another = ScalePrecondition {
            uid: "another".to_owned(),
            ..decided_on(known)
        };
        let applied = carry_out(changing(&cluster, (4, 5), another)).await;
        assert_eq!(applied.errors().count(), 1, "{applied:?}");
        // The same change with present knowledge is carried out. The Deployment's controller may
        // write in between.
        eventually("the fleet shrinks on current data", || async {
            let known = api
                .get("stale")
                .await?
                .resource_version()
                .unwrap_or_default();
            let applied = carry_out(changing(&cluster, (4, 1), decided_on(known))).await;
            let errors: Vec<String> = applied.errors().map(ToString::to_string).collect();
            Ok(if errors.is_empty() {
                Ok(())
            } else {
                Err(format!("{errors:?}"))
            })
        })
        .await?;
        assert_eq!(
            api.get("stale").await?.spec.and_then(|spec| spec.replicas),
            Some(1)
        );
        Ok(())
    })
    .await;
}

/// A late write by a former leader: replicas from one number to another, decided on this version.
fn changing(cluster: &TestCluster, (from, to): (u32, u32), decided_on: ScalePrecondition) -> Plan {
    let since = Time::default();
    let reason = UnknownReason::NotReadYet;
    let queue = QueuePlan {
        queue: "all".to_owned(),
        workload_name: "stale".to_owned(),
        step: Step::Keep,
        budget: BudgetStep::Keep,
        initial_replicas: 0,
        costs: Vec::new(),
        protections: Vec::new(),
        target: None,
        scale: Some(Scale {
            from,
            to,
            decided_on,
        }),
        decision: None,
        observation: Observation {
            replicas: Replicas::default(),
            backlog: Reading::Unknown {
                reason,
                since,
                failures: 0,
            },
            slots: Reading::Unknown {
                reason,
                since,
                failures: 0,
            },
            drained: Vec::new(),
        },
        changed_by_others: None,
        vanished: false,
        remember: None,
    };
    Plan {
        fleet: FleetKey {
            namespace: cluster.namespace.clone(),
            name: "orders".to_owned(),
            uid: String::new(),
        },
        queues: vec![queue],
        prunes: Vec::new(),
        requeue_after: Duration::MAX,
    }
}
