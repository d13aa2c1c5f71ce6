//! Watches the API server and fills caches. Reads only.
//!
//! There is one set of caches per scope: the whole cluster, or one namespace of the list.

mod index;
mod prune;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, reflector};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use taskqueue_api::well_known;
use taskqueue_api::{TaskQueueWorker, TemporalConnection};
use tokio::sync::watch as signal;
use tracing::warn;

use crate::kube_error::describe_watch;
use crate::metrics::Metrics;
use crate::observe::drains::LastWords;

#[cfg(test)]
use index::Filling;
pub use index::Indexed;
use index::indexed;
pub use prune::keep_owners_of_replicas;
use prune::prune_pod;

/// A watched fleet. A malformed one is a value, so that it cannot stop the watch.
pub type GuardedFleet = DeserializeGuard<TaskQueueWorker>;
/// A watched connection, or why it is malformed.
pub type GuardedConnection = DeserializeGuard<TemporalConnection>;

/// Which namespaces a set of caches covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every namespace.
    Cluster,
    /// One namespace.
    Namespace(String),
}

impl Scope {
    /// The scopes for a list of namespaces; an empty list means every namespace.
    pub fn all(namespaces: &[String]) -> Vec<Self> {
        if namespaces.is_empty() {
            return vec![Self::Cluster];
        }
        let mut names = namespaces.to_vec();
        names.sort();
        names.dedup();
        names.into_iter().map(Self::Namespace).collect()
    }

    /// Whether the scope includes `namespace`.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Namespace(name) => name == namespace,
        }
    }

    /// The API for a kind of object within the scope.
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        match self {
            Self::Cluster => Api::all(client.clone()),
            Self::Namespace(name) => Api::namespaced(client.clone(), name),
        }
    }
}

/// The caches of one scope.
#[derive(Clone)]
pub struct Caches {
    /// The fleets.
    pub fleets: Store<GuardedFleet>,
    /// The connections that fleets may refer to.
    pub connections: Store<GuardedConnection>,
    /// The Deployments with our label, by the uid of the fleet that owns them.
    pub deployments: Indexed<Deployment>,
    /// The pods with our label, by [`worker_key`].
    pub pods: Indexed<Pod>,
    /// How the workers of draining pods ended.
    pub last_words: LastWords,
    /// How far the caches are filled.
    ///
    /// A channel of our own, because several tasks wait for it: `Store::wait_until_ready` wakes
    /// only its last caller (kube-runtime 5.0.0, `DelayedInit`), and the controller calls it too.
    progress: signal::Sender<Progress>,
}

/// Whether a scope can be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It can.
    Clear,
    /// The API server answers that it cannot, with the reason.
    Denied(String),
    /// Not known, with the reason.
    Unknown(String),
}

/// How far the caches of a scope are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whether the scope can be watched.
    pub sight: Sight,
    /// The kinds whose cache has been filled.
    filled: BTreeSet<&'static str>,
}

impl Progress {
    fn new() -> Self {
        Self {
            sight: Sight::Unknown("checking whether the resources can be watched".to_owned()),
            filled: BTreeSet::new(),
        }
    }

    /// The kinds whose cache has not been filled yet.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = KINDS.into_iter();
        kinds.filter(|kind| !self.filled.contains(kind)).collect()
    }

    /// Whether there is nothing to wait for: all caches are filled, or the API server says that
    /// they cannot be.
    fn is_settled(&self) -> bool {
        self.missing().is_empty() || matches!(self.sight, Sight::Denied(_))
    }
}

/// The watched kinds, as metrics and logs name them.
const KINDS: [&str; 4] = ["TaskQueueWorker", "TemporalConnection", "Deployment", "Pod"];

/// A stream of touched objects that keeps their cache filled while it is polled. Failures do not
/// reach it: they are counted and logged, and the watch retries by itself.
pub type Touched<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// The streams that fill [`Caches`].
pub struct Watches {
    /// Fleets.
    pub fleets: Touched<GuardedFleet>,
    /// Connections.
    pub connections: Touched<GuardedConnection>,
    /// Deployments.
    pub deployments: Touched<Deployment>,
    /// Pods.
    pub pods: Touched<Pod>,
}

/// How long one watch lasts, in seconds. The next one continues where it ended. An API server that
/// hangs while its machine still acknowledges packets is detected only when a watch has been silent
/// for 5 s longer: with kube's default of 290 s, no change would be seen until then.
const WATCH_SECONDS: u32 = 20;

/// Makes the caches of a scope and the streams that fill them. Calls `gone` for fleets that were
/// deleted, and after each relist with the fleets that remain.
pub fn watch(
    client: &Client,
    scope: &Scope,
    metrics: &Metrics,
    gone: impl Fn(Gone<'_>) + Send + Sync + 'static,
) -> (Caches, Watches) {
    let all = watcher::Config::default().timeout(WATCH_SECONDS);
    let ours = all.clone().labels(well_known::WORKER_LABEL);
    let (fleets, fleet_writer) = store();
    let (connections, connection_writer) = store();
    let (deployments, mut deployment_filling) = indexed(owner_of);
    let (pods, mut pod_filling) = indexed(worker_of);
    let last_words = LastWords::default();
    let said = last_words.clone();
    let (progress, _) = signal::channel(Progress::new());
    let reader = fleets.clone();
    let fleet_events = reflector(
        fleet_writer,
        kube::runtime::watcher(scope.api::<GuardedFleet>(client), all.clone())
            .modify(|fleet| fleet.meta_mut().managed_fields = None)
            .backoff(pauses()),
    )
    .inspect(move |event| match event {
        Ok(Event::Delete(fleet)) => gone(Gone::Deleted(fleet)),
        Ok(Event::InitDone) => gone(Gone::AllBut(&reader)),
        Ok(_) | Err(_) => {}
    });
    let connection_events = reflector(
        connection_writer,
        kube::runtime::watcher(scope.api::<GuardedConnection>(client), all)
            .modify(|connection| connection.meta_mut().managed_fields = None)
            .backoff(pauses()),
    );
    let deployment_events = kube::runtime::watcher(scope.api::<Deployment>(client), ours.clone())
        .modify(|deployment| keep_owners_of_replicas(&mut deployment.metadata))
        .backoff(pauses())
        .inspect_ok(move |event| deployment_filling.apply_watcher_event(event));
    let pod_events = kube::runtime::watcher(scope.api::<Pod>(client), ours)
        .modify(move |pod| {
            said.keep(pod);
            prune_pod(pod);
        })
        .backoff(pauses())
        .inspect_ok(move |event| pod_filling.apply_watcher_event(event));
    let watches = Watches {
        fleets: touched(KINDS[0], metrics, &progress, fleet_events),
        connections: touched(KINDS[1], metrics, &progress, connection_events),
        deployments: touched(KINDS[2], metrics, &progress, deployment_events),
        pods: touched(KINDS[3], metrics, &progress, pod_events),
    };
    let caches = Caches {
        fleets,
        connections,
        deployments,
        pods,
        last_words,
        progress,
    };
    (caches, watches)
}

/// The objects that a watch reports, once they are in their cache.
fn touched<K>(
    kind: &'static str,
    metrics: &Metrics,
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> Touched<K>
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
{
    quiet(
        kind,
        metrics,
        filling(kind, progress, events).touched_objects(),
    )
}

/// Backoff of a failing watch. kube's own grows to 30 s; for that long after an outage the operator
/// would work with outdated objects.
fn pauses() -> ResetTimerBackoff<Doubling> {
    ResetTimerBackoff::new(Doubling(0), Duration::from_mins(2))
}

/// Half a second, doubled each time, up to 8 s.
struct Doubling(u32);

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(500).saturating_mul(1 << self.0);
        self.0 = (self.0 + 1).min(4);
        Some(pause)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.0 = 0;
    }
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
    pub fn see(&self, sight: &Sight) {
        self.progress.send_if_modified(|progress| {
            let other = progress.sight != *sight;
            progress.sight.clone_from(sight);
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

    /// The fleets that refer to a connection.
    pub fn fleets_with_connection(
        &self,
        namespace: &str,
        name: &str,
    ) -> Vec<ObjectRef<GuardedFleet>> {
        let refers = |fleet: &GuardedFleet| {
            fleet.meta().namespace.as_deref() == Some(namespace)
                && fleet.0.as_ref().is_ok_and(|fleet| {
                    fleet
                        .spec
                        .connection_ref
                        .as_ref()
                        .is_some_and(|to| to.name == name)
                })
        };
        self.fleets
            .state_filter(refers)
            .iter()
            .map(|fleet| ObjectRef::from_obj(fleet.as_ref()))
            .collect()
    }
}

/// The uid of the fleet that owns a Deployment.
fn owner_of(deployment: &Deployment) -> Option<String> {
    let mut owners = deployment.metadata.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true));
    owner.map(|owner| owner.uid.clone())
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

/// Records when a cache has been filled; by then the events have passed the reflector.
fn filling<K>(
    kind: &'static str,
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: 'static,
{
    let progress = progress.clone();
    events.inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            progress.send_if_modified(|progress| progress.filled.insert(kind));
        }
    })
}

/// Counts and logs the failures of a watch and removes them from the stream. There an error would
/// slow down every other watch of the controller, and each watch already backs off by itself.
fn quiet<K>(
    kind: &'static str,
    metrics: &Metrics,
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> Touched<K>
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + 'static,
{
    let metrics = metrics.clone();
    stream
        .filter_map(move |item| {
            if let Err(error) = &item {
                metrics.watch_error(kind);
                warn!(
                    kind,
                    error = describe_watch(error),
                    "a watch failed; retrying"
                );
            }
            futures::future::ready(item.ok().map(Ok))
        })
        .boxed()
}

/// Fills caches by hand, for tests.
#[cfg(test)]
pub(crate) struct Filler {
    pub(crate) fleets: reflector::store::Writer<GuardedFleet>,
    pub(crate) deployments: Filling<Deployment>,
    pub(crate) connections: reflector::store::Writer<GuardedConnection>,
    _pods: Filling<Pod>,
    progress: signal::Sender<Progress>,
}

#[cfg(test)]
impl Filler {
    /// Caches that count as filled, and their filler.
    pub(crate) fn new() -> (Caches, Self) {
        let (fleets, fleet_writer) = store();
        let (connections, connection_writer) = store();
        let (deployments, deployment_filling) = indexed(owner_of);
        let (pods, pod_filling) = indexed(worker_of);
        let (progress, _) = signal::channel(Progress {
            sight: Sight::Clear,
            filled: KINDS.into_iter().collect(),
        });
        let by_hand = Self {
            fleets: fleet_writer,
            deployments: deployment_filling,
            connections: connection_writer,
            _pods: pod_filling,
            progress: progress.clone(),
        };
        let caches = Caches {
            fleets,
            connections,
            deployments,
            pods,
            last_words: LastWords::default(),
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

    /// Sets whether the scope can be watched.
    pub(crate) fn see(&self, sight: Sight) {
        self.progress.send_modify(|progress| progress.sight = sight);
    }
}

#[cfg(test)]
mod tests;
