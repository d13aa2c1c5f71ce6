//! An API server that answers 503 for a minute, and connections to it that break without a FIN or
//! RST. The shared operator runs with one replica and reaches the API server through a proxy of the
//! test, so these tests run alone. They restore it at the end.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{Api, ResourceExt, api::ListParams};
use sandbox_machine::Process;
use serde_json::{Value, json};
use taskqueue_api::TaskQueueWorker;
use tokio::time::{Instant, sleep_until};

use crate::{
    harness::{OPERATOR, OPERATOR_NAMESPACE, TestCluster, alone, eventually, one_queue},
    leaders::{get, lease, process_of, settled},
    proxy::{ApiRequest, Proxy},
};

const OUTAGE: Duration = Duration::from_mins(1);
/// Promised: from the return of the API server until the replicas of a fleet at zero with work are
/// written.
const FROM_ZERO: Duration = Duration::from_secs(8);
/// Promised: the same of a fleet that runs and needs more.
const MORE: Duration = Duration::from_secs(15);
/// Promised: from the moment when connections break silently until passes see changes and write
/// again.
const NEW_CONNECTIONS: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_minute_of_503_the_same_leader_continues_and_fleets_grow_at_once() {
    alone("after-a-minute-of-503", |cluster| async move {
        through_a_proxy(&cluster, async |proxy| {
            cluster.start_from_zero(&cluster.queue("zero"), 1).await?;
            let busy = one_queue(&cluster.queue("busy"), 1, 3, &json!({}));
            cluster.apply_as("busy", busy).await?;
            let workers = cluster.workers_run(1).await?;
            let zero = deployment_of(&cluster, "orders").await?;
            let busy = deployment_of(&cluster, "busy").await?;
            let before = Leader::settled(&cluster).await?;

            let began = proxy.refuse();
            eventually("the leader reports that it does not lead", || async {
                let metrics = get(&cluster, &before.pod, "metrics")?;
                let line = metrics
                    .lines()
                    .find(|line| line.starts_with("taskqueue_operator_leader "));
                Ok(if line == Some("taskqueue_operator_leader 0") {
                    Ok(())
                } else {
                    Err(format!("{line:?}"))
                })
            })
            .await?;
            let suspended = Instant::now();
            cluster
                .temporal
                .order(&cluster.queue("zero"), 0, json!({"total": 100}))?;
            // The only worker has four slots and cannot finish these before the end of the outage.
            let order = json!({"total": 100, "card": "tok_delay_8000"});
            cluster
                .temporal
                .orders(&cluster.queue("busy"), 1..41, &order)?;
            anyhow::ensure!(began.elapsed() < OUTAGE, "placing the orders took too long");
            sleep_until(began + OUTAGE).await;
            cluster.untouched(&workers, "the outage").await?;

            let back = proxy.serve();
            let from_zero = scaled(proxy, &zero, back).await?;
            let more = scaled(proxy, &busy, back).await?;
            let refused = proxy.requests(ApiRequest::is_refused);
            println!(
                "from the return of an API server that answered {} requests with 503 in {} s \
                 until the \
                 replicas are written: {:.1} s for a fleet at zero, {:.1} s for a running one; the \
                 leader stopped {:.1} s after the outage began",
                refused.len(),
                OUTAGE.as_secs(),
                from_zero.as_secs_f64(),
                more.as_secs_f64(),
                suspended.duration_since(began).as_secs_f64(),
            );
            anyhow::ensure!(
                from_zero < FROM_ZERO,
                "the fleet at zero took {from_zero:?}"
            );
            anyhow::ensure!(more < MORE, "the running fleet took {more:?}");
            let written: Vec<_> = refused
                .iter()
                .filter(|request| request.at > suspended && request.is_write())
                .filter(|request| !request.path.contains("/leases/"))
                .collect();
            anyhow::ensure!(
                written.is_empty(),
                "it wrote during the outage: {written:?}"
            );
            before.is_still_there(&cluster).await?;
            let lists = proxy.requests(|request| request.at >= back && request.is_list());
            anyhow::ensure!(
                lists.is_empty(),
                "the operator listed objects again: {lists:?}"
            );
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lose_every_packet_are_replaced_within_thirty_seconds() {
    alone("connections-that-lose-every-packet", |cluster| async move {
        through_a_proxy(&cluster, async |proxy| {
            replaced(&cluster, proxy, "lost every packet", Proxy::swallow).await
        })
        .await
    })
    .await;
}

/// The machine at the other end is there and acknowledges every packet, so TCP finds nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn connections_without_any_answer_are_replaced_within_thirty_seconds() {
    alone("connections-without-any-answer", |cluster| async move {
        through_a_proxy(&cluster, async |proxy| {
            replaced(&cluster, proxy, "stalled", Proxy::stall).await
        })
        .await
    })
    .await;
}

/// Breaks every connection, and waits until the operator carries out a change and watches
/// everything again.
async fn replaced(
    cluster: &TestCluster,
    proxy: &Proxy,
    what: &str,
    break_connections: impl FnOnce(&Proxy) -> anyhow::Result<usize>,
) -> anyhow::Result<()> {
    let queue = cluster.queue("all");
    cluster.start_from_zero(&queue, 1).await?;
    let before = Leader::settled(cluster).await?;

    let began = Instant::now();
    let broken = break_connections(proxy)?;
    // Only a new watch shows this change.
    cluster.apply(one_queue(&queue, 1, 1, &json!({}))).await?;
    cluster
        .replicas_are("all", "the operator applies the change", |requested, _| {
            requested == 1
        })
        .await?;
    let took = began.elapsed();
    let watched = eventually("every watch runs again", || async {
        let watches = proxy.requests(|request| request.at > began && request.is_watch());
        let kinds = [
            "taskqueueworkers",
            "temporalconnections",
            "deployments",
            "pods",
        ];
        let again = kinds.map(|kind| {
            let of = |path: &str| path.rsplit('/').next() == Some(kind);
            let mut watches = watches.iter();
            watches.find(|request| request.status.is_success() && of(&request.path))
        });
        let all: Option<Vec<_>> = again.into_iter().collect();
        let last = all.and_then(|all| all.iter().map(|request| request.at).max());
        Ok(last.ok_or_else(|| format!("{watches:?}")))
    })
    .await?
    .duration_since(began);
    println!(
        "after {broken} connections {what}: a change of a fleet was applied after {:.1} s, every \
         watch ran again after {:.1} s",
        took.as_secs_f64(),
        watched.as_secs_f64(),
    );
    // Each kind is watched over a connection of its own.
    anyhow::ensure!(broken >= 4, "{broken} connections were open");
    anyhow::ensure!(took < NEW_CONNECTIONS, "the change took {took:?}");
    anyhow::ensure!(watched < NEW_CONNECTIONS, "the watches took {watched:?}");
    before.is_still_there(cluster).await
}

/// Runs the body while the operator has one replica that reaches the API server only through a
/// proxy. Restores the operator also if the body fails.
async fn through_a_proxy(
    cluster: &TestCluster,
    body: impl AsyncFnOnce(&Proxy) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let proxy = Proxy::start(cluster).await?;
    let status = cluster.helm(&["status", OPERATOR, "--output=json"])?;
    let status: Value = serde_json::from_str(&status)?;
    let revision = status["version"].to_string();
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/taskqueue-operator");
    let address = json!([
        {"name": "KUBERNETES_SERVICE_HOST", "value": proxy.address().ip()},
        {"name": "KUBERNETES_SERVICE_PORT", "value": proxy.address().port().to_string()},
    ]);
    let upgraded = cluster.helm(&[
        "upgrade",
        OPERATOR,
        &chart.to_string_lossy(),
        "--reuse-values",
        "--set=replicas=1",
        &format!("--set-json=extraEnv={address}"),
        "--wait",
        "--timeout=120s",
    ]);
    let result = match upgraded {
        Ok(_) => body(&proxy).await,
        Err(error) => Err(error),
    };
    proxy.serve();
    if result.is_err() {
        // The rollback removes the pod and its log.
        let log = cluster.operator_log().unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(100).collect();
        for line in last.iter().rev() {
            eprintln!("{line}");
        }
    }
    let restored = cluster.helm(&["rollback", OPERATOR, &revision, "--wait", "--timeout=120s"]);
    result?;
    restored?;
    settled(cluster).await.map(drop)
}

/// The only replica of the operator. Two values are equal if it is the same process and it was the
/// leader all the time.
#[derive(Debug, PartialEq, Eq)]
struct Leader {
    pod: String,
    process: Process,
    restarts: i32,
    since: Option<MicroTime>,
}

impl Leader {
    /// Waits until there is one replica and it leads.
    async fn settled(cluster: &TestCluster) -> anyhow::Result<Self> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
        let label = format!("app.kubernetes.io/name={OPERATOR}");
        let (pod, since) = eventually("the only replica leads", || async {
            let pods = api.list(&ListParams::default().labels(&label)).await?.items;
            let lease = lease(cluster).await?;
            let holder = lease.holder_identity.unwrap_or_default();
            let leads = || get(cluster, &holder, "readyz").is_ok_and(|answer| answer == "ok\n");
            Ok(match pods.as_slice() {
                [pod] if pod.name_any() == holder && leads() => {
                    Ok((pod.clone(), lease.acquire_time))
                }
                pods => {
                    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
                    Err(format!(
                        "there are {names:?}, the lease is held by {holder:?}"
                    ))
                }
            })
        })
        .await?;
        let name = pod.name_any();
        let status = pod.status.unwrap_or_default();
        let containers = status.container_statuses.unwrap_or_default();
        Ok(Self {
            process: process_of(&name).await?,
            pod: name,
            restarts: containers.iter().map(|one| one.restart_count).sum(),
            since,
        })
    }

    async fn is_still_there(&self, cluster: &TestCluster) -> anyhow::Result<()> {
        let now = Leader::settled(cluster).await?;
        anyhow::ensure!(now == *self, "{self:?} became {now:?}");
        anyhow::ensure!(now.restarts == 0, "{now:?}");
        Ok(())
    }
}

/// The Deployment of the only queue of a fleet.
async fn deployment_of(cluster: &TestCluster, fleet: &str) -> anyhow::Result<String> {
    let fleet = cluster.api::<TaskQueueWorker>().get(fleet).await?;
    let queues = fleet.status.map(|status| status.queues);
    let queue = queues.unwrap_or_default().into_iter().next();
    Ok(queue.context("its status has a queue")?.deployment_name)
}

/// From a moment until the replicas of a Deployment were written.
async fn scaled(proxy: &Proxy, deployment: &str, since: Instant) -> anyhow::Result<Duration> {
    let what = format!("the replicas of {deployment} are written");
    let written = eventually(&what, || async {
        let writes =
            proxy.requests(|request| request.at >= since && request.has_scaled(deployment));
        Ok(writes
            .into_iter()
            .next()
            .ok_or_else(|| "not yet".to_owned()))
    })
    .await?;
    Ok(written.at.duration_since(since))
}
