//! What passes work with: the parts that all of them share, and the caches of one scope.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::core::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::{FleetKey, validate};
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::OnceCell;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;

use crate::apply::Writer;
use crate::caches::Caches;
use crate::clock::Clock;
use crate::fleets::{Fleets, key_of, owner_of};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::observe::secrets::Secrets;
use crate::observe::targets::Targets;
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::observe::{Sources, connection};
use crate::report::{Reports, Subject};
use crate::scrape::Scrapers;

/// How long a scope that starts waits for the caches of the other scopes.
pub(super) const SETTLING: Duration = Duration::from_secs(30);

/// What every pass in the process shares.
pub struct Shared {
    /// The clocks.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// The readers of Temporal.
    pub readers: Readers,
    /// The readers of the pods' own metrics.
    pub scrapers: Scrapers,
    /// The cache of Secrets.
    pub secrets: Secrets,
    /// The operator's own namespace.
    pub own_namespace: String,
    /// The cache of workloads that somebody else deploys.
    pub targets: Targets,
    /// Which fleet owns which task queue.
    pub task_queue_owners: TaskQueueOwners,
    /// The writer of owned objects.
    pub writer: Writer,
    /// The writer of status and Events.
    pub reports: Reports,
    /// The state of each fleet.
    pub fleets: Fleets,
    /// Whether this process may write now.
    pub leading: Leading,
    /// Takes the fleets that need a pass.
    pub requeue: UnboundedSender<OwnerKey>,
}

/// What the passes of one scope work with.
pub struct Context {
    /// What is shared with the other scopes.
    pub shared: Arc<Shared>,
    /// The watch caches.
    pub caches: Caches,
    /// The watch caches of every scope.
    everywhere: Arc<[Caches]>,
    started: OnceCell<()>,
}

impl Shared {
    /// Notes after how long the next pass of a fleet is due.
    pub(super) fn due(&self, metadata: &ObjectMeta, after: Duration) {
        let at = self.clock.now().monotonic.plus(after);
        self.metrics.work_queue().due(&owner_of(metadata), at);
    }

    /// Notes that an event asks for a pass of a fleet.
    pub fn asked(&self, fleet: OwnerKey) {
        let now = self.clock.now().monotonic;
        self.metrics.work_queue().asked(fleet, now);
    }

    /// Drops everything known about a fleet that is gone.
    pub fn forget(&self, metadata: &ObjectMeta) {
        self.forget_key(&key_of(metadata));
    }

    /// Drops everything known about the fleets that do not exist according to `exists`.
    pub fn forget_all_but(&self, exists: impl Fn(&FleetKey) -> bool) {
        for key in &self.fleets.gone(exists) {
            self.forget_key(key);
        }
    }

    fn forget_key(&self, key: &FleetKey) {
        self.fleets.remove(key, || {
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            let owner = OwnerKey { namespace, name };
            self.metrics.forget(&owner);
            self.metrics.work_queue().forget(&owner);
            self.readers.forget(&owner);
            self.scrapers.forget(&owner);
        });
        self.task_queue_owners.forget(key);
    }

    /// Registers the task queues of every fleet of a scope. If a spec is unusable, for example
    /// after a bad edit, registers those that its Deployments were made for, because these still
    /// run.
    fn register_all(&self, caches: &Caches) {
        for object in caches.fleets.state() {
            let subject = Subject::of(&object);
            let key = key_of(subject.metadata);
            let fleet = object
                .0
                .as_ref()
                .ok()
                .and_then(|resource| validate(resource).ok());
            let spec = fleet
                .as_ref()
                .and_then(|fleet| Some((fleet, connection::spec(fleet, caches).ok()?)));
            let created = created(subject.metadata);
            if let Some((fleet, spec)) = spec {
                self.task_queue_owners.register(fleet, created, &spec);
            } else {
                let made = caches.deployments.of(&key.uid);
                let made = made.iter().map(AsRef::as_ref);
                self.task_queue_owners.register_as_made(&key, created, made);
            }
        }
    }
}

impl Context {
    /// A context over the caches of one scope; `everywhere` holds those of all scopes.
    pub fn new(shared: Arc<Shared>, caches: Caches, everywhere: Arc<[Caches]>) -> Self {
        Self {
            shared,
            caches,
            everywhere,
            started: OnceCell::new(),
        }
    }

    /// Waits, once, until the caches of this scope and of every other scope that can be watched are
    /// filled, and then registers the task queues of every fleet. Without that, the first of two
    /// rivals after a restart would not know of the other. Does not wait for a scope that cannot be
    /// watched or takes too long.
    pub async fn started(&self) {
        let all = async {
            self.caches.filled().await;
            let others = self.everywhere.iter().map(Caches::settled);
            let others = tokio::time::timeout(SETTLING, join_all(others));
            if others.await.is_err() {
                warn!(
                    "the caches of other namespaces are not filled in time; continuing without \
                     the task queues of their fleets"
                );
            }
            for caches in self.everywhere.iter().filter(|caches| caches.are_filled()) {
                self.shared.register_all(caches);
            }
        };
        self.started.get_or_init(|| all).await;
    }

    /// Whether this very fleet still exists, and not another one of its name.
    pub fn exists(&self, metadata: &ObjectMeta) -> bool {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
        let there = self.caches.fleets.get(&reference.within(namespace));
        there.is_some_and(|object| Subject::of(&object).metadata.uid == metadata.uid)
    }

    /// The sources that a pass observes.
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            caches: &self.caches,
            secrets: &self.shared.secrets,
            own_namespace: &self.shared.own_namespace,
            targets: &self.shared.targets,
            readers: &self.shared.readers,
            scrapers: &self.shared.scrapers,
            task_queue_owners: &self.shared.task_queue_owners,
        }
    }
}

/// When an object was created; the Unix epoch if it does not say.
pub(super) fn created(metadata: &ObjectMeta) -> Timestamp {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}
