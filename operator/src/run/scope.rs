//! One scope: its caches and its controller. Scopes wait for each other only where they must. I/O
//! only; decides nothing about fleets.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::controller::{self, Config, Controller};
use kube::runtime::reflector::{Lookup, ObjectRef};
use kube::{Client, Resource as _};
use taskqueue_api::{GuardedClusterConnection, GuardedConnection, GuardedFleet};
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
        run_controller(context, watches, requeued, concurrency, &stop).await;
    }
}

/// Runs the controller of one scope until stopped.
fn run_controller(
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
    let asks = Asks(Arc::clone(&context.shared));
    let fleets = fleets.inspect_ok({
        let asks = asks.clone();
        move |fleet| asks.note(&ObjectRef::from_obj(fleet))
    });
    let deployments = deployments.inspect_ok({
        let asks = asks.clone();
        move |deployment| caches::owners_of(deployment).for_each(|fleet| asks.note(&fleet))
    });
    let requeued = stream::unfold(
        (requeued, asks.clone()),
        |(mut requeued, asks)| async move {
            let owner = requeued.recv().await?;
            let fleet = ObjectRef::new(&owner.name).within(&owner.namespace);
            asks.note(&fleet);
            Some((fleet, (requeued, asks)))
        },
    );
    let of_pod = asks.noting(|pod: Pod| caches::fleet_of_pod(&pod));
    let of_autoscaler = asks.noting({
        let scaled = context.caches.clone();
        move |autoscaler: HorizontalPodAutoscaler| {
            caches::fleets_of_autoscaler(&scaled, &autoscaler)
        }
    });
    let of_connection = asks.noting({
        let referring = context.caches.clone();
        move |connection: GuardedConnection| {
            let object = ConnectionObject::from(&connection);
            referring.fleets_with_connection(&object.reference(), object.namespace())
        }
    });
    let of_cluster_connection = asks.noting({
        let referring = context.caches.clone();
        move |connection: GuardedClusterConnection| {
            let object = ConnectionObject::from(&connection);
            referring.fleets_with_connection(&object.reference(), None)
        }
    });
    let controller = Controller::for_stream(fleets, context.caches.fleets.clone())
        .with_config(Config::default().concurrency(concurrency))
        .owns_stream(deployments)
        .watches_stream(pods, of_pod)
        .watches_stream(autoscalers, of_autoscaler)
        .watches_stream(connections, of_connection)
        .watches_stream(cluster_connections, of_cluster_connection)
        .reconcile_on(requeued)
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    controller
        .run(reconcile, error_policy, context)
        .for_each(move |result| {
            if let Err(controller::Error::ObjectNotFound(fleet)) = &result {
                asks.forget(fleet);
            }
            log::outcome(result);
            future::ready(())
        })
}

/// Notes the fleets for which an event asks for a pass, before the controller knows of it.
#[derive(Clone)]
struct Asks(Arc<Shared>);

impl Asks {
    fn note(&self, fleet: &ObjectRef<GuardedFleet>) {
        self.0.asked(key(fleet));
    }

    /// The same function from an object to fleets, which notes them.
    fn noting<Object, Fleets, Mapping>(
        &self,
        fleets_of: Mapping,
    ) -> impl Fn(Object) -> Vec<ObjectRef<GuardedFleet>> + use<Object, Fleets, Mapping>
    where
        Mapping: Fn(Object) -> Fleets + Send + Sync,
        Fleets: IntoIterator<Item = ObjectRef<GuardedFleet>>,
    {
        let asks = self.clone();
        move |object| {
            let fleets = fleets_of(object).into_iter();
            fleets.inspect(|fleet| asks.note(fleet)).collect()
        }
    }

    /// No pass begins for a fleet that is gone, although something of it has changed.
    fn forget(&self, fleet: &ObjectRef<DynamicObject>) {
        self.0.metrics.work_queue().forget(&key(fleet));
    }
}

fn key<K: Lookup>(fleet: &ObjectRef<K>) -> OwnerKey {
    OwnerKey {
        namespace: fleet.namespace.clone().unwrap_or_default(),
        name: fleet.name.clone(),
    }
}
