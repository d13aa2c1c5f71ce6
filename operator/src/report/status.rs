//! The status of a fleet: computes it, and compares it with the present one. Pure.
//!
//! The old status is read for two things only: the conditions, for those that are kept and for the
//! times and generations of the others, and the last decision of a queue that has no new one.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use taskqueue_api::TaskQueueWorkerStatus;
use taskqueue_api::status::{
    DecisionInputs, DecisionLimit, DecisionStatus, DecisionTerms, QueueStatus,
};
use taskqueue_scaling::{Decision, Mode, PerType, Reason, TaskType, Term};

use crate::report::conditions::draft::{ConditionDraft, ObservedGeneration, Status};
use crate::report::facts::QueueFacts;

/// The status after a pass over an accepted spec.
pub fn status(
    old: &TaskQueueWorkerStatus,
    generation: i64,
    facts: &[QueueFacts<'_>],
    drafts: &[ConditionDraft],
    now: Timestamp,
) -> TaskQueueWorkerStatus {
    let queues: Vec<QueueStatus> = facts.iter().map(|facts| queue(old, facts, now)).collect();
    let sum = |of: fn(&QueueStatus) -> Option<u32>| {
        let mut counts = queues.iter().map(of);
        counts.try_fold(0, |sum: u32, count| Some(sum.saturating_add(count?)))
    };
    let (desired, ready) = (sum(|queue| queue.desired), sum(|queue| queue.ready));
    TaskQueueWorkerStatus {
        observed_generation: Some(generation),
        conditions: conditions(&old.conditions, generation, drafts, now),
        queue_count: u32::try_from(queues.len()).unwrap_or(u32::MAX),
        replicas: match ready.zip(desired) {
            Some((ready, desired)) => format!("{ready}/{desired}"),
            None => "unknown".to_owned(),
        },
        desired_replicas: desired,
        current_replicas: sum(|queue| queue.current),
        ready_replicas: ready,
        queues,
    }
}

/// The status of a fleet with an invalid spec. What is known about its queues stays, since they
/// keep running as they are.
pub fn refused(
    old: &TaskQueueWorkerStatus,
    generation: i64,
    drafts: &[ConditionDraft],
    now: Timestamp,
) -> TaskQueueWorkerStatus {
    TaskQueueWorkerStatus {
        observed_generation: Some(generation),
        conditions: conditions(&old.conditions, generation, drafts, now),
        ..old.clone()
    }
}

/// The conditions with their times and generations, which those before may determine.
pub fn conditions(
    old: &[Condition],
    generation: i64,
    drafts: &[ConditionDraft],
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |draft: &ConditionDraft| {
        let kind = draft.kind.as_str();
        let before = old.iter().find(|old| old.type_ == kind);
        let about = match (draft.about, before) {
            (ObservedGeneration::KeepPrevious, Some(before)) => return before.clone(),
            (ObservedGeneration::KeepExisting, Some(before))
                if before.observed_generation == Some(generation) =>
            {
                return before.clone();
            }
            (ObservedGeneration::LastRolledOut, before) => rolled_out(before, generation),
            (
                ObservedGeneration::KeepPrevious
                | ObservedGeneration::KeepExisting
                | ObservedGeneration::Current,
                _,
            ) => generation,
        };
        let status = draft.status.as_str();
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: draft.reason.as_str().to_owned(),
            message: draft.message.clone(),
            observed_generation: Some(about),
            last_transition_time: before
                .filter(|before| before.status == status)
                .map_or(Time(now), |before| before.last_transition_time.clone()),
        }
    };
    drafts.iter().map(condition).collect()
}

/// The generation that a good condition is about while pods are replaced: the last one that was
/// rolled out, as far as the status shows. A rollout with another cause than the spec leaves it
/// unchanged.
fn rolled_out(before: Option<&Condition>, generation: i64) -> i64 {
    let about = before.and_then(|before| {
        let good = before.status == Status::True.as_str();
        before
            .observed_generation
            .filter(|about| good || *about < generation)
    });
    about
        .unwrap_or_else(|| generation.saturating_sub(1).max(1))
        .min(generation)
}

fn queue(old: &TaskQueueWorkerStatus, facts: &QueueFacts<'_>, now: Timestamp) -> QueueStatus {
    let replicas = &facts.plan.observation.replicas;
    let before = old
        .queues
        .iter()
        .find(|queue| queue.name == facts.queue.name);
    let last = before.and_then(|queue| queue.last_decision.clone());
    let live = facts.seen.pods.live.iter();
    let current = live
        .filter(|pod| pod.phase != taskqueue_scaling::PodPhase::Terminating)
        .count();
    let known = |count: u32| (!facts.seen.is_unread()).then_some(count);
    let decided = facts.plan.decision.as_ref();
    QueueStatus {
        name: facts.queue.name.clone(),
        task_queue: facts.queue.task_queue.clone(),
        deployment_name: facts.queue.workload_name.clone(),
        desired: known(decided.map_or(replicas.requested, |decision| decision.desired)),
        current: known(u32::try_from(current).unwrap_or(u32::MAX)),
        ready: known(replicas.ready),
        last_decision: new_decision(facts, last.as_ref())
            .map(|decision| decision_status(decision, now))
            .or(last),
    }
}

/// The decision of this pass, if it is to be shown: it changed the replicas, or would have in mode
/// `DryRun`.
fn new_decision<'a>(facts: &QueueFacts<'a>, last: Option<&DecisionStatus>) -> Option<&'a Decision> {
    let decision = facts.plan.decision.as_ref()?;
    // Restoring what somebody else changed is no new decision: the old one still explains the
    // replicas.
    if decision.reason == Reason::AlreadyActedOn {
        return None;
    }
    let shown = match facts.queue.policy.mode {
        Mode::Active => facts.done.scaled.is_some(),
        Mode::DryRun => {
            let known = last.map(|last| (last.from, last.to));
            decision.desired != decision.previous
                && known != Some((decision.previous, decision.desired))
        }
        Mode::Paused => false,
    };
    shown.then_some(decision)
}

fn decision_status(decision: &Decision, now: Timestamp) -> DecisionStatus {
    let limit = |limited: &taskqueue_scaling::Limited| DecisionLimit {
        name: limited.by.as_str().to_owned(),
        from: limited.from,
        to: limited.to,
    };
    DecisionStatus {
        reason: decision.reason.as_str().to_owned(),
        message: decision.sentence(),
        time: Time(now),
        from: decision.previous,
        to: decision.desired,
        inputs: inputs(decision),
        terms: terms(decision),
        limits: decision.limits.iter().map(limit).collect(),
    }
}

fn inputs(decision: &Decision) -> DecisionInputs {
    let inputs = &decision.inputs;
    let backlog = inputs.backlog.as_ref().ok();
    // A thousandth of a task per second is one task per 1000 seconds.
    let rate = |of: fn(&taskqueue_scaling::TypeBacklog) -> u64| {
        let types = backlog.filter(|_| inputs.rates_trusted)?;
        Some(
            types
                .iter()
                .filter_map(|(_, of_type)| of_type.as_ref())
                .map(of)
                .fold(0, u64::saturating_add),
        )
    };
    let kind = binding(decision);
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    DecisionInputs {
        backlog: backlog.map(|_| inputs.backlog_count()),
        backlog_age_milliseconds: backlog.map(|_| millis(inputs.backlog_age())),
        tasks_added_per_1000_seconds: rate(|of_type| of_type.add_rate_milli),
        tasks_dispatched_per_1000_seconds: rate(|of_type| of_type.dispatch_rate_milli),
        slots_used: inputs.slots_in_use.ok().map(total),
        slots_per_replica: kind.map(|kind| u64::from(*inputs.slots_per_replica.get(kind))),
        service_time_milliseconds: kind.map(|kind| millis(inputs.service_time.get(kind).mean())),
        ready: inputs.replicas.ready,
        starting: inputs.replicas.starting,
        terminating: inputs.replicas.terminating,
    }
}

/// The task type that asks for the most replicas.
fn binding(decision: &Decision) -> Option<TaskType> {
    decision.demand.as_ref()?.binding.map(|(kind, _)| kind)
}

fn total(slots: PerType<u64>) -> u64 {
    slots
        .iter()
        .fold(0, |sum, (_, used)| sum.saturating_add(*used))
}

fn terms(decision: &Decision) -> DecisionTerms {
    let term = |term| replicas_for(decision, term);
    DecisionTerms {
        in_flight: term(Term::InFlight),
        drain: term(Term::Drain),
        age: term(Term::Age).filter(|replicas| *replicas > 0),
        capacity: term(Term::Capacity).filter(|replicas| *replicas > 0),
        backlog: term(Term::BacklogPerReplica).filter(|replicas| *replicas > 0),
    }
}

/// The replicas that a term asks for: the most of any task type, rounded up.
pub fn replicas_for(decision: &Decision, term: Term) -> Option<u32> {
    let demand = decision.demand.as_ref()?;
    let milli = demand
        .types
        .iter()
        .filter_map(|(_, of_type)| of_type.as_ref())
        .map(|of_type| {
            let terms = &of_type.terms;
            match term {
                Term::InFlight => terms.in_flight_milli,
                Term::Drain => terms.drain_milli,
                Term::Age => terms.age_milli,
                Term::Capacity => terms.capacity_milli,
                Term::BacklogPerReplica => terms.backlog_per_replica_milli,
            }
        });
    milli
        .max()
        .map(|milli| u32::try_from(milli.div_ceil(1000)).unwrap_or(u32::MAX))
}

/// Whether two statuses are equal apart from their times.
pub fn same(a: &TaskQueueWorkerStatus, b: &TaskQueueWorkerStatus) -> bool {
    timeless(a) == timeless(b)
}

fn timeless(status: &TaskQueueWorkerStatus) -> TaskQueueWorkerStatus {
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
    }
    for decision in status
        .queues
        .iter_mut()
        .filter_map(|queue| queue.last_decision.as_mut())
    {
        decision.time = Time(Timestamp::UNIX_EPOCH);
    }
    status
}

#[cfg(test)]
mod kstatus;
#[cfg(test)]
mod tests;
