//! One pass over a fleet: the table of contents of the operator, and what surrounds it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::core::ObjectMeta;
use kube::runtime::controller::Action;
use taskqueue_api::{Fleet, FleetKey, validate};
use taskqueue_scaling::Reason;
use taskqueue_temporal::{OwnerKey, Readers};
use tokio::sync::{Mutex as AsyncMutex, OnceCell};
use tracing::{debug, info};

use crate::apply::{Applied, QueueApplied, Writer};
use crate::caches::{Caches, GuardedFleet};
use crate::claims::Claims;
use crate::clock::{Clock, Moment};
use crate::error::{Class, Error};
use crate::fingerprint;
use crate::memory::{FleetMemory, QueueKey, Refused};
use crate::metrics::{FleetName, Metrics};
use crate::observe::connection::{self, Secrets};
use crate::observe::{self, Observed, Sources};
use crate::plan::{self, Plan, QueuePlan, Step};
use crate::report::{Pass, Reports, Subject, conditions, drains};
use crate::scrape::Scrapers;
use crate::tried;

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
    pub claims: Claims,
    /// The writer of owned objects.
    pub writer: Writer,
    /// The writer of status and Events.
    pub reports: Reports,
    fleets: Mutex<HashMap<String, Remembered>>,
    started: OnceCell<()>,
}

/// What is kept about a fleet, by its uid.
struct Remembered {
    key: FleetKey,
    memory: Arc<AsyncMutex<FleetMemory>>,
    /// Failed passes in a row.
    failures: u32,
}

/// What the passes of one scope have.
pub struct Context {
    /// What is shared with the other scopes.
    pub shared: Arc<Shared>,
    /// The watch caches.
    pub caches: Caches,
    /// Those of every scope.
    everywhere: Arc<[Caches]>,
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
    ) -> Self {
        Self {
            clock,
            readers,
            scrapers,
            secrets: Secrets::new(client.clone()),
            claims: Claims::default(),
            writer: Writer::new(client.clone(), metrics.clone()),
            reports,
            metrics,
            fleets: Mutex::default(),
            started: OnceCell::new(),
        }
    }

    /// Drops everything about a fleet that is gone.
    pub fn forget(&self, metadata: &ObjectMeta) {
        let uid = metadata.uid.clone().unwrap_or_default();
        let key = FleetKey {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid,
        };
        self.forget_key(&key);
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

    /// States what every fleet of a scope claims.
    fn claim_all(&self, caches: &Caches) {
        for object in caches.fleets.state() {
            let Ok(resource) = &object.0 else { continue };
            let Ok(fleet) = validate(resource) else {
                continue;
            };
            if let Ok(spec) = connection::spec(&fleet, caches) {
                self.claims
                    .claim(&fleet, created(&resource.metadata), &spec);
            }
        }
    }

    fn forget_key(&self, key: &FleetKey) {
        let mut fleets = self.fleets();
        fleets.remove(&key.uid);
        self.claims.forget(key);
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

    fn memory(&self, metadata: &ObjectMeta) -> Arc<AsyncMutex<FleetMemory>> {
        let uid = metadata.uid.clone().unwrap_or_default();
        let key = FleetKey {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: uid.clone(),
        };
        let fresh = || Remembered {
            key,
            memory: Arc::default(),
            failures: 0,
        };
        Arc::clone(&self.fleets().entry(uid).or_insert_with(fresh).memory)
    }

    /// Counts a failure in a row and says how many came before it; a success starts over.
    fn failures(&self, metadata: &ObjectMeta, failed: bool) -> u32 {
        let mut fleets = self.fleets();
        let uid = metadata.uid.as_deref().unwrap_or_default();
        let Some(fleet) = fleets.get_mut(uid) else {
            return 0;
        };
        let before = fleet.failures;
        fleet.failures = if failed { before.saturating_add(1) } else { 0 };
        before
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
        }
    }

    /// Waits, once, until every cache of every scope is filled, and then states what every fleet
    /// claims: without that, whichever of two rivals came first after a restart would believe to be
    /// alone.
    async fn started(&self) {
        let all = async {
            for caches in self.everywhere.iter() {
                if caches.filled(|_| {}).await.is_err() {
                    debug!("the watches have ended: the process is stopping");
                }
            }
            for caches in self.everywhere.iter() {
                self.shared.claim_all(caches);
            }
        };
        self.shared.started.get_or_init(|| all).await;
    }

    fn exists(&self, metadata: &ObjectMeta) -> bool {
        let same = |object: &GuardedFleet| Subject::of(object).metadata.uid == metadata.uid;
        self.caches.fleets.find(same).is_some()
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            caches: &self.caches,
            secrets: &self.shared.secrets,
            readers: &self.shared.readers,
            scrapers: &self.shared.scrapers,
            claims: &self.shared.claims,
        }
    }
}

/// One pass over one fleet.
///
/// # Errors
/// If something could not be written. What could not be read is part of what is reported.
pub async fn reconcile(object: Arc<GuardedFleet>, context: Arc<Context>) -> Result<Action, Error> {
    context.started().await;
    let shared = &context.shared;
    let began = shared.clock.now();
    let subject = Subject::of(&object);
    if subject.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let result = pass(&subject, &object, &context, began).await;
    let took = shared.clock.now().monotonic.since(began.monotonic);
    shared.metrics.pass(took, result.is_ok());
    if result.is_ok() {
        shared.failures(subject.metadata, false);
    }
    if !context.exists(subject.metadata) {
        shared.forget(subject.metadata);
    }
    result
}

/// validate, observe, plan, apply, report.
async fn pass(
    subject: &Subject<'_>,
    object: &GuardedFleet,
    context: &Context,
    now: Moment,
) -> Result<Action, Error> {
    let shared = &context.shared;
    let memory = shared.memory(subject.metadata);
    let memory = &mut *memory.lock().await;
    let fleet = match accepted(object) {
        Ok(fleet) => fleet.at(now.wall),
        Err(message) => {
            let told = shared.reports.refused(subject, &message, memory, now).await;
            return told
                .map(|()| Action::await_change())
                .inspect_err(|error| shared.metrics.error(error));
        }
    };
    let created = created(subject.metadata);
    let observed = observe::observe(&context.sources(), &fleet, created, now).await;
    tried::record(memory, &observed, insists(subject.metadata), now.monotonic);
    let wanted = plan::wanted(&fleet, &observed, memory, now.monotonic);
    plan::record(&fleet, &wanted, memory, now.monotonic);
    let plan = plan::plan(&fleet, &observed, wanted, memory, now.monotonic);
    let applied = shared.writer.apply(&plan).await;
    remember(memory, &fleet, &plan, &applied, now);
    let report = Pass {
        fleet: &fleet,
        observed: &observed,
        plan: &plan,
        applied: &applied,
    };
    let reported = shared.reports.pass(subject, &report, memory, now).await;
    count(memory, &plan, &observed, now);
    account(shared, &plan, &applied, reported.as_ref().err());
    let look_again = plan
        .look_again
        .min(until_schedule(&fleet, now))
        .min(conditions::until_told(memory, now.monotonic));
    finish(applied, reported, look_again)
}

/// The fleet that an object stands for, or everything that is wrong with it.
fn accepted(object: &GuardedFleet) -> Result<Fleet, String> {
    let resource = object.0.as_ref().map_err(|malformed| {
        format!(
            "the resource cannot be read: {}; correct it or apply it again with the present CRD",
            malformed.error
        )
    })?;
    validate(resource).map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        all.join("; ")
    })
}

/// How long until a schedule may ask for another minimum.
fn until_schedule(fleet: &Fleet, now: Moment) -> Duration {
    fleet
        .next_scheduled_change(now.wall)
        .map_or(Duration::MAX, |change| {
            change.duration_since(now.wall).unsigned_abs()
        })
}

/// Whether the user wants the connection written without its being tried.
fn insists(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(tried::SKIP_CHECK))
        .is_some_and(|value| value == "true")
}

fn created(metadata: &ObjectMeta) -> Timestamp {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

/// Keeps what the next pass needs to know of this one.
fn remember(memory: &mut FleetMemory, fleet: &Fleet, plan: &Plan, applied: &Applied, now: Moment) {
    let names: Vec<QueueKey> = fleet
        .queues
        .iter()
        .map(|queue| QueueKey::unversioned(&queue.name))
        .collect();
    memory.queues.retain(|key, _| names.contains(key));
    for queue in &plan.queues {
        let Some(done) = applied.queues.get(&queue.queue) else {
            continue;
        };
        let memory = memory.queue(QueueKey::unversioned(&queue.queue));
        if let Some(written) = &done.written {
            memory.written = Some(written.clone());
        }
        if let (Some(scaled), Some(written)) = (&done.scaled, memory.written.as_mut()) {
            written.replicas = scaled.to;
            if let Some(version) = &scaled.resource_version {
                written.resource_version.clone_from(version);
            }
        }
        memory.refused = refused(queue, done, now).or_else(|| {
            memory
                .refused
                .take()
                .filter(|_| matches!(queue.step, Step::Refused(_)))
        });
        let Some(decision) = &queue.decision else {
            let asked = queue.observation.replicas.asked;
            memory.history.held(asked, now.monotonic);
            continue;
        };
        if decision.reason != Reason::AlreadyActedOn {
            memory.decided = Some(decision.clone());
        }
        // What was decided about the replicas stands, whatever became of the template.
        let failed = done.error.is_some() && done.scaled.is_none() && decision.act;
        if queue.carries_out() && !failed {
            memory.history.carried_out(decision, now.monotonic);
        }
        // While nobody decides, whatever somebody sets is right, and so is what was wanted anyway.
        let asked = queue.observation.replicas.asked;
        let untouched = done.scaled.is_none() && done.written.is_none();
        let wanted = untouched && decision.demand.is_some() && decision.desired == asked;
        if (decision.reason == Reason::Paused || wanted)
            && let Some(written) = memory.written.as_mut()
        {
            written.replicas = asked;
        }
    }
}

/// What the API server refused in this pass for a reason that lasts.
fn refused(queue: &QueuePlan, done: &QueueApplied, now: Moment) -> Option<Refused> {
    let (Step::Create(object) | Step::Apply { object, .. }) = &queue.step else {
        return None;
    };
    let problem = conditions::lasting(done.error.as_ref()?)?;
    Some(Refused {
        rendered: fingerprint::rendered(object),
        at: now.monotonic,
        problem,
    })
}

/// Notes what has been counted, and the drains that have been told.
fn count(memory: &mut FleetMemory, plan: &Plan, observed: &Observed, now: Moment) {
    for queue in &plan.queues {
        let sample = queue.decision.as_ref().and_then(|decision| decision.sample);
        let memory = memory.queue(QueueKey::unversioned(&queue.queue));
        memory.counted = sample.or(memory.counted);
        if let Some(seen) = observed.queues.get(&queue.queue) {
            drains::remember(memory, seen, now.monotonic);
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
    look_again: Duration,
) -> Result<Action, Error> {
    let errors = applied.into_errors().into_iter().chain(reported.err());
    match errors.min_by_key(|error| error.class().wait(0)) {
        Some(error) => Err(error),
        None => Ok(Action::requeue(look_again)),
    }
}

/// When to try again after an error: by its class, later each time, and not in step with others.
#[expect(clippy::needless_pass_by_value, reason = "the controller's signature")]
pub fn error_policy(object: Arc<GuardedFleet>, error: &Error, context: Arc<Context>) -> Action {
    let metadata = Subject::of(&object).metadata;
    let attempt = context.shared.failures(metadata, true);
    let wait = error.class().wait(attempt);
    let wait = error.retry_after().map_or(wait, |asked| asked.max(wait));
    // A queue's readings go on meanwhile and lead to passes of their own, so a conflict or a bad
    // template never keeps the other queues waiting for this.
    Action::requeue(wait.saturating_add(jitter(metadata, error.class())))
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
