//! One scope: its caches and its controller. Scopes wait for each other only where they must. I/O
//! only; decides nothing about fleets.

use std::sync::Arc;

use futures::{StreamExt as _, future, stream};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource as _};
use taskqueue_temporal::OwnerKey;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::access;
use crate::caches::{self, Caches, Gone, Scope, Watches};
use crate::controller::{Context, Shared, error_policy, reconcile};
use crate::observe::connection::object::ConnectionObject;
use crate::report::{Subject, log};

/// Creates the caches of one scope and the watches that fill them; `cluster_connections`: whether
/// those of the cluster are watched too. Fleets that disappear from the caches are forgotten.
pub(super) fn watch(
    client: &Client,
    scope: &Scope,
    shared: &Arc<Shared>,
    cluster_connections: bool,
) -> (Caches, Watches) {
    let forget = Arc::clone(shared);
    let covered = scope.clone();
    let metrics = &shared.metrics;
    caches::watch(
        client,
        scope,
        metrics,
        cluster_connections,
        move |gone| match gone {
            Gone::Deleted(fleet) => forget.forget(Subject::of(fleet).metadata),
            Gone::AllBut(store) => forget.forget_all_but(|key| {
                let reference = ObjectRef::new(&key.name).within(&key.namespace);
                let there = store.get(&reference);
                !covered.covers(&key.namespace)
                    || there.is_some_and(|fleet| fleet.meta().uid.as_deref() == Some(&key.uid))
            }),
        },
    )
}

/// Waits until the scope can be watched, then runs its controller until stopped.
pub(super) async fn run(
    client: Client,
    scope: Scope,
    context: Arc<Context>,
    watches: Watches,
    requeued: mpsc::UnboundedReceiver<OwnerKey>,
    concurrency: u16,
    stop: CancellationToken,
) {
    if access::granted(&client, &scope, &context, &stop).await {
        controller(context, watches, requeued, concurrency, &stop).await;
    }
}

/// Runs the controller of one scope until stopped.
fn controller(
    context: Arc<Context>,
    watches: Watches,
    requeued: mpsc::UnboundedReceiver<OwnerKey>,
    concurrency: u16,
    stop: &CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let Watches {
        fleets,
        connections,
        cluster_connections,
        deployments,
        pods,
        autoscalers,
    } = watches;
    let requeued = stream::unfold(requeued, |mut requeued| async move {
        let owner = requeued.recv().await?;
        Some((
            ObjectRef::new(&owner.name).within(&owner.namespace),
            requeued,
        ))
    });
    let referring = context.caches.clone();
    let referring_to_cluster = context.caches.clone();
    let scaled = context.caches.clone();
    let controller = Controller::for_stream(fleets, context.caches.fleets.clone())
        .with_config(Config::default().concurrency(concurrency))
        .owns_stream(deployments)
        .watches_stream(pods, |pod| caches::fleet_of_pod(&pod))
        .watches_stream(autoscalers, move |autoscaler| {
            caches::fleets_of_autoscaler(&scaled, &autoscaler)
        })
        .watches_stream(connections, move |connection| {
            let object = ConnectionObject::from(&connection);
            referring.fleets_with_connection(&object.reference(), object.namespace())
        })
        .watches_stream(cluster_connections, move |connection| {
            let object = ConnectionObject::from(&connection);
            referring_to_cluster.fleets_with_connection(&object.reference(), None)
        })
        .reconcile_on(requeued)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    controller
        .run(reconcile, error_policy, context)
        .for_each(|result| {
            log::outcome(result);
            future::ready(())
        })
}
