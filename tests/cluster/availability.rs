//! Two replicas and a Lease: who leads after a SIGTERM, a SIGKILL and a freeze, and how soon; a
//! leader that wakes up too late shrinks nothing. Times come from the Lease.

use std::{
    future::Future,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, events::v1::Event};
use kube::{
    Api, ResourceExt,
    api::{ListParams, WatchEvent, WatchParams},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    harness::{TestCluster, alone, eventually, one_queue, output, with_namespace},
    leaders::{freeze, get, lease, process_of, settled, signal, since, taken_after},
};

/// Promised: from SIGTERM until another replica holds the lease.
const HAND_OVER: Duration = Duration::from_secs(5);
/// Promised: from the end of a leader that gives no notice until there is another one.
const TAKE_OVER: Duration = Duration::from_secs(15);
/// Number of attempts. An overloaded machine may be late once; a slow operator is late every time.
const TRIES: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_receives_sigterm_hands_over_within_five_seconds() {
    alone("a-leader-that-receives-sigterm", |cluster| async move {
        cluster
            .apply(one_queue(&cluster.queue("all"), 0, 1, &json!({})))
            .await?;
        one_within(HAND_OVER, "from SIGTERM until one leads again", || async {
            let (leader, _) = settled(&cluster).await?;
            let process = process_of(&leader).await?;
            let signalled = Timestamp::now();
            signal(&process, Signal::TERM)?;
            // The process restarts in its pod, and on a fast machine takes the lease back before
            // the other replica asks.
            let next = taken_after(&cluster, signalled).await?;
            since(signalled, &next)
        })
        .await?;
        // The new leader works.
        cluster
            .apply(one_queue(&cluster.queue("all"), 0, 2, &json!({})))
            .await?;
        cluster.condition_is("Ready", "True", "Available").await?;

        // A process that dies without notice restarts in its pod and still holds the lease, or the
        // other replica gets it.
        one_within(TAKE_OVER, "from SIGKILL until one leads again", || async {
            let (leader, _) = settled(&cluster).await?;
            let process = process_of(&leader).await?;
            let killed = Timestamp::now();
            signal(&process, Signal::KILL)?;
            let next = eventually("the lease is renewed", || async {
                let lease = lease(&cluster).await?;
                let renewed = lease
                    .renew_time
                    .as_ref()
                    .is_some_and(|time| time.0 > killed);
                Ok(if renewed && lease.holder_identity.is_some() {
                    Ok(lease)
                } else {
                    Err(format!("{lease:?}"))
                })
            })
            .await?;
            since(killed, &next)
        })
        .await?;
        settled(&cluster).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_within_fifteen_seconds_and_shrinks_no_fleet_when_it_resumes() {
    alone("a-frozen-leader-is-replaced", |cluster| async move {
        let queue = cluster.queue("all");
        cluster
            .apply(one_queue(&queue, 0, 3, &json!({"cooldownPeriod": "15s"})))
            .await?;
        let first = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&first).await?;
        // The leader is about to scale this idle fleet to zero, but freezes first.
        let (leader, _) = settled(&cluster).await?;
        let (requested, _) = cluster.replicas("all").await?;
        anyhow::ensure!(
            requested == 1,
            "the fleet was scaled in before its cooldown: {requested}"
        );
        let (frozen, mut took) = freeze(&cluster, &leader).await?;

        let order = json!({"total": 100, "card": "tok_delay_8000"});
        // One worker of four slots needs 48 s for them: most still wait when the next leader, which
        // takes up to 15 s to take over, has read the queue twice.
        let workflows = cluster.temporal.orders(&queue, 1..25, &order)?;
        cluster
            .replicas_are("all", "the next leader scales out", |requested, _| {
                requested > 1
            })
            .await?;
        let shrinks = Arc::new(Mutex::new(Vec::new()));
        let deployment = cluster.deployments().await?["all"].name_any();
        let watched = tokio::spawn(watch_shrinks(cluster.clone(), deployment, shrinks.clone()));
        // All its timers are due now, and as far as it knows the fleet has been idle for longer
        // than the cooldown.
        frozen.wake()?;
        eventually(
            "the old leader notices that it no longer leads, and exits",
            || async {
                Ok(if frozen.0.is_alive() {
                    Err("it runs".to_owned())
                } else {
                    Ok(())
                })
            },
        )
        .await?;
        cluster.temporal.results_at_once(&workflows).await?;
        anyhow::ensure!(!watched.is_finished(), "{:?}", watched.await);
        watched.abort();
        let shrinks = shrinks.lock().expect("the lock is not poisoned").clone();
        // The next leader may have had a reason to shrink the fleet; then an Event gives it.
        for (from, to) in shrinks {
            let decision = format!("scaled {from} to {to}");
            eventually(
                &format!("the next leader reports that it {decision}"),
                || async {
                    let events = cluster
                        .api::<Event>()
                        .list(&ListParams::default())
                        .await?
                        .items;
                    let by_the_next = events.iter().any(|event| {
                        event.reporting_instance.as_ref() != Some(&leader)
                            && event
                                .note
                                .as_ref()
                                .is_some_and(|note| note.contains(&decision))
                    });
                    Ok(if by_the_next {
                        Ok(())
                    } else {
                        Err(format!("{events:?}"))
                    })
                },
            )
            .await?;
        }

        for _ in 1..TRIES {
            if took <= TAKE_OVER {
                break;
            }
            let (leader, _) = settled(&cluster).await?;
            let (_frozen, again) = freeze(&cluster, &leader).await?;
            took = again;
        }
        assert!(took <= TAKE_OVER, "another replica led only after {took:?}");
        settled(&cluster).await.map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_is_ready_reports_its_role_and_has_no_series_of_fleets() {
    with_namespace("the-standby-is-ready", |cluster| async move {
        cluster
            .apply(one_queue(&cluster.queue("all"), 0, 1, &json!({})))
            .await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let (leader, standby) = settled(&cluster).await?;
        let ready = "ok: standing by, another process leads\n";
        assert_eq!(get(&cluster, &standby, "readyz")?, ready);
        assert_eq!(get(&cluster, &standby, "livez")?, "ok\n");
        assert_eq!(get(&cluster, &leader, "readyz")?, "ok\n");
        let value = |metrics: &str, series: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(series));
            line.map(|rest| rest.trim().to_owned())
        };
        let ours = format!(
            "taskqueue_operator_desired_replicas{{namespace=\"{}\",name=\"orders\"",
            cluster.namespace
        );
        for (pod, leads) in [(&leader, true), (&standby, false)] {
            let metrics = get(&cluster, pod, "metrics")?;
            let expected = if leads { "1" } else { "0" };
            assert_eq!(
                value(&metrics, "taskqueue_operator_leader ").as_deref(),
                Some(expected),
                "{pod}"
            );
            assert_eq!(metrics.contains(&ours), leads, "{pod}:\n{metrics}");
            is_clean(&cluster, &metrics)?;
        }
        Ok(())
    })
    .await;
}

/// Checks that Prometheus' own linter finds no problem in the exposed metrics.
fn is_clean(cluster: &TestCluster, metrics: &str) -> anyhow::Result<()> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.prom", cluster.namespace));
    std::fs::write(&file, metrics)?;
    let mut promtool = Command::new(&cluster.sandbox.programs().promtool);
    promtool
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file)?);
    output(&mut promtool).map(drop)
}

/// Measures up to [`TRIES`] times, until one time is within the limit.
async fn one_within<A, F>(limit: Duration, what: &str, mut measure: A) -> anyhow::Result<()>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Duration>>,
{
    let mut times = Vec::new();
    while times.len() < TRIES {
        let took = measure().await?;
        println!("{what}: {:.1} s", took.as_secs_f64());
        if took <= limit {
            return Ok(());
        }
        times.push(took);
    }
    anyhow::bail!("{what}: {times:?}, each over {limit:?}")
}

/// Records, without end, each time that a Deployment lowers its requested replicas: from and to.
async fn watch_shrinks(
    cluster: Arc<TestCluster>,
    deployment: String,
    shrinks: Arc<Mutex<Vec<(i32, i32)>>>,
) -> anyhow::Result<()> {
    let api: Api<Deployment> = cluster.api();
    let only = WatchParams::default().fields(&format!("metadata.name={deployment}"));
    let mut last = None;
    let mut events = api.watch(&only, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Added(now) | WatchEvent::Modified(now)) = event else {
            continue;
        };
        let requested = now.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        if let Some(before) = last.replace(requested).filter(|before| requested < *before) {
            shrinks
                .lock()
                .expect("the lock is not poisoned")
                .push((before, requested));
        }
    }
    anyhow::bail!("the API server ended the watch of {deployment}")
}
