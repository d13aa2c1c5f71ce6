//! API keys: a server that accepts only requests with a valid key, a key that it refuses, and a key
//! that is replaced under load.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    authority::{Authority, secret},
    credentials::TAKEN_UP,
    front::{Front, Keys},
    harness::{Load, eventually, one_queue, throughout, with_namespace},
};

/// Longer than the cooldown and the stabilization window of the fleet together, and shorter than
/// the minute after which the SDK stops a worker whose key is refused.
const REFUSED: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_api_key_changes_nothing_and_the_next_one_is_picked_up_without_a_restart() {
    with_namespace("a-refused-api-key-changes-nothing", |cluster| async move {
        let authority = Authority::new()?;
        let keys = std::sync::Arc::new(Keys::default());
        keys.accept(&["first-key"]);
        let front = Front::with_keys(&cluster, authority.server(&[])?, keys.clone())?;
        secret(
            &cluster,
            "temporal-ca",
            &[("ca.crt", &authority.certificate)],
        )
        .await?;
        secret(&cluster, "temporal-key", &[("key", "first-key")]).await?;
        let queue = cluster.queue("all");
        cluster.apply(fleet(&front, &queue, 0)).await?;
        let first = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&first).await?;
        let before = cluster.workers_run(1).await?;

        // The fleet is idle and about to scale to zero.
        keys.accept(&[]);
        let condition = cluster
            .condition_is("ScalingActive", "False", "TemporalAccessDenied")
            .await?;
        for part in [
            "the API key is not accepted",
            "the replicas stay as they are",
            "correct the API key",
        ] {
            assert!(condition.message.contains(part), "{}", condition.message);
        }
        throughout(REFUSED, "the workers stay", || async {
            let untouched = cluster.untouched(&before, "a refused key").await;
            Ok(untouched.map_err(|error| format!("{error:#}")))
        })
        .await?;
        let refused = keys.take_refused();
        assert!(
            refused.iter().all(|(_, key)| key == "first-key"),
            "{refused:?}"
        );

        // Now the server also accepts another key, and drops the first one only when all clients
        // use the other.
        cluster.apply(fleet(&front, &queue, 1)).await?;
        keys.accept(&["first-key", "second-key"]);
        let replaced = Instant::now();
        secret(&cluster, "temporal-key", &[("key", "second-key")]).await?;
        let load = Load::start(&cluster.temporal, &queue, 1).await?;
        let of_workers = before.addresses();
        let uses_it =
            |workers: bool| keys.saw("second-key", |peer| of_workers.contains(peer) == workers);
        comes_with_it("the operator", || uses_it(false)).await?;
        let took = replaced.elapsed();
        println!(
            "from the change of the Secret until the operator used the new key: {:.1} s",
            took.as_secs_f64()
        );
        assert!(took < TAKEN_UP, "{took:?}");
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;

        // The kubelet updates mounted files when it next syncs a pod, at least once a minute; a
        // change of the pod triggers a sync.
        cluster.kubectl(&["annotate", "pods", "--all", "example.com/look=now"])?;
        cluster
            .log_says("the API key has changed and was read again")
            .await?;
        comes_with_it("the worker", || uses_it(true)).await?;
        println!(
            "until the worker used it: {:.1} s",
            replaced.elapsed().as_secs_f64()
        );
        keys.take_refused();
        keys.accept(&["second-key"]);
        let order = json!({"total": 100});
        let last = cluster.temporal.orders(&queue, 1000..1003, &order)?;
        load.stop().await?;
        cluster.temporal.results_at_once(&last).await?;
        assert_eq!(
            keys.take_refused(),
            Vec::new(),
            "no client sent the old key"
        );
        cluster.shows_none_of(&["first-key", "second-key"])?;
        cluster.untouched(&before, "a new key").await
    })
    .await;
}

/// One queue of at most one replica behind the front.
fn fleet(front: &Front, queue: &str, min: u32) -> Value {
    let mut spec = one_queue(queue, min, 1, &json!({}));
    spec["connection"] = front.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
    spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
    spec
}

async fn comes_with_it(who: &str, comes: impl Fn() -> bool) -> anyhow::Result<()> {
    eventually(&format!("{who} sends the new key"), || async {
        Ok(if comes() {
            Ok(())
        } else {
            Err("not yet".to_owned())
        })
    })
    .await
}
