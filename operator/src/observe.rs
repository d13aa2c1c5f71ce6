//! Reads all input of a pass before anything is decided. Reads only.
//!
//! Deployments, pods and connections come from the watch caches, Secrets from `get`, Temporal's
//! numbers from the readers, and the pods' own numbers from the scrapers. Readers and scrapers have
//! their own schedule, so a pass costs Temporal and the pods nothing.

pub mod connection;
pub mod deployment;
pub mod drains;
pub mod ended_workers;
pub mod pods;
pub mod scalers;
pub mod secrets;
pub mod shared_reads;
pub mod targets;
pub mod task_queue_owners;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::{Connection, Fleet, FleetKey, Queue, well_known};
use taskqueue_scaling::{Reading, Slots, Time, UnknownReason};
use taskqueue_temporal::{OwnerKey, QueueReading, QueueWatch, Readers, slots};

use crate::caches::{self, Caches};
use crate::clock::Moment;
use crate::not_ready::NotReady;
use crate::observe::connection::Usable;
use crate::observe::connection::parts::{self, Namespaces};
use crate::observe::pods::Pods;
use crate::observe::secrets::Secrets;
use crate::observe::targets::{ReadTarget, Target, Targets};
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::owned::{owned_by, spec_replicas};
use crate::scrape::{self, Scraped, Scrapers};

/// The sources of observations.
pub struct Sources<'a> {
    /// The watch caches of the fleet's scope.
    pub caches: &'a Caches,
    /// Secrets by name.
    pub secrets: &'a Secrets,
    /// The operator's own namespace.
    pub own_namespace: &'a str,
    /// Workloads that somebody else deploys.
    pub targets: &'a Targets,
    /// Temporal's numbers.
    pub readers: &'a Readers,
    /// The pods' own numbers.
    pub scrapers: &'a Scrapers,
    /// Which fleet owns which task queue.
    pub task_queue_owners: &'a TaskQueueOwners,
}

/// The input of one pass.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The connection, or why there is none.
    pub connection: Result<Usable, NotReady>,
    /// The queues of the spec, by name.
    pub queues: BTreeMap<String, ObservedQueue>,
    /// Deployments of this fleet that belong to no queue of the spec.
    pub orphans: Vec<Arc<Deployment>>,
    /// How soon a Secret of the connection must be read again; `None` if it names none.
    pub secrets_due: Option<Duration>,
}

impl Observed {
    /// The fleet with the grace periods that the pods of its targets have.
    pub fn with_graces<'a>(&self, fleet: &'a Fleet) -> Cow<'a, Fleet> {
        let mut fleet = Cow::Borrowed(fleet);
        for (name, seen) in &self.queues {
            let Some(grace) = seen.target().and_then(Target::grace) else {
                continue;
            };
            let mut queues = fleet.to_mut().queues.iter_mut();
            if let Some(queue) = queues.find(|queue| queue.name == *name) {
                queue.policy.drain_grace_period = grace;
            }
        }
        fleet
    }
}

/// Everything known about one queue.
#[derive(Debug, Clone)]
pub struct ObservedQueue {
    /// Its Deployment, if it exists and is ours.
    pub existing: Option<Arc<Deployment>>,
    /// Whether the API server was asked and has no such Deployment. Otherwise a Deployment that is
    /// missing from the cache may still exist.
    pub gone: bool,
    /// Its pods.
    pub pods: Pods,
    /// The latest readings from Temporal.
    pub reading: QueueReading,
    /// The slots in use in its workers, joined with the pods.
    pub slots: Reading<Slots>,
    /// The results of scraping its pods, if they are scraped.
    pub scraped: Option<Scraped>,
    /// An older fleet that owns the same task queue.
    pub rival: Option<FleetKey>,
    /// Its target, or why it cannot be read; `None` if the queue has a Deployment of ours.
    pub target: Option<ReadTarget>,
    /// What else scales its workload, by kind and name.
    pub scaled_by: Option<String>,
}

impl ObservedQueue {
    /// Whether it has a target that cannot be read, so that its replicas are unknown.
    pub fn is_unread(&self) -> bool {
        self.target.as_ref().is_some_and(Result::is_err)
    }

    /// Its target, if it has one that could be read.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()?.as_deref().ok()
    }
}

/// Reads everything about a fleet whose object was created at `created`.
pub async fn observe(
    sources: &Sources<'_>,
    fleet: &Fleet,
    created: Timestamp,
    now: Moment,
) -> Observed {
    let spec = connection::spec(fleet, sources.caches);
    let rivals = match &spec {
        Ok(spec) => sources.task_queue_owners.register(fleet, created, spec),
        Err(_) => BTreeMap::new(),
    };
    let owner = owner_of(fleet);
    let (connection, secrets_due) = match spec {
        Ok(spec) => resolve_connection(sources, fleet, &owner, &spec, now.monotonic).await,
        Err(why) => (Err(why), None),
    };
    let pods = pods_by_queue(fleet, sources.caches);
    let targets = sources.targets.read(fleet, now.monotonic).await;
    let gone = sources
        .caches
        .ended_workers
        .take(&fleet.key.namespace, &fleet.key.name);
    let existing: BTreeMap<&str, Existing> = fleet
        .queues
        .iter()
        .map(|queue| {
            (
                queue.name.as_str(),
                match targets.get(&queue.name) {
                    Some(target) => of_target(target, now),
                    None => existing(sources, fleet, queue, &pods, now),
                },
            )
        })
        .collect();
    watch_queues(sources, fleet, &owner, connection.as_ref().ok(), &existing);
    let queues = fleet.queues.iter().filter_map(|queue| {
        let mut existing = existing.get(queue.name.as_str())?.clone();
        let ours = gone.iter().filter(|(of, _)| *of == queue.name);
        existing.pods.gone = ours.map(|(_, draining)| draining.clone()).collect();
        let others = Others {
            rival: rivals.get(&queue.name).cloned(),
            scaled_by: scalers::competing_scaler(sources.caches, fleet, queue, created),
        };
        let seen = observe_queue(sources, &owner, queue, existing, others, now.monotonic);
        Some((queue.name.clone(), seen))
    });
    let queues: BTreeMap<String, ObservedQueue> = queues.collect();
    sources.scrapers.keep_only(&owner, |queue| {
        queues.get(queue).is_some_and(|seen| seen.scraped.is_some())
    });
    Observed {
        connection,
        queues,
        orphans: orphans(fleet, sources.caches),
        secrets_due,
    }
}

/// Resolves the connection of a fleet. Also returns how soon one of its Secrets and ConfigMaps
/// must be read again. One that Temporal may have refused is read more often.
async fn resolve_connection(
    sources: &Sources<'_>,
    fleet: &Fleet,
    owner: &OwnerKey,
    spec: &Connection,
    now: Time,
) -> (Result<Usable, NotReady>, Option<Duration>) {
    let source = &fleet.connection;
    let namespaces = Namespaces::of(source, &fleet.key.namespace, sources.own_namespace);
    let objects = parts::objects(spec, &namespaces);
    let doubtful = !objects.is_empty()
        && fleet.queues.iter().any(|queue| {
            let reading = sources.readers.reading(owner, &queue.name);
            reading.backlog_failure.is_some() || reading.workers_failure.is_some()
        });
    let secrets = sources.secrets;
    let resolved = connection::resolve(secrets, &namespaces, source, spec, doubtful, now).await;
    let due = secrets.due(objects.keys(), doubtful, now);
    (resolved, due)
}

/// Sets what the readers read about the fleet; nothing without a connection.
fn watch_queues(
    sources: &Sources<'_>,
    fleet: &Fleet,
    owner: &OwnerKey,
    connection: Option<&Usable>,
    existing: &BTreeMap<&str, Existing>,
) {
    match connection {
        Some(usable) => sources
            .readers
            .watch(owner, &usable.resolved, &watches(fleet, existing)),
        None => sources.readers.forget(owner),
    }
}

/// Who else handles a queue.
struct Others {
    /// See [`ObservedQueue::rival`].
    rival: Option<FleetKey>,
    /// See [`ObservedQueue::scaled_by`].
    scaled_by: Option<String>,
}

/// Reads the numbers of one queue and joins them with its pods.
fn observe_queue(
    sources: &Sources<'_>,
    owner: &OwnerKey,
    queue: &Queue,
    existing: Existing,
    others: Others,
    now: Time,
) -> ObservedQueue {
    let Existing {
        deployment,
        pods,
        target,
    } = existing;
    let reading = reading(sources.readers, owner, queue, now);
    let reported = slots(&reading.workers, &pods.live, &queue.task_queue, now);
    let scraped = needs_scraping(&reported)
        .then(|| scrape(sources.scrapers, owner, queue, &pods, now))
        .flatten();
    let slots = match &scraped {
        Some(scraped) => scraped.slots.clone(),
        None => reported,
    };
    ObservedQueue {
        existing: deployment,
        gone: false,
        pods,
        reading,
        slots: slots.unless_older_than(queue.policy.longest_gap(), now),
        scraped,
        rival: others.rival,
        target,
        scaled_by: others.scaled_by,
    }
}

/// The readings of a queue; a backlog that is too old to act on becomes unknown.
fn reading(readers: &Readers, owner: &OwnerKey, queue: &Queue, now: Time) -> QueueReading {
    let reading = readers.reading(owner, &queue.name);
    QueueReading {
        backlog: reading
            .backlog
            .unless_older_than(queue.policy.longest_gap(), now),
        ..reading
    }
}

/// Whether heartbeats leave the slots unknown. Right after a start nothing has been read yet, which
/// does not count.
fn needs_scraping(reported: &Reading<Slots>) -> bool {
    reported
        .unknown()
        .is_some_and(|reason| reason != UnknownReason::NotReadYet)
}

/// Scrapes the pods' own metrics, if the queue names a port for them.
fn scrape(
    scrapers: &Scrapers,
    owner: &OwnerKey,
    queue: &Queue,
    pods: &Pods,
    now: Time,
) -> Option<Scraped> {
    let target = scrape::Target {
        task_queue: queue.task_queue.clone(),
        port: queue.metrics_port?,
        interval: queue.policy.polling_interval,
        pods: pods.addresses.clone(),
    };
    Some(scrapers.scrape(owner, &queue.name, target, &pods.live, now))
}

/// The key under which the readers know a fleet.
pub fn owner_of(fleet: &Fleet) -> OwnerKey {
    OwnerKey {
        namespace: fleet.key.namespace.clone(),
        name: fleet.key.name.clone(),
    }
}

#[derive(Clone)]
struct Existing {
    deployment: Option<Arc<Deployment>>,
    pods: Pods,
    target: Option<ReadTarget>,
}

fn of_target(target: &ReadTarget, now: Moment) -> Existing {
    let pods = |target: &Target| pods::read(&target.pods, target.worker_container(), now.wall);
    Existing {
        deployment: None,
        pods: target.as_deref().map(pods).unwrap_or_default(),
        target: Some(target.clone()),
    }
}

fn existing(
    sources: &Sources<'_>,
    fleet: &Fleet,
    queue: &Queue,
    pods: &BTreeMap<String, Vec<Arc<Pod>>>,
    now: Moment,
) -> Existing {
    let reference = ObjectRef::new(&queue.workload_name).within(&fleet.key.namespace);
    let deployment = sources.caches.deployments.get(&reference);
    let deployment = deployment.filter(|deployment| owned_by(&deployment.metadata, &fleet.key));
    let mine = pods.get(&queue.name).map(Vec::as_slice).unwrap_or_default();
    Existing {
        deployment,
        pods: pods::read(mine, &queue.pods.worker.name, now.wall),
        target: None,
    }
}

fn watches(fleet: &Fleet, existing: &BTreeMap<&str, Existing>) -> Vec<QueueWatch> {
    let watch = |queue: &Queue| {
        let has_replicas = existing.get(queue.name.as_str()).is_some_and(|existing| {
            let target = existing.target.as_ref();
            !existing.pods.live.is_empty()
                || target
                    .is_some_and(|target| !matches!(target, Ok(target) if target.replicas == 0))
                || existing
                    .deployment
                    .as_deref()
                    .is_some_and(|deployment| spec_replicas(deployment) > 0)
        });
        QueueWatch {
            queue: queue.name.clone(),
            task_queue: queue.task_queue.clone(),
            task_types: queue.task_types.iter().copied().collect(),
            generation: fleet.generation,
            polling_interval: queue.policy.polling_interval,
            quiet_polling_interval: queue.policy.quiet_polling_interval,
            queue_wait_target: queue.policy.queue_wait_target,
            has_replicas,
        }
    };
    fleet.queues.iter().map(watch).collect()
}

fn pods_by_queue(fleet: &Fleet, caches: &Caches) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut queues: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    let key = caches::worker_key(&fleet.key.namespace, &fleet.key.name);
    for pod in caches.pods.of(&key) {
        let labels = pod.metadata.labels.as_ref();
        if let Some(queue) = labels.and_then(|labels| labels.get(well_known::QUEUE_LABEL)) {
            queues.entry(queue.clone()).or_default().push(pod);
        }
    }
    queues
}

fn orphans(fleet: &Fleet, caches: &Caches) -> Vec<Arc<Deployment>> {
    let wanted = |name: &str| {
        let mut ours = fleet.queues.iter().filter(|queue| queue.target.is_none());
        ours.any(|queue| queue.workload_name == name)
    };
    let mut found = caches.deployments.of(&fleet.key.uid);
    found.retain(|deployment| {
        let metadata = &deployment.metadata;
        metadata.namespace.as_deref() == Some(&fleet.key.namespace)
            && metadata.deletion_timestamp.is_none()
            && !metadata.name.as_deref().is_some_and(wanted)
    });
    found
}
