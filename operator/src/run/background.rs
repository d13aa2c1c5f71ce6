//! What goes on beside the controllers. Neither task ends.

use std::time::Duration;

use futures::{StreamExt as _, future, stream};
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tracing::debug;

use crate::caches::Scope;
use crate::controller::Shared;
use crate::metrics::temporal::TemporalNumbers;

/// How often Secrets that nobody needs any more are dropped from memory.
const HOUSEKEEPING: Duration = Duration::from_mins(1);

/// The way to the controller of a scope.
pub(super) struct Route {
    pub(super) scope: Scope,
    /// Takes fleets that need a pass.
    pub(super) requeue: UnboundedSender<OwnerKey>,
}

/// Hands fleets that need a pass to the controller of their scope: those of which the readers have
/// news, and those that the scrapers and the writer have requeued.
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

/// Drops what nobody needs any more.
pub(super) async fn keep_house(shared: &Shared, readers: &Readers, numbers: &TemporalNumbers) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        shared.secrets.prune(shared.clock.now().monotonic);
        let budgets = readers.budgets().into_iter();
        numbers.keep_only(&budgets.map(|budget| budget.place).collect());
    }
}
