//! An imitation of Temporal Cloud: TLS, an API key, a namespace with an account's suffix, and
//! request limits per namespace. Temporal Cloud itself is not within reach of the tests.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use taskqueue_exposition::Sample;

use crate::{
    authority::{Authority, secret},
    front::{Front, Keys},
    harness::{Load, TestCluster, eventually, one_queue, throughout, with_namespace},
};

const KEY: &str = "key-of-the-account";
/// How often the namespace may be read: less often than a queue with work and its workers are.
const ALLOWED: (usize, Duration) = (4, Duration::from_secs(10));
/// Refusals to wait for, so that some of them come after the operator has slowed down.
const REFUSALS: usize = 3;
/// Longer than the cooldown and the stabilization window of the fleet together.
const BLIND: Duration = Duration::from_secs(12);
/// The full call budget: the default of `temporal.callsPerSecond`.
const FULL_BUDGET: f64 = 20.0;

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_works_from_zero_in_a_namespace_that_limits_the_operators_reads() {
    with_namespace("in-an-imitation-of-temporal-cloud", |cluster| async move {
        let temporal_namespace = format!("shop-{}.a1b2c", cluster.namespace);
        let temporal = cluster.temporal.with_new_namespace(&temporal_namespace)?;
        let authority = Authority::new()?;
        let keys = Arc::new(Keys::default());
        keys.accept(&[KEY]);
        let front = Front::with_keys(&cluster, authority.server(&[])?, keys.clone())?;
        let ca = [("ca.crt", authority.certificate.as_str())];
        secret(&cluster, "temporal-ca", &ca).await?;
        secret(&cluster, "temporal-key", &[("key", KEY)]).await?;
        let queue = cluster.queue("all");
        let mut spec = one_queue(&queue, 0, 1, &json!({}));
        spec["connection"] = front.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
        spec["connection"]["temporalNamespace"] = json!(temporal_namespace);
        spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
        cluster.apply(spec).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;

        // The fleet is at zero.
        let (reads, span) = ALLOWED;
        keys.reads.set(reads, span);
        let load = Load::start(&temporal, &queue, 0).await?;
        eventually("reads are refused while orders flow", || async {
            has_its_worker(&cluster).await?;
            let refused = keys.reads.refused(&temporal_namespace);
            Ok(if refused >= REFUSALS {
                Ok(())
            } else {
                Err(format!("{refused} were refused"))
            })
        })
        .await?;
        let before = cluster.workers_run(1).await?;

        // Then others use up the namespace's limit.
        keys.reads.set(0, span);
        let condition = cluster
            .condition_is("ScalingActive", "Unknown", "BacklogUnknown")
            .await?;
        for part in [
            "ResourceExhausted: namespace rate limit exceeded",
            "the replicas stay as they are",
            "the operator reads more slowly",
        ] {
            assert!(condition.message.contains(part), "{}", condition.message);
        }
        is_counted_as_throttling(&cluster, &front, &temporal_namespace)?;
        load.stop().await?;
        throughout(BLIND, "the idle worker stays", || async {
            let untouched = cluster.untouched(&before, "a refused read").await;
            Ok(untouched.map_err(|error| format!("{error:#}")))
        })
        .await?;

        keys.reads.lift();
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        cluster
            .replicas_are("all", "the idle fleet goes to zero", |requested, _| {
                requested == 0
            })
            .await?;
        assert_eq!(keys.take_refused(), Vec::new(), "every request had the key");
        cluster.shows_none_of(&[KEY])
    })
    .await;
}

/// Fails if the queue has no replica.
async fn has_its_worker(cluster: &TestCluster) -> anyhow::Result<()> {
    let (requested, _) = cluster.replicas("all").await?;
    anyhow::ensure!(requested == 1, "the queue has {requested} replicas");
    Ok(())
}

/// Fails unless the operator's metrics show the refusals, and a reduced budget.
fn is_counted_as_throttling(
    cluster: &TestCluster,
    front: &Front,
    temporal_namespace: &str,
) -> anyhow::Result<()> {
    let metrics = cluster.metrics()?;
    let of_namespace = |metric: &str| -> Vec<Sample<'_>> {
        let samples = metrics.lines().filter_map(Sample::parse);
        samples
            .filter(|sample| {
                sample.name == metric
                    && sample.label("temporal_address") == Some(front.address())
                    && sample.label("temporal_namespace") == Some(temporal_namespace)
            })
            .collect()
    };
    let requests = of_namespace("taskqueue_operator_temporal_requests_total");
    let refused: f64 = requests
        .iter()
        .filter(|sample| sample.label("code") == Some("ResourceExhausted"))
        .map(|sample| sample.value)
        .sum();
    let budget = of_namespace("taskqueue_operator_temporal_budget_calls_per_second");
    let is_reduced = budget.iter().any(|budget| budget.value < FULL_BUDGET);
    anyhow::ensure!(refused > 0.0 && is_reduced, "{requests:?}, {budget:?}");
    Ok(())
}
