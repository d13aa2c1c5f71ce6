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
use crate::fleets::{Fleets, key_of};
use crate::leading::Leading;
use crate::metrics::Metrics;
use crate::observe::secrets::Secrets;
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::observe::{Sources, connection};
use crate::report::{Reports, Subject};
use crate::scrape::Scrapers;

/// How long the start of one scope waits for the task queues of another one's fleets.
pub(super) const SETTLING: Duration = Duration::from_secs(30);

/// What every pass in the process shares.
pub struct Shared {
    /// The clocks.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// Temporal's numbers.
    pub readers: Readers,
    /// The pods' own numbers.
    pub scrapers: Scrapers,
    /// Secrets by name.
    pub secrets: Secrets,
    /// Which fleet owns which task queue.
    pub task_queue_owners: TaskQueueOwners,
    /// The writer of owned objects.
    pub writer: Writer,
    /// The writer of status and Events.
    pub reports: Reports,
    /// The fleets.
    pub fleets: Fleets,
    /// Whether anything may be written now.
    pub leading: Leading,
    /// Takes fleets that need a pass.
    pub requeue: UnboundedSender<OwnerKey>,
}

/// What the passes of one scope have.
pub struct Context {
    /// What is shared with the other scopes.
    pub shared: Arc<Shared>,
    /// The watch caches.
    pub caches: Caches,
    /// Those of every scope.
    everywhere: Arc<[Caches]>,
    started: OnceCell<()>,
}

impl Shared {
    /// Drops everything about a fleet that is gone.
    pub fn forget(&self, metadata: &ObjectMeta) {
        self.forget_key(&key_of(metadata));
    }

    /// Drops everything about fleets of which `exists` says that they are gone.
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
            self.readers.forget(&owner);
            self.scrapers.forget(&owner);
        });
        self.task_queue_owners.forget(key);
    }

    /// Registers the task queues of every fleet of a scope. Where the spec cannot be used, as when
    /// it was changed for the worse, those that its workers were made for: they run.
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
    /// A context over the caches of one scope, beside those of all scopes.
    pub fn new(shared: Arc<Shared>, caches: Caches, everywhere: Arc<[Caches]>) -> Self {
        Self {
            shared,
            caches,
            everywhere,
            started: OnceCell::new(),
        }
    }

    /// Waits, once, until the caches of this scope are filled, and those of every other that can be
    /// watched, and then registers the task queues of every fleet: without that, whichever of two
    /// rivals came first after a restart would believe to be alone. A scope that cannot be watched,
    /// or takes too long, is not waited for.
    pub async fn started(&self) {
        let all = async {
            self.caches.filled().await;
            let others = self.everywhere.iter().map(Caches::settled);
            let others = tokio::time::timeout(SETTLING, join_all(others));
            if others.await.is_err() {
                warn!(
                    "the other namespaces take too long: going on without what their fleets claim"
                );
            }
            for caches in self.everywhere.iter().filter(|caches| caches.are_filled()) {
                self.shared.register_all(caches);
            }
        };
        self.started.get_or_init(|| all).await;
    }

    /// Whether a fleet is still there, and no other of its name.
    pub fn exists(&self, metadata: &ObjectMeta) -> bool {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
        let there = self.caches.fleets.get(&reference.within(namespace));
        there.is_some_and(|object| Subject::of(&object).metadata.uid == metadata.uid)
    }

    /// Where a pass observes.
    pub fn sources(&self) -> Sources<'_> {
        Sources {
            caches: &self.caches,
            secrets: &self.shared.secrets,
            readers: &self.shared.readers,
            scrapers: &self.shared.scrapers,
            task_queue_owners: &self.shared.task_queue_owners,
        }
    }
}

/// When an object was created.
pub(super) fn created(metadata: &ObjectMeta) -> Timestamp {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}
