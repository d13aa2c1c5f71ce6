//! The condition `Ready`: whether everything is applied, and a worker runs wherever one should.
//! Pure.

use std::time::Duration;

use taskqueue_api::Reason;
use taskqueue_scaling::Time;

use super::blocked::Blocked;
use super::draft::{Cause, ConditionBuilder, ObservedGeneration, Status, worst};
use super::{rank, rollout};
use crate::not_ready::NotReady;
use crate::report::facts::{QueueFacts, pod_trouble};

/// How long a queue that wakes from zero may have no ready pod: longer than a pod takes to start if
/// its image is cached or comes from near by.
const WAKES: Duration = Duration::from_mins(5);

pub(super) fn ready<'a>(
    queues: &[QueueFacts<'a>],
    blocked: &Blocked<'a>,
    now: Time,
) -> ConditionBuilder {
    let applied = queues.iter().filter(|facts| !blocked.has(facts));
    let waiting = applied.filter_map(|facts| {
        Some(Cause::of_queue(
            facts.name(),
            no_worker(facts, queues, now)?,
        ))
    });
    let causes: Vec<Cause<'_>> = blocked.lasting.iter().cloned().chain(waiting).collect();
    if let Some(condition) = worst(Status::False, &causes, rank::ready) {
        return condition;
    }
    if let Some(condition) = worst(Status::False, &blocked.lately, rank::ready) {
        return condition.about(ObservedGeneration::KeepPrevious);
    }
    let about = if queues.iter().any(rollout::replaces) {
        ObservedGeneration::LastRolledOut
    } else {
        ObservedGeneration::Current
    };
    ConditionBuilder::new(
        Status::True,
        Reason::Available,
        "everything is applied, and every queue that needs replicas has one available",
    )
    .about(about)
}

/// Why a queue that should have a worker has none.
fn no_worker(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>], now: Time) -> Option<NotReady> {
    let ready = facts.plan.observation.replicas.ready;
    let stays = ready > facts.seen.pods.relapsing;
    if facts.wanted() == 0 || (facts.exists() && stays) {
        return None;
    }
    if let Some(trouble) = pod_trouble(facts, queues) {
        return Some(trouble);
    }
    let wakes = facts.state.at_zero.is_some_and(|at| now.since(at) < WAKES);
    (!wakes).then(|| {
        NotReady::new(
            Reason::WaitingForReplicas,
            format!("no replica of {} is available yet", facts.queue.workload()),
        )
    })
}
