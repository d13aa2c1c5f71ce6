//! Background tasks beside the controllers. None of them ends.

use std::time::Duration;

use futures::{StreamExt as _, future, stream};
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::debug;

use crate::caches::{Caches, Scope};
use crate::controller::Shared;
use crate::metrics::temporal::TemporalNumbers;
use crate::report::connections::ConnectionReports;

/// How often to drop Secrets, targets and metrics that are no longer needed.
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);

/// How often to check whether the status of a connection has changed.
const CONNECTION_INTERVAL: Duration = Duration::from_secs(5);

/// The channel to the controller of a scope.
pub(super) struct Route {
    pub(super) scope: Scope,
    /// Accepts fleets that need a pass.
    pub(super) requeue: UnboundedSender<OwnerKey>,
}

/// Sends fleets that need a pass to the controller of their scope: those with news from the
/// readers, and those requeued by the scrapers and the writer.
pub(super) async fn requeue(
    readers: &Readers,
    requeued: UnboundedReceiver<OwnerKey>,
    routes: &[Route],
) {
    let requeued = stream::unfold(requeued, |mut requeued| async move {
        let owner = requeued.recv().await?;
        Some((owner, requeued))
    });
    let mut all = std::pin::pin!(stream::select(readers.updates(), requeued));
    while let Some(owner) = all.next().await {
        let mut routes = routes.iter();
        let route = routes.find(|route| route.scope.covers(&owner.namespace));
        if let Some(route) = route
            && route.requeue.send(owner).is_err()
        {
            debug!("a controller has ended: the process is stopping");
        }
    }
    future::pending::<()>().await;
}

/// Drops Secrets, targets and metrics that are no longer needed.
pub(super) async fn prune_unused(shared: &Shared, readers: &Readers, numbers: &TemporalNumbers) {
    loop {
        tokio::time::sleep(PRUNE_INTERVAL).await;
        let now = shared.clock.now().monotonic;
        shared.secrets.prune(now);
        shared.targets.prune_unused(now);
        let budgets = readers.budgets().into_iter();
        numbers.keep_only(&budgets.map(|budget| budget.server_namespace).collect());
    }
}

/// Writes the statuses of the connections.
pub(super) async fn report_connections(
    shared: &Shared,
    everywhere: &[Caches],
    mut reports: ConnectionReports,
) {
    loop {
        tokio::time::sleep(CONNECTION_INTERVAL).await;
        if !shared.leading.begun().await {
            future::pending::<()>().await;
        }
        let now = shared.clock.now();
        reports.report(everywhere, &shared.secrets, now).await;
    }
}
