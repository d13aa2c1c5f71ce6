//! One pass over a fleet: the table of contents of the operator, and what surrounds it.

mod writes;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use kube::core::ObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::{Fleet, FleetKey, validate};
use taskqueue_scaling::Time;
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tracing::{info, warn};

use crate::apply::{Applied, Writer};
use crate::caches::{Caches, GuardedFleet};
use crate::clock::{Clock, Moment};
use crate::connection_check;
use crate::error::{Class, Error};
use crate::fleet_state::{Accepted, FleetState, QueueKey};
use crate::leading::Leading;
use crate::metrics::{FleetName, Metrics};
use crate::observe::connection::{self, Secrets};
use crate::observe::task_queue_owners::TaskQueueOwners;
use crate::observe::{self, Observed, Sources};
use crate::plan::Plan;
use crate::report::{Pass, Reports, Subject, conditions, drains};
use crate::scrape::Scrapers;

/// How long the start of one scope waits for what another one's fleets claim.
const SETTLING: Duration = Duration::from_secs(30);

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
    /// Who claims which task queue.
    pub task_queue_owners: TaskQueueOwners,
    /// The writer of owned objects.
    pub writer: Writer,
    /// The writer of status and Events.
    pub reports: Reports,
    standing: Standing,
    fleets: Mutex<HashMap<String, Remembered>>,
}

/// What the passes need of whoever runs them.
pub struct Standing {
    /// Whether anything may be written now.
    pub leading: Leading,
    /// Whom to tell of a fleet that is to be looked at.
    pub told: UnboundedSender<OwnerKey>,
}

/// What is kept about a fleet, by its uid.
struct Remembered {
    key: FleetKey,
    state: Arc<AsyncMutex<FleetState>>,
    failures: Failures,
}

/// What went wrong lately with a fleet.
#[derive(Default)]
struct Failures {
    /// Failed passes since the last good one, by the class of the error.
    count: BTreeMap<Class, u32>,
    /// When the fleet was to be looked at again all the same.
    requeue_after: Option<Time>,
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
    /// Puts the parts together.
    pub fn new(
        client: &Client,
        clock: Clock,
        metrics: Metrics,
        readers: Readers,
        scrapers: Scrapers,
        reports: Reports,
        standing: Standing,
    ) -> Self {
        let leading = standing.leading.clone();
        Self {
            clock,
            readers,
            scrapers,
            secrets: Secrets::new(client.clone()),
            task_queue_owners: TaskQueueOwners::default(),
            writer: Writer::new(client.clone(), metrics.clone(), leading),
            reports,
            metrics,
            standing,
            fleets: Mutex::default(),
        }
    }

    /// Waits until no write is under way beside the passes.
    pub async fn writes_ended(&self) {
        self.writer.ended().await;
    }

    /// Drops everything about a fleet that is gone.
    pub fn forget(&self, metadata: &ObjectMeta) {
        self.forget_key(&key_of(metadata));
    }

    /// Drops everything about fleets of which `exists` says that they are gone.
    pub fn forget_all_but(&self, exists: impl Fn(&FleetKey) -> bool) {
        let gone: Vec<FleetKey> = self
            .fleets()
            .values()
            .map(|fleet| fleet.key.clone())
            .filter(|key| !exists(key))
            .collect();
        for key in &gone {
            self.forget_key(key);
        }
    }

    /// States what every fleet of a scope claims. Where the spec cannot be used, as when it was changed for the worse, it
    /// is what its workers were made for: they run.
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

    fn forget_key(&self, key: &FleetKey) {
        let mut fleets = self.fleets();
        fleets.remove(&key.uid);
        self.task_queue_owners.forget(key);
        // A fleet made again under the same name goes by that name from now on.
        let renewed =
            |fleet: &Remembered| fleet.key.namespace == key.namespace && fleet.key.name == key.name;
        if !fleets.values().any(renewed) {
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            self.metrics.forget(&FleetName {
                namespace: namespace.clone(),
                name: name.clone(),
            });
            let owner = OwnerKey { namespace, name };
            self.readers.forget(&owner);
            self.scrapers.forget(&owner);
        }
    }

    fn state(&self, metadata: &ObjectMeta) -> Arc<AsyncMutex<FleetState>> {
        let key = key_of(metadata);
        let uid = key.uid.clone();
        let fresh = || Remembered {
            key,
            state: Arc::default(),
            failures: Failures::default(),
        };
        Arc::clone(&self.fleets().entry(uid).or_insert_with(fresh).state)
    }

    /// A pass was good.
    fn succeeded(&self, metadata: &ObjectMeta) {
        self.of(metadata, |fleet| fleet.failures = Failures::default());
    }

    /// Counts a failure and says how many of its class came before it since the last good pass, and when the fleet was to
    /// be looked at again all the same.
    fn failed(&self, metadata: &ObjectMeta, class: Class) -> (u32, Option<Time>) {
        let count = |fleet: &mut Remembered| {
            let count = fleet.failures.count.entry(class).or_default();
            let before = *count;
            *count = before.saturating_add(1);
            (before, fleet.failures.requeue_after)
        };
        self.of(metadata, count).unwrap_or_default()
    }

    /// When a fleet is to be looked at again, whatever comes of the pass.
    fn requeue_at(&self, metadata: &ObjectMeta, at: Time) {
        self.of(metadata, |fleet| fleet.failures.requeue_after = Some(at));
    }

    fn of<T>(&self, metadata: &ObjectMeta, with: impl FnOnce(&mut Remembered) -> T) -> Option<T> {
        let mut fleets = self.fleets();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        fleets.get_mut(uid).map(with)
    }

    fn fleets(&self) -> MutexGuard<'_, HashMap<String, Remembered>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Waits, once, until the caches of this scope are filled, and those of every other that can be watched, and then states
    /// what every fleet claims: without that, whichever of two rivals came first after a restart would believe to be
    /// alone. A scope that cannot be watched, or takes too long, is not waited for.
    async fn started(&self) {
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

    fn exists(&self, metadata: &ObjectMeta) -> bool {
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let reference = ObjectRef::new(metadata.name.as_deref().unwrap_or_default());
        let there = self.caches.fleets.get(&reference.within(namespace));
        there.is_some_and(|object| Subject::of(&object).metadata.uid == metadata.uid)
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            caches: &self.caches,
            secrets: &self.shared.secrets,
            readers: &self.shared.readers,
            scrapers: &self.shared.scrapers,
            task_queue_owners: &self.shared.task_queue_owners,
        }
    }
}

/// One pass over one fleet.
///
/// # Errors
/// If something could not be written, or the pass broke off. What could not be read is part of what is reported.
pub async fn reconcile(object: Arc<GuardedFleet>, context: Arc<Context>) -> Result<Action, Error> {
    context.started().await;
    let shared = &context.shared;
    let leading = &shared.standing.leading;
    if !leading.begun().await {
        return Ok(Action::await_change());
    }
    let began = shared.clock.now();
    let subject = Subject::of(&object);
    if subject.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let pass = caught(shared, pass(&subject, &object, &context, began));
    let result = tokio::select! {
        biased;
        () = leading.ended() => {
            // Whether what was under way was carried out is not known: it is written again.
            shared.state(subject.metadata).lock().await.doubt();
            return Ok(Action::requeue(Duration::ZERO));
        }
        result = pass => result,
    };
    let took = shared.clock.now().monotonic.since(began.monotonic);
    shared.metrics.pass(took, result.is_ok());
    if result.is_ok() {
        shared.succeeded(subject.metadata);
    }
    if !context.exists(subject.metadata) {
        shared.forget(subject.metadata);
    }
    result
}

/// A pass that panics is an error of its fleet, and of no other: it is counted, and everything else goes on.
async fn caught<T>(
    shared: &Shared,
    pass: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    AssertUnwindSafe(pass)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            let error = Error::Bug(format!(
                "a pass broke off: {}",
                text.unwrap_or("it did not say why")
            ));
            shared.metrics.error(&error);
            Err(error)
        })
}

/// validate, observe, plan, apply, report.
async fn pass(
    subject: &Subject<'_>,
    object: &GuardedFleet,
    context: &Context,
    now: Moment,
) -> Result<Action, Error> {
    let shared = &context.shared;
    let state = shared.state(subject.metadata);
    let state = &mut *state.lock().await;
    let fleet = match accepted(object, state, now) {
        Ok(fleet) => fleet,
        Err(message) => {
            let told = shared.reports.refused(subject, &message, state, now).await;
            return told
                .map(|()| Action::await_change())
                .inspect_err(|error| shared.metrics.error(error));
        }
    };
    let fleet = &*fleet;
    let mut late = writes::late(state, now).await;
    let created = created(subject.metadata);
    let mut observed = observe::observe(&context.sources(), fleet, created, now).await;
    connection_check::record(state, &observed, insists(subject.metadata), now.monotonic);
    writes::look_for_unseen(&shared.writer, fleet, &mut observed, state).await;
    let (plan, mut applied) =
        writes::decide_and_write(shared, fleet, &mut observed, state, now).await;
    applied.add(&mut late);
    let report = Pass {
        fleet,
        observed: &observed,
        plan: &plan,
        applied: &applied,
    };
    let reported = shared.reports.pass(subject, &report, state, now).await;
    count(state, &plan, &observed, now);
    account(shared, &plan, &applied, reported.as_ref().err());
    let requeue_after = plan
        .requeue_after
        .min(until_schedule(state, now))
        .min(conditions::until_reported(state, now.monotonic));
    shared.requeue_at(subject.metadata, now.monotonic.plus(requeue_after));
    finish(applied, reported, requeue_after)
}

/// The fleet that an object stands for, or everything that is wrong with it. Parsed once per generation of its spec.
fn accepted(
    object: &GuardedFleet,
    state: &mut FleetState,
    now: Moment,
) -> Result<Arc<Fleet>, String> {
    let resource = object.0.as_ref().map_err(|malformed| {
        format!(
            "the resource cannot be read: {}; correct it or apply it again with the present CRD",
            malformed.error
        )
    })?;
    let kept = state.accepted.as_ref();
    let kept = kept.filter(|kept| kept.holds(resource.metadata.generation, now.wall));
    if let Some(kept) = kept {
        return Ok(Arc::clone(&kept.fleet));
    }
    let fleet = validate(resource).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("; ")
    })?;
    let accepted = state.accepted.insert(Accepted::at(fleet, now.wall));
    Ok(Arc::clone(&accepted.fleet))
}

/// How long until a schedule may ask for another minimum.
fn until_schedule(state: &FleetState, now: Moment) -> Duration {
    let change = state.accepted.as_ref().and_then(|accepted| accepted.until);
    change.map_or(Duration::MAX, |change| {
        change.duration_since(now.wall).unsigned_abs()
    })
}

fn key_of(metadata: &ObjectMeta) -> FleetKey {
    FleetKey {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
    }
}

/// Whether the user wants the connection written without its being tried.
fn insists(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(connection_check::SKIP_CHECK))
        .is_some_and(|value| value == "true")
}

fn created(metadata: &ObjectMeta) -> Timestamp {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Notes what has been counted, and the drains that have been told.
fn count(state: &mut FleetState, plan: &Plan, observed: &Observed, now: Moment) {
    for queue in &plan.queues {
        let sample = queue.decision.as_ref().and_then(|decision| decision.sample);
        let state = state.queue(QueueKey::unversioned(&queue.queue));
        state.counted = sample.or(state.counted);
        if let Some(seen) = observed.queues.get(&queue.queue) {
            drains::remember(state, seen, now.monotonic);
        }
    }
}

/// One line in the log per change, and every error in the metrics.
fn account(shared: &Shared, plan: &Plan, applied: &Applied, unreported: Option<&Error>) {
    let fleet = format!("{}/{}", plan.fleet.namespace, plan.fleet.name);
    for queue in &plan.queues {
        let done = applied.queues.get(&queue.queue);
        if let (Some(decision), Some(scaled)) =
            (&queue.decision, done.and_then(|done| done.scaled.as_ref()))
        {
            info!(
                fleet,
                queue = queue.queue,
                deployment = queue.deployment_name,
                from = scaled.from,
                to = scaled.to,
                reason = decision.reason.as_str(),
                "{}",
                decision.sentence
            );
        } else if done.is_some_and(|done| done.written.is_some()) {
            info!(
                fleet,
                queue = queue.queue,
                deployment = queue.deployment_name,
                "applied"
            );
        }
    }
    for prune in &applied.pruned {
        info!(
            fleet,
            queue = prune.queue,
            deployment = prune.deployment_name,
            "deleted: its queue left the spec"
        );
    }
    applied
        .errors()
        .chain(unreported)
        .for_each(|error| shared.metrics.error(error));
}

/// The error of a pass is the one that is to be tried again soonest.
fn finish(
    applied: Applied,
    reported: Result<(), Error>,
    requeue_after: Duration,
) -> Result<Action, Error> {
    let errors = applied.into_errors().into_iter().chain(reported.err());
    match errors.min_by_key(|error| error.class().wait(0)) {
        Some(error) => Err(error),
        None => Ok(Action::requeue(requeue_after)),
    }
}

/// When to try again after an error: by its class, later each time, and not in step with others. And when the fleet was
/// to be looked at all the same: its other queues do not wait for this one.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn error_policy(object: Arc<GuardedFleet>, error: &Error, context: Arc<Context>) -> Action {
    let metadata = Subject::of(&object).metadata;
    let (attempt, requeue_after) = context.shared.failed(metadata, error.class());
    let wait = error.class().wait(attempt);
    let wait = error.retry_after().map_or(wait, |asked| asked.max(wait));
    let wait = wait.saturating_add(jitter(metadata, error.class()));
    let now = context.shared.clock.now().monotonic;
    Action::requeue(requeue_after.map_or(wait, |at| wait.min(at.since(now))))
}

/// Up to a fifth of the class's first wait, by the object's uid: stable, so that tests are too.
fn jitter(metadata: &ObjectMeta, class: Class) -> Duration {
    let uid = metadata.uid.as_deref().unwrap_or_default();
    let sum = uid.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    class
        .wait(0)
        .saturating_mul(sum % 100)
        .checked_div(500)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
