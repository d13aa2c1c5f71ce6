//! The writing half of a pass: deciding, carrying out, remembering. What is written late, or decided again, is here
//! too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::Fleet;
use taskqueue_scaling::Reason;
use taskqueue_temporal::OwnerKey;
use tracing::debug;

use super::Shared;
use crate::apply::{Applied, End, QueueApplied, Writer, outcome};
use crate::caches::keep_owners_of_replicas;
use crate::clock::Moment;
use crate::error::Error;
use crate::fleet_state::{FleetState, QueueKey, QueueState, Refused};
use crate::observe::{Observed, owned_by};
use crate::plan::{self, BudgetStep, Plan, QueuePlan, Scale, Step};
use crate::report::conditions;

/// How long a pass waits for templates and budgets to be written.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a growth is decided again in one pass because its Deployment was another one than the caches showed.
const ROUNDS: usize = 2;
/// The longest that what the API server refused is not tried again; a little less than the wait after most errors.
const LONGEST_PAUSE: Duration = Duration::from_secs(55);

/// Takes in what has ended since the last pass of the writes that it did not wait for.
pub(super) async fn late(state: &mut FleetState, now: Moment) -> BTreeMap<String, QueueApplied> {
    let mut late = BTreeMap::new();
    for (key, state) in &mut state.queues {
        let over = state.writing.take_if(|writing| writing.task.is_finished());
        if let Some(writing) = over {
            let done = outcome(writing.task.await);
            settle(state, writing.rendered, &done, now);
            late.insert(key.queue.clone(), done);
        }
    }
    late
}

/// Asks for the Deployments that this process has left and the watch does not show: out of sight is not gone.
pub(super) async fn look_for_unseen(
    writer: &Writer,
    fleet: &Fleet,
    observed: &mut Observed,
    state: &FleetState,
) {
    for queue in &fleet.queues {
        let known = state.queues.get(&QueueKey::unversioned(&queue.name));
        let left = known.is_some_and(|state| state.written.is_some());
        let seen = observed.queues.get_mut(&queue.name);
        let Some(seen) = seen.filter(|seen| left && seen.held.is_none()) else {
            continue;
        };
        match writer.look(&fleet.key, &queue.deployment_name).await {
            Ok(Some(found)) if owned_by(&found, &fleet.key) => seen.held = Some(as_kept(found)),
            Ok(Some(_)) => {}
            Ok(None) => seen.gone = true,
            Err(error) => debug!(%error, "whether a Deployment is gone is not known"),
        }
    }
}

/// A Deployment that was asked for, as the cache would hold it.
fn as_kept(mut found: Deployment) -> Arc<Deployment> {
    keep_owners_of_replicas(&mut found.metadata);
    Arc::new(found)
}

/// plan, apply. Where the API server says that a growth was decided on an outdated Deployment, it is decided again.
pub(super) async fn decide_and_write(
    shared: &Shared,
    fleet: &Fleet,
    observed: &mut Observed,
    state: &mut FleetState,
    now: Moment,
) -> (Plan, Applied) {
    let mut plan = decided(fleet, observed, state, now);
    let mut applied = write(shared, &plan).await;
    remember(state, fleet, &plan, &mut applied, now);
    for _ in 0..ROUNDS {
        let moved = moved_growths(&plan, &applied);
        if moved.is_empty() {
            break;
        }
        for (queue, deployment) in &moved {
            let found = shared
                .writer
                .look(&fleet.key, deployment)
                .await
                .ok()
                .flatten();
            let found = found.filter(|found| owned_by(found, &fleet.key));
            if let (Some(found), Some(seen)) = (found, observed.queues.get_mut(queue)) {
                seen.held = Some(as_kept(found));
            }
        }
        let mut again = decided(fleet, observed, state, now);
        // Whoever wrote may know better what else is to be written: only replicas that are added go on from there.
        again.prunes.clear();
        again.queues.retain(|queue| {
            let grows = queue.scale.as_ref().is_some_and(Scale::grows);
            grows && moved.contains_key(&queue.queue)
        });
        if again.queues.is_empty() {
            break;
        }
        for queue in &mut again.queues {
            queue.budget = BudgetStep::Keep;
            if matches!(queue.step, Step::Create(_) | Step::Apply { .. }) {
                queue.step = Step::Keep;
            }
        }
        let mut second = write(shared, &again).await;
        remember(state, fleet, &again, &mut second, now);
        replace(&mut plan, &mut applied, again, second);
    }
    (plan, applied)
}

fn decided(fleet: &Fleet, observed: &Observed, state: &mut FleetState, now: Moment) -> Plan {
    plan::prepare(fleet, observed, state);
    let wanted = plan::wanted(fleet, observed, state, now.monotonic);
    plan::record(fleet, &wanted, state, now.monotonic);
    plan::plan(fleet, observed, wanted, state, now.monotonic)
}

async fn write(shared: &Shared, plan: &Plan) -> Applied {
    let told = shared.standing.told.clone();
    let owner = OwnerKey {
        namespace: plan.fleet.namespace.clone(),
        name: plan.fleet.name.clone(),
    };
    let again = move || {
        if told.send(owner.clone()).is_err() {
            debug!("nobody listens: the process is stopping");
        }
    };
    shared.writer.apply(plan, PATIENCE, again).await
}

/// The queues whose growth was refused because their Deployment has moved, with its name.
fn moved_growths(plan: &Plan, applied: &Applied) -> BTreeMap<String, String> {
    let moved = |queue: &&QueuePlan| {
        let grows = queue.scale.as_ref().is_some_and(Scale::grows);
        let done = applied.queues.get(&queue.queue);
        let moved = done.is_some_and(|done| {
            done.scaled.is_none() && matches!(done.error, Some(Error::Stale { .. }))
        });
        grows && moved
    };
    let moved = plan.queues.iter().filter(moved);
    moved
        .map(|queue| (queue.queue.clone(), queue.deployment_name.clone()))
        .collect()
}

/// Puts what was decided again in the place of what was decided before.
fn replace(plan: &mut Plan, applied: &mut Applied, again: Plan, second: Applied) {
    for queue in again.queues {
        let before = plan
            .queues
            .iter_mut()
            .find(|before| before.queue == queue.queue);
        if let Some(before) = before {
            *before = queue;
        }
    }
    for (queue, done) in second.queues {
        applied.queues.insert(queue, done);
    }
}

/// Keeps what the next pass needs to know of this one.
pub(super) fn remember(
    state: &mut FleetState,
    fleet: &Fleet,
    plan: &Plan,
    applied: &mut Applied,
    now: Moment,
) {
    let names: Vec<QueueKey> = fleet
        .queues
        .iter()
        .map(|queue| QueueKey::unversioned(&queue.name))
        .collect();
    state.queues.retain(|key, _| names.contains(key));
    for queue in &plan.queues {
        let Some(done) = applied.queues.get(&queue.queue) else {
            continue;
        };
        let state = state.queue(QueueKey::unversioned(&queue.queue));
        let writing = applied.writing.remove(&queue.queue);
        state.writing = writing.or_else(|| state.writing.take());
        match &queue.step {
            Step::Create(_) | Step::Apply { .. } => settle(state, queue.rendered(), done, now),
            Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => written(state, done),
        }
        let Some(decision) = &queue.decision else {
            let asked = queue.observation.replicas.asked;
            state.history.held(asked, now.monotonic);
            continue;
        };
        if decision.reason != Reason::AlreadyActedOn {
            state.decided = Some(decision.clone());
        }
        // What was decided about the replicas stands, whatever became of the template.
        if !decision.act || done.scaled.is_some() || done.created {
            state.history.carried_out(decision, now.monotonic);
        }
        // While nobody decides, whatever somebody sets is right, and so is what was wanted anyway.
        let asked = queue.observation.replicas.asked;
        let untouched = done.scaled.is_none() && done.written.is_none();
        let wanted = untouched && decision.demand.is_some() && decision.desired == asked;
        if (decision.reason == Reason::Paused || wanted)
            && let Some(written) = state.written.as_mut()
        {
            written.replicas = asked;
        }
    }
}

/// Takes in what came of writing a Deployment that was rendered so.
fn settle(state: &mut QueueState, rendered: u64, done: &QueueApplied, now: Moment) {
    written(state, done);
    if done.end == End::BrokenOff {
        // It was carried out or not: it is written again, and that changes nothing if it was.
        state.written = None;
    }
    if done.end == End::Pending {
        return;
    }
    let before = state.refused.take();
    let error = done.error.as_ref().filter(|_| done.end == End::Refused);
    state.refused = error.map(|error| refused(before.as_ref(), rendered, error, now));
}

/// Takes in what the Deployment was after the writes to it.
fn written(state: &mut QueueState, done: &QueueApplied) {
    if let Some(written) = &done.written {
        state.written = Some(written.clone().beside(state.written.as_ref()));
    }
    if let (Some(scaled), Some(written)) = (&done.scaled, state.written.as_mut()) {
        match &scaled.resource_version {
            Some(version) => written.scaled(scaled.to, version),
            None => written.replicas = scaled.to,
        }
    }
}

/// What the API server refused: just this is not sent again for as long as the class of its answer says, whatever
/// passes there are meanwhile.
fn refused(before: Option<&Refused>, rendered: u64, error: &Error, now: Moment) -> Refused {
    let same = before.filter(|before| before.rendered == rendered);
    let before = same.map_or(0, |same| same.before.saturating_add(1));
    let wait = error.class().wait(before);
    let wait = error.retry_after().map_or(wait, |asked| asked.max(wait));
    Refused {
        rendered,
        at: now.monotonic,
        pause: wait.min(LONGEST_PAUSE),
        before,
        problem: conditions::problem(error),
    }
}
