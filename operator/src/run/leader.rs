//! Decides when this process may work: only while it holds the leader lease, if leader election is
//! on. I/O: the lease.

use anyhow::bail;
use futures::future;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Error;
use crate::http::{Health, Phase};
use crate::leading::Leading;
use crate::lease::{LeaderLease, Lost};
use crate::metrics::Metrics;
use crate::settings::Settings;

/// The leases that this process needs before it may write: its own, and the one of earlier
/// versions, if that has another name.
fn leases(settings: &Settings, client: &Client) -> Vec<LeaderLease> {
    let lease = |name: &str| {
        let (client, identity) = (client.clone(), settings.pod_name.clone());
        LeaderLease::new(client, &settings.pod_namespace, name, identity)
    };
    let own = lease(&settings.lease_name);
    let former = settings.former_lease_name.as_deref();
    match former.filter(|name| !name.is_empty()) {
        Some(former) if former == settings.lease_name => vec![own.shared()],
        Some(former) => vec![own, lease(former).legacy()],
        None => vec![own],
    }
}

/// Runs `work`, under the leader lease if leader election is on.
pub(super) async fn lead<W>(
    settings: &Settings,
    client: &Client,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
    work: impl FnOnce(Leading, CancellationToken) -> W,
) -> anyhow::Result<()>
where
    W: Future<Output = anyhow::Result<()>>,
{
    let leading = Leading::default();
    if !settings.leader_election {
        metrics.set_leader(true);
        return work(leading, stop.clone()).await;
    }
    let mut leases = leases(settings, client);
    health.set(Phase::Standby);
    if !acquire(&mut leases, stop).await {
        release(&leases).await;
        return Ok(());
    }
    metrics.set_leader(true);
    let kept = stop.child_token();
    let working = work(leading.clone(), kept.clone());
    tokio::pin!(working);
    // Renew until the last write is done, even after `stop`: nobody else may lead before that.
    tokio::select! {
        result = &mut working => {
            // Before the lease is released: two processes must never report at once that they lead.
            metrics.set_leader(false);
            release(&leases).await;
            result
        }
        () = hold(&mut leases, &leading, metrics, health, stop) => {
            // Another process may lead by now, so there is no time to finish what is in flight.
            // Late writes are harmless because each carries a precondition on the object that it
            // was decided on.
            leading.end();
            metrics.set_leader(false);
            kept.cancel();
            if stop.is_cancelled() {
                return Ok(());
            }
            health.set(Phase::Dead("the leader lease was lost".to_owned()));
            bail!("the leader lease was lost; this process exits, to restart as a standby")
        }
    }
}

/// Acquires the leases in order, and renews those that it has while it waits for the next one.
/// Returns false if `stop` comes first.
async fn acquire(leases: &mut [LeaderLease], stop: &CancellationToken) -> bool {
    let mut acquired = 0;
    while let (ours, [next, ..]) = leases.split_at_mut(acquired) {
        tokio::select! {
            got = next.acquire(stop) => {
                if !got {
                    return false;
                }
                acquired += 1;
            }
            _ = lost(ours) => {
                warn!("lost a leader lease while waiting for another one; starting over");
                acquired = 0;
            }
        }
    }
    true
}

/// Renews the leases until one is lost. Never ends if there are none.
async fn lost(leases: &mut [LeaderLease]) -> Lost {
    if leases.is_empty() {
        return future::pending().await;
    }
    let renewing = leases.iter_mut().map(|lease| Box::pin(lease.keep()));
    let (lost, _, _) = future::select_all(renewing).await;
    lost
}

/// Renews until another process may have led. While the API server cannot be reached, nothing is
/// written but the fleet states are kept. Once it is back, work continues where it was, unless
/// another process has taken the lease.
async fn hold(
    leases: &mut [LeaderLease],
    leading: &Leading,
    metrics: &Metrics,
    health: &Health,
    stop: &CancellationToken,
) {
    loop {
        if lost(leases).await == Lost::Taken {
            return;
        }
        warn!("cannot renew the leader lease; writing nothing until the API server answers again");
        leading.suspend();
        metrics.set_leader(false);
        let before = health.phase();
        health.set(Phase::Waiting(
            "cannot renew the leader lease: the API server does not answer".to_owned(),
        ));
        let regained = async {
            for lease in &mut *leases {
                if !lease.regain().await {
                    return false;
                }
            }
            true
        };
        let regained = tokio::select! {
            regained = regained => regained,
            // There is nothing to finish: no pass is running.
            () = stop.cancelled() => return leading.end(),
        };
        if !regained {
            return;
        }
        info!("this process still holds the leader lease; resuming");
        health.set(before);
        metrics.set_leader(true);
        leading.resume();
    }
}

async fn release(leases: &[LeaderLease]) {
    // In reverse order of acquisition, so that a process that waits for the first lease finds the
    // others free.
    for lease in leases.iter().rev() {
        let mut given = lease.release().await;
        if given.as_ref().is_err_and(Error::is_conflict) {
            // A renewal that was in flight when the work ended has changed the lease.
            given = lease.release().await;
        }
        if let Err(error) = given {
            warn!(%error, "cannot release the leader lease; it will expire by itself");
        }
    }
}

#[cfg(test)]
mod tests;
