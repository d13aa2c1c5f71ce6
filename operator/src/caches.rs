//! Watches the API server and fills caches. Reads only.
//!
//! There is one set of caches per scope: the whole cluster, or one namespace of the list. What
//! belongs to no namespace is in each of them.

mod index;
mod kinds;
mod progress;
mod prune;
mod scope;
mod stream;

#[cfg(test)]
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream as streams};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Api, Client, Resource};
use taskqueue_api::{
    ConnectionReference, GuardedClusterConnection, GuardedConnection, GuardedFleet, well_known,
};
use taskqueue_kubernetes::kube_error::Refusal;
use tokio::sync::watch as signal;

use crate::metrics::Metrics;
use crate::observe::ended_workers::EndedWorkers;

#[cfg(test)]
use index::Filling;
pub use index::Indexed;
use index::indexed;
#[cfg(test)]
use kinds::KINDS;
use kinds::Watched;
pub use progress::{Progress, WatchAccess};
pub use prune::keep_owners_of_replicas;
use prune::prune_autoscaler;
pub use prune::prune_pod;
pub use scope::Scope;
pub use stream::Touched;
use stream::{WATCH_SECONDS, paced, touched};

/// The caches of one scope.
#[derive(Clone)]
pub struct Caches {
    /// The fleets.
    pub fleets: Store<GuardedFleet>,
    /// The connections that fleets may refer to.
    pub connections: Store<GuardedConnection>,
    /// The connections of the cluster that fleets may refer to; `None` if `--cluster-connections`
    /// is off. Nothing waits for this cache: its CRD may be missing, or the right to list it.
    pub cluster_connections: Option<Store<GuardedClusterConnection>>,
    /// The Deployments with our label, by the uid of the fleet that owns them.
    pub deployments: Indexed<Deployment>,
    /// The pods with our label, by [`worker_key`].
    pub pods: Indexed<Pod>,
    /// Autoscalers, which may scale the same workloads. Nothing waits for this cache: it may be
    /// empty for lack of a right.
    pub autoscalers: Store<HorizontalPodAutoscaler>,
    /// How the workers of draining pods ended.
    pub ended_workers: EndedWorkers,
    /// How far the caches are filled.
    ///
    /// A channel of our own, because several tasks wait for it: `Store::wait_until_ready` wakes
    /// only its last caller (kube-runtime 5.0.0, `DelayedInit`), and the controller calls it too.
    progress: signal::Sender<Progress>,
}

/// The streams that fill [`Caches`].
pub struct Watches {
    /// Fleets.
    pub fleets: Touched<GuardedFleet>,
    /// Connections.
    pub connections: Touched<GuardedConnection>,
    /// Connections of the cluster; never yields if `--cluster-connections` is off.
    pub cluster_connections: Touched<GuardedClusterConnection>,
    /// Deployments.
    pub deployments: Touched<Deployment>,
    /// Pods.
    pub pods: Touched<Pod>,
    /// Autoscalers.
    pub autoscalers: Touched<HorizontalPodAutoscaler>,
}

/// Makes the caches of a scope and the streams that fill them; `cluster_connections`: whether those
/// of the cluster are among them. Calls `gone` for fleets that were deleted, and after each relist
/// with the fleets that remain.
pub fn watch(
    client: &Client,
    scope: &Scope,
    metrics: &Metrics,
    cluster_connections: bool,
    gone: impl Fn(Gone<'_>) + Send + Sync + 'static,
) -> (Caches, Watches) {
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    let ours = all.clone().labels(well_known::WORKER_LABEL);
    let (fleets, fleet_writer) = store();
    let (connections, connection_writer) = store();
    let (autoscalers, autoscaler_writer) = store();
    let (deployments, mut deployment_filling) = indexed(owner_of);
    let (pods, mut pod_filling) = indexed(worker_of);
    let ended_workers = EndedWorkers::default();
    let ended = ended_workers.clone();
    let (progress, _) = signal::channel(Progress::new());
    let reader = fleets.clone();
    let fleet_events = reflector(
        fleet_writer,
        watched::<GuardedFleet>(scope.api(client), &all)
            .modify(|fleet| fleet.meta_mut().managed_fields = None),
    )
    .inspect(move |event| match event {
        Ok(Event::Delete(fleet)) => gone(Gone::Deleted(fleet)),
        Ok(Event::InitDone) => gone(Gone::AllBut(&reader)),
        Ok(_) | Err(_) => {}
    });
    let connection_events = reflector(
        connection_writer,
        watched::<GuardedConnection>(scope.api(client), &all)
            .modify(|connection| connection.meta_mut().managed_fields = None),
    );
    let (cluster_connections, cluster_connections_touched) = if cluster_connections {
        let (cache, writer) = store();
        let events = reflector(
            writer,
            watched::<GuardedClusterConnection>(Api::all(client.clone()), &all)
                .modify(|connection| connection.meta_mut().managed_fields = None),
        );
        (Some(cache), touched(metrics, &progress, events))
    } else {
        (None, streams::pending().boxed())
    };
    let autoscaler_events = reflector(
        autoscaler_writer,
        watched::<HorizontalPodAutoscaler>(scope.api(client), &all).modify(prune_autoscaler),
    );
    let deployment_events = watched::<Deployment>(scope.api(client), &ours)
        .modify(|deployment| keep_owners_of_replicas(&mut deployment.metadata))
        .inspect_ok(move |event| deployment_filling.apply_watcher_event(event));
    let pod_events = watched::<Pod>(scope.api(client), &ours)
        .modify(move |pod| {
            ended.keep(pod);
            prune_pod(pod);
        })
        .inspect_ok(move |event| pod_filling.apply_watcher_event(event));
    let watches = Watches {
        fleets: touched(metrics, &progress, fleet_events),
        connections: touched(metrics, &progress, connection_events),
        cluster_connections: cluster_connections_touched,
        deployments: touched(metrics, &progress, deployment_events),
        pods: touched(metrics, &progress, pod_events),
        autoscalers: touched(metrics, &progress, autoscaler_events),
    };
    let caches = Caches {
        fleets,
        connections,
        cluster_connections,
        deployments,
        pods,
        autoscalers,
        ended_workers,
        progress,
    };
    (caches, watches)
}

/// The events of the watch of one kind.
fn watched<K>(
    objects: Api<K>,
    config: &watcher::Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Watched<DynamicType = ()>,
{
    paced(kube::runtime::watcher(objects, config.clone()))
}

/// Which fleets are gone.
pub enum Gone<'a> {
    /// This fleet was deleted.
    Deleted(&'a GuardedFleet),
    /// A relist ended: every fleet that is not in the cache now is gone.
    AllBut(&'a Store<GuardedFleet>),
}

impl Caches {
    /// Sets whether the scope can be watched.
    pub fn set_access(&self, access: &WatchAccess) {
        self.progress.send_if_modified(|progress| {
            let other = progress.access != *access;
            progress.access.clone_from(access);
            other
        });
    }

    /// The current progress and its later changes.
    pub fn progress(&self) -> signal::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether every cache has been filled once.
    pub fn are_filled(&self) -> bool {
        self.progress.borrow().missing().is_empty()
    }

    /// Waits until every cache has been filled once.
    pub async fn filled(&self) {
        self.until(|progress| progress.missing().is_empty()).await;
    }

    /// Waits until every cache has been filled once, or the API server says that they cannot be.
    pub async fn settled(&self) {
        self.until(Progress::is_settled).await;
    }

    async fn until(&self, reached: impl Fn(&Progress) -> bool) {
        // `self` holds the sender, so the channel is open.
        let reached = self.progress().wait_for(reached).await.is_ok();
        debug_assert!(reached, "the sender is alive");
    }

    /// Whether there is nothing to wait for: every cache has been filled once, or the API server
    /// says that they cannot be.
    pub fn are_settled(&self) -> bool {
        self.progress.borrow().is_settled()
    }

    /// A `ClusterTemporalConnection` by its name.
    pub fn cluster_connection(&self, name: &str) -> FoundClusterConnection {
        let Some(cache) = &self.cluster_connections else {
            return FoundClusterConnection::Off;
        };
        let kind = GuardedClusterConnection::KIND;
        let progress = self.progress.borrow();
        if progress.filled.contains(kind) {
            let found = cache.get(&ObjectRef::new(name));
            return found.map_or(
                FoundClusterConnection::Missing,
                FoundClusterConnection::Found,
            );
        }
        let refused = progress.refused.get(kind).cloned();
        refused.map_or(
            FoundClusterConnection::NotListed,
            FoundClusterConnection::Refused,
        )
    }

    /// The fleets that refer to a connection in this namespace, or of the cluster.
    pub fn fleets_with_connection(
        &self,
        connection: &ConnectionReference,
        namespace: Option<&str>,
    ) -> Vec<ObjectRef<GuardedFleet>> {
        let refers = |fleet: &GuardedFleet| {
            let named = fleet.0.as_ref().ok();
            let named = named.and_then(|fleet| fleet.spec.connection_ref.as_ref());
            named == Some(connection)
                && (namespace.is_none() || fleet.meta().namespace.as_deref() == namespace)
        };
        self.fleets
            .state_filter(refers)
            .iter()
            .map(|fleet| ObjectRef::from_obj(fleet.as_ref()))
            .collect()
    }
}

/// The result of the search for a `ClusterTemporalConnection`.
#[derive(Debug)]
pub enum FoundClusterConnection {
    /// It exists.
    Found(Arc<GuardedClusterConnection>),
    /// It does not exist.
    Missing,
    /// Not known: the API server has not answered yet.
    NotListed,
    /// Not known: the API server refuses to list them.
    Refused(Refusal),
    /// Not known: `--cluster-connections` is off.
    Off,
}

/// The fleets whose workload an autoscaler scales: those that name it in a scaleTargetRef, and the
/// one that owns it.
pub fn fleets_of_autoscaler(
    caches: &Caches,
    autoscaler: &HorizontalPodAutoscaler,
) -> Vec<ObjectRef<GuardedFleet>> {
    let namespace = autoscaler.metadata.namespace.as_deref().unwrap_or_default();
    let name = &autoscaler.spec.scale_target_ref.name;
    let deployment = caches
        .deployments
        .get(&ObjectRef::new(name).within(namespace));
    let owner = deployment.and_then(|deployment| {
        let labels = deployment.metadata.labels.as_ref()?;
        let fleet = labels.get(well_known::WORKER_LABEL)?;
        Some(ObjectRef::new(fleet).within(namespace))
    });
    let named = caches.fleets.state_filter(|fleet| {
        fleet.meta().namespace.as_deref() == Some(namespace)
            && fleet.0.as_ref().is_ok_and(|fleet| {
                let mut targets = fleet
                    .spec
                    .queues
                    .iter()
                    .flat_map(|queue| &queue.scale_target_ref);
                targets.any(|target| target.name == *name)
            })
    });
    let named = named
        .iter()
        .map(|fleet| ObjectRef::from_obj(fleet.as_ref()));
    owner.into_iter().chain(named).collect()
}

/// The uid of the fleet that owns a Deployment.
fn owner_of(deployment: &Deployment) -> Option<String> {
    let mut owners = deployment.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    owner.map(|owner| owner.uid.clone())
}

/// The fleets that own a Deployment.
pub fn owners_of(deployment: &Deployment) -> impl Iterator<Item = ObjectRef<GuardedFleet>> {
    let namespace = deployment.metadata.namespace.as_deref();
    let owners = deployment.metadata.owner_references.iter().flatten();
    owners.filter_map(move |owner| ObjectRef::from_owner_ref(namespace, owner, ()))
}

/// The key that finds the pods of a fleet: they carry its name as a label.
pub fn worker_key(namespace: &str, fleet: &str) -> String {
    format!("{namespace}/{fleet}")
}

/// The [`worker_key`] of a pod, from its labels.
pub(crate) fn worker_of(pod: &Pod) -> Option<String> {
    let fleet = pod
        .metadata
        .labels
        .as_ref()?
        .get(well_known::WORKER_LABEL)?;
    Some(worker_key(pod.metadata.namespace.as_deref()?, fleet))
}

/// The fleet that a pod belongs to, by its labels.
pub fn fleet_of_pod(pod: &Pod) -> Option<ObjectRef<GuardedFleet>> {
    let name = pod
        .metadata
        .labels
        .as_ref()?
        .get(well_known::WORKER_LABEL)?;
    Some(ObjectRef::new(name).within(pod.metadata.namespace.as_deref()?))
}

/// Fills caches by hand, for tests.
#[cfg(test)]
pub(crate) struct Filler {
    pub(crate) fleets: reflector::store::Writer<GuardedFleet>,
    pub(crate) deployments: Filling<Deployment>,
    pub(crate) connections: reflector::store::Writer<GuardedConnection>,
    pub(crate) cluster_connections: reflector::store::Writer<GuardedClusterConnection>,
    pub(crate) autoscalers: reflector::store::Writer<HorizontalPodAutoscaler>,
    _pods: Filling<Pod>,
    progress: signal::Sender<Progress>,
}

#[cfg(test)]
impl Filler {
    /// Caches that count as filled, and their filler.
    pub(crate) fn new() -> (Caches, Self) {
        let (fleets, fleet_writer) = store();
        let (connections, connection_writer) = store();
        let (cluster_connections, cluster_connection_writer) = store();
        let (deployments, deployment_filling) = indexed(owner_of);
        let (autoscalers, autoscaler_writer) = store();
        let (pods, pod_filling) = indexed(worker_of);
        let (progress, _) = signal::channel(Progress {
            access: WatchAccess::Granted,
            filled: KINDS.into_iter().collect(),
            refused: BTreeMap::new(),
        });
        let by_hand = Self {
            fleets: fleet_writer,
            deployments: deployment_filling,
            connections: connection_writer,
            cluster_connections: cluster_connection_writer,
            autoscalers: autoscaler_writer,
            _pods: pod_filling,
            progress: progress.clone(),
        };
        let caches = Caches {
            fleets,
            connections,
            cluster_connections: Some(cluster_connections),
            deployments,
            pods,
            autoscalers,
            ended_workers: EndedWorkers::default(),
            progress,
        };
        (caches, by_hand)
    }

    /// Sets whether the caches count as filled.
    pub(crate) fn set_filled(&self, filled: bool) {
        let kinds = KINDS.into_iter().filter(|_| filled).collect();
        self.progress
            .send_modify(|progress| progress.filled = kinds);
    }

    /// Says that the connections of the cluster have been listed, or how the API server refuses it.
    pub(crate) fn set_cluster_connections(&self, listed: Result<(), Refusal>) {
        let kind = GuardedClusterConnection::KIND;
        self.progress.send_modify(|progress| match listed {
            Ok(()) => {
                progress.filled.insert(kind);
            }
            Err(refusal) => {
                progress.refused.insert(kind, refusal);
            }
        });
    }

    /// Sets whether the scope can be watched.
    pub(crate) fn set_access(&self, access: WatchAccess) {
        self.progress
            .send_modify(|progress| progress.access = access);
    }
}

#[cfg(test)]
mod tests;
