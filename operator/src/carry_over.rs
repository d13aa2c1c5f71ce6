//! What a pass stores in the fleet state for the next ones. Changes memory; no I/O.

use std::time::Duration;

use taskqueue_api::{Fleet, Queue};
use taskqueue_scaling::{Prior, Reason, TaskType, Time};

use crate::applied::{Applied, End, QueueApplied};
use crate::clock::Moment;
use crate::error::Error;
use crate::fleet_state::{
    Drain, FleetState, QueueKey, QueueState, Refused, Rendered, WrittenStatus,
};
use crate::observe::{Observed, ObservedQueue};
use crate::plan::{Plan, Step};
use crate::planner::desired::desired;
use crate::report::{Pass, Report, drains};
use crate::worker_faults::Facts;

/// The longest pause before a refused object is sent again. A little less than the requeue after
/// most errors, so that the requeued pass sends it.
const LONGEST_PAUSE: Duration = Duration::from_secs(55);

/// Renders what every queue should have, once per generation and connection, and hashes what the
/// server holds, once per version. Planning works without these, at a higher cost.
pub fn renderings(fleet: &Fleet, observed: &Observed, state: &mut FleetState) {
    let Ok(usable) = &observed.connection else {
        return;
    };
    for queue in fleet.queues.iter().filter(|queue| queue.target.is_none()) {
        let existing = observed
            .queues
            .get(&queue.name)
            .and_then(|seen| seen.existing.as_deref());
        let state = state.queue(QueueKey::unversioned(&queue.name));
        let kept = state.rendered.take();
        let kept = kept.filter(|rendered| rendered.is_of(fleet, &usable.spec));
        let mut rendered = kept.unwrap_or_else(|| Rendered::new(fleet, queue, &usable.spec));
        if let Some(existing) = existing {
            rendered.look_at(existing);
        }
        state.rendered = Some(rendered);
    }
}

/// Feeds the observation of every queue into its history. The same readings twice change nothing.
pub fn readings(fleet: &Fleet, observed: &Observed, state: &mut FleetState, now: Time) {
    // A target that could not be read has an unknown number of replicas, not none.
    let unread = |queue: &&Queue| {
        let seen = observed.queues.get(&queue.name);
        seen.is_some_and(ObservedQueue::is_unread)
    };
    for queue in fleet.queues.iter().filter(|queue| !unread(queue)) {
        let Some(desired) = desired(fleet, queue, observed, state, now) else {
            continue;
        };
        let observation = &desired.observation;
        let state = state.queue(QueueKey::unversioned(&queue.name));
        state.history.observe(&queue.policy, observation, now);
        if let Some(seen) = observed.queues.get(&queue.name) {
            state.long_tasks.observe(&seen.pods, &state.history, now);
        }
        state.reads(&queue.task_queue);
        state.note(observation, now);
    }
    assume(fleet, state);
}

/// Lets queues whose pods have not reported yet assume what other queues with the same pods have
/// learned.
fn assume(fleet: &Fleet, state: &mut FleetState) {
    let history = |queue: &Queue| {
        let key = QueueKey::unversioned(&queue.name);
        state.queues.get(&key).map(|state| &state.history)
    };
    // Nothing is known about the pods of a target.
    let own = fleet.queues.iter().filter(|queue| queue.target.is_none());
    let with_history = own.filter_map(|queue| Some((queue, history(queue)?)));
    let (known, unknown): (Vec<_>, Vec<_>) =
        with_history.partition(|(_, history)| history.knows_its_pods());
    let prior = |queue: &Queue| {
        let alike = known.iter().filter(|(other, _)| other.pods == queue.pods);
        let shown = alike.map(|(_, history)| history.shown());
        shown.fold(Prior::default(), Prior::or_more_cautious)
    };
    let priors = unknown.iter().map(|(queue, _)| {
        let key = QueueKey::unversioned(&queue.name);
        (key, prior(queue))
    });
    for (key, prior) in priors.collect::<Vec<_>>() {
        state.queue(key).history.assume(prior);
    }
}

/// Takes in what recurs in the load of every queue, after [`readings`]. The same readings twice
/// change nothing.
pub fn recurring_loads(fleet: &Fleet, observed: &Observed, state: &mut FleetState, now: Moment) {
    for queue in &fleet.queues {
        let seen = observed.queues.get(&queue.name);
        let Some(seen) = seen.filter(|seen| !seen.is_unread()) else {
            continue;
        };
        let state = state.queue(QueueKey::unversioned(&queue.name));
        let QueueState {
            recurring, history, ..
        } = state;
        recurring.observe(queue, seen, history, now);
    }
}

/// Records what the workers of every queue are seen to do wrong. The same readings twice change
/// nothing.
pub fn workers(fleet: &Fleet, observed: &Observed, state: &mut FleetState, now: Moment) {
    for (key, state) in &mut state.queues {
        let Some(seen) = observed.queues.get(&key.queue) else {
            continue;
        };
        let Some(queue) = fleet.queues.iter().find(|queue| queue.name == key.queue) else {
            continue;
        };
        let task_time = state
            .history
            .service_time(TaskType::Activity, &queue.policy);
        let former = state.former_task_queue.as_ref();
        let mut draining = state.draining.values();
        // A rollout that replaces such a worker may well repair it.
        let polls = |drain: &&Drain| drain.took > 0 && !seen.pods.replaced.contains(&drain.pod.pod);
        let facts = Facts {
            task_queue: &queue.task_queue,
            former_task_queue: former.map(|former| former.task_queue.as_str()),
            pods: &seen.pods,
            workers: &seen.reading.workers,
            slots: &seen.slots,
            backlog: &seen.reading.backlog,
            task_time: task_time.is_learned().then(|| task_time.mean()),
            polling: draining.find(polls).map(|drain| drain.pod.pod.as_str()),
        };
        state.worker_faults.observe(&facts, now);
    }
}

/// Stores what the next pass needs to know about the writes of this one.
pub fn writes(
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
    let protected = plan.queues.iter().map(|queue| queue.protections.len());
    state.protected_at.record(protected.sum(), now.monotonic);
    for queue in &plan.queues {
        let Some(done) = applied.queues.get(&queue.queue) else {
            continue;
        };
        let state = state.queue(QueueKey::unversioned(&queue.queue));
        remembered(state, done, now);
        let writing = applied.writing.remove(&queue.queue);
        state.writing = writing.or_else(|| state.writing.take());
        match &queue.step {
            Step::Create(_) | Step::Apply { .. } => settle(state, queue.rendered(), done, now),
            Step::Keep | Step::Refused(_) | Step::Pending | Step::Hold(_) => written(state, done),
        }
        let Some(decision) = &queue.decision else {
            let of_target = |of: &Queue| of.name == queue.queue && of.target.is_some();
            let unread = queue.target.is_none() && fleet.queues.iter().any(of_target);
            if !unread {
                let requested = queue.observation.replicas.requested;
                state.history.held(requested, now.monotonic);
            }
            continue;
        };
        if decision.reason != Reason::AlreadyActedOn {
            state.decided = Some(decision.clone());
        }
        // The decision about replicas counts whether or not the template was accepted.
        if !decision.act || done.scaled.is_some() || done.created {
            state.history.carried_out(decision, now.monotonic);
        }
        // While scaling is paused, any number that somebody sets is right. Otherwise it is right if
        // we wanted it anyway.
        let requested = queue.observation.replicas.requested;
        let untouched = done.scaled.is_none() && done.written.is_none();
        let wanted = untouched && decision.demand.is_some() && decision.desired == requested;
        if (decision.reason == Reason::Paused || wanted)
            && let Some(written) = state.written.as_mut()
        {
            written.replicas = requested;
        }
    }
}

/// Takes in the outcome of keeping the recurring load on the Deployment. If the Deployment has
/// changed since the decision, the next pass decides again.
fn remembered(state: &mut QueueState, done: &QueueApplied, now: Moment) {
    match &done.remembered {
        None => {}
        Some(Err(error)) if error.is_conflict() => {}
        Some(Err(_)) => state.recurring.tried(now.wall),
        Some(Ok(version)) => {
            state.recurring.tried(now.wall);
            if let Some(written) = state.written.as_mut() {
                written.moved_to(version);
            }
        }
    }
}

/// Takes in the outcome of writing the Deployment with this hash.
pub fn settle(state: &mut QueueState, rendered: u64, done: &QueueApplied, now: Moment) {
    written(state, done);
    if done.end == End::BrokenOff {
        // The write may have taken effect; in that case writing again changes nothing.
        state.written = None;
    }
    if done.end == End::Pending {
        return;
    }
    let before = state.refused.take();
    let error = done.error.as_ref().filter(|_| done.end == End::Refused);
    state.refused = error.map(|error| refused(before.as_ref(), rendered, error, now));
}

/// Takes in the state of the Deployment after the writes to it.
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

/// Records a refusal. The same object is not sent again for as long as the class of the error says,
/// however many passes run meanwhile.
fn refused(before: Option<&Refused>, rendered: u64, error: &Error, now: Moment) -> Refused {
    let same = before.filter(|before| before.rendered == rendered);
    let before = same.map_or(0, |same| same.before.saturating_add(1));
    let wait = error.class().wait(before);
    let wait = error
        .retry_after()
        .map_or(wait, |requested| requested.max(wait));
    Refused {
        rendered,
        at: now.monotonic,
        pause: wait.min(LONGEST_PAUSE),
        before,
        why: error.into(),
    }
}

/// Stores what the next report needs to know: the status and the advice of this one, what the
/// metrics have counted and which drains have been reported. Returns why the status could not be
/// written, if so.
///
/// # Errors
/// That of the report.
pub fn report(
    state: &mut FleetState,
    pass: &Pass<'_>,
    report: Report,
    now: Moment,
) -> Result<(), Error> {
    for queue in &pass.plan.queues {
        let sample = queue.decision.as_ref().and_then(|decision| decision.sample);
        let state = state.queue(QueueKey::unversioned(&queue.queue));
        state.counted = sample.or(state.counted);
        if let Some(seen) = pass.observed.queues.get(&queue.queue) {
            drains::remember(state, seen, now.monotonic);
        }
    }
    for advice in &report.advised {
        let state = state.queue(QueueKey::unversioned(advice.queue()));
        advice.remember(state, pass.fleet.generation);
    }
    for queue in report.carry_over {
        let state = state.queue(QueueKey::unversioned(&queue.queue));
        state.unapplied = queue.unapplied;
        state.at_zero = queue.at_zero;
        if queue.task_queue_moved {
            state.former_task_queue = None;
        }
    }
    let failed = !pass.applied.prune_errors.is_empty();
    state.unpruned = failed.then(|| state.unpruned.unwrap_or(now.monotonic));
    status(state, report.status)
}

/// Stores the status, if it was written.
///
/// # Errors
/// That of the write.
pub fn status(
    state: &mut FleetState,
    written: Result<Option<WrittenStatus>, Error>,
) -> Result<(), Error> {
    if let Some(written) = written? {
        state.status = Some(written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
