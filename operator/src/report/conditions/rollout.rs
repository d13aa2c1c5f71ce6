//! The conditions about the progress of the current generation: `Progressing`, and `Reconciling`
//! and `Stalled` as kstatus reads them. Pure.

use taskqueue_api::Reason;

use super::blocked::Blocked;
use super::draft::{Cause, ConditionBuilder, ObservedGeneration, Status, worst};
use super::rank;
use crate::not_ready::NotReady;
use crate::observe::deployment::{self, Rollout};
use crate::report::facts::{QueueFacts, any_draining, pod_trouble};

/// Whether pods of an earlier template remain, or may remain because the Deployment controller has
/// not seen our last write yet.
pub(super) fn replaces(facts: &QueueFacts<'_>) -> bool {
    matches!(of(facts), Rollout::Replacing | Rollout::Paused)
}

fn of(facts: &QueueFacts<'_>) -> Rollout {
    if facts.done.created {
        return Rollout::Starting;
    }
    let existing = facts.seen.existing.as_deref();
    let uid = existing.and_then(|existing| existing.metadata.uid.as_deref());
    let written = facts.done.written.as_ref();
    let written = written.or(facts.state.written.as_ref());
    let written = written.filter(|written| uid.is_none_or(|uid| uid == written.uid));
    let generation = written.and_then(|written| written.generation);
    deployment::rollout(existing, &facts.seen.pods, generation)
}

pub(super) fn progressing<'a>(
    queues: &[QueueFacts<'a>],
    blocked: &Blocked<'a>,
) -> ConditionBuilder {
    let stuck = queues.iter().filter(|facts| !blocked.has(facts));
    let stuck =
        stuck.filter_map(|facts| Some(Cause::of_queue(facts.name(), stuck_at(facts, queues)?)));
    let stuck: Vec<Cause<'_>> = blocked.lasting.iter().cloned().chain(stuck).collect();
    if let Some(condition) = worst(Status::False, &stuck, rank::ready) {
        return condition;
    }
    let rolling: Vec<Cause<'_>> = queues
        .iter()
        .filter(|facts| replaces(facts))
        .map(|facts| Cause::of_queue(facts.name(), rolling(facts, queues)))
        .collect();
    if let Some(condition) = worst(Status::True, &rolling, |_| 0) {
        return condition;
    }
    if let Some(condition) = worst(Status::False, &blocked.lately, rank::ready) {
        return condition.about(ObservedGeneration::KeepPrevious);
    }
    ConditionBuilder::new(
        Status::False,
        Reason::RolledOut,
        "no rollout is in progress",
    )
}

/// Why a rollout, or the start of pods, makes no progress.
fn stuck_at(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>]) -> Option<NotReady> {
    let rollout = of(facts);
    let trouble = pod_trouble(facts, queues);
    match (rollout, trouble) {
        (Rollout::Replacing, Some(trouble)) if waits_for_room(facts, &trouble) => None,
        // While old pods serve, trouble of the new ones is reported as a stalled rollout; the
        // message says which trouble.
        (Rollout::Replacing, Some(trouble)) => {
            let message = with_room(facts, trouble);
            Some(NotReady::new(Reason::RolloutStalled, message))
        }
        (Rollout::Paused, _) => {
            let deployment = &facts.queue.workload_name;
            Some(NotReady::new(
                Reason::RolloutPaused,
                format!(
                    "the rollout of Deployment {deployment} is paused, so pods of the old \
                     template stay and the queue does not shrink; resume it with kubectl rollout \
                     resume deployment/{deployment}"
                ),
            ))
        }
        (_, trouble) => trouble,
    }
}

/// Whether there is no room for a pod, in a quota or on the nodes.
fn lacks_room(trouble: &NotReady) -> bool {
    matches!(
        trouble.reason,
        Reason::PodsRefused | Reason::PodsUnschedulable
    )
}

/// Whether a rollout that ends pods before it starts others has new pods wait for the room of old
/// ones that drain.
fn waits_for_room(facts: &QueueFacts<'_>, trouble: &NotReady) -> bool {
    lacks_room(trouble) && !facts.queue.deployment.strategy.surges() && facts.seen.pods.drains()
}

/// The trouble of a rollout, with the strategy that needs no room if it lacks room.
fn with_room(facts: &QueueFacts<'_>, trouble: NotReady) -> String {
    if !lacks_room(&trouble) || !facts.queue.deployment.strategy.surges() {
        return trouble.message;
    }
    format!(
        "{}; or set deployment.strategy.rollingUpdate to maxSurge 0 and maxUnavailable 1, or \
         deployment.strategy.type to Recreate: old pods then end before new ones start, and the \
         rollout needs no room for more pods",
        trouble.message
    )
}

fn rolling(facts: &QueueFacts<'_>, queues: &[QueueFacts<'_>]) -> NotReady {
    let workload = facts.queue.workload();
    let trouble = pod_trouble(facts, queues);
    let message = if trouble.is_some_and(|trouble| waits_for_room(facts, &trouble)) {
        format!(
            "{workload} is replacing its pods; new ones start when the draining ones have made \
             room"
        )
    } else if replaces(facts) {
        format!("{workload} is replacing its pods")
    } else {
        format!("{workload} is starting its first pods")
    };
    NotReady::new(Reason::RollingOut, message)
}

/// What a person must fix, as `Ready` or `Progressing` report it.
pub(super) fn stalled(
    queues: &[QueueFacts<'_>],
    ready: &ConditionBuilder,
    progressing: &ConditionBuilder,
) -> ConditionBuilder {
    // A condition that is kept from an earlier pass says nothing about the present.
    let bad = [ready, progressing].into_iter().find(|condition| {
        condition.status == Status::False
            && condition.about != ObservedGeneration::KeepPrevious
            && waits_for_a_person(condition, queues)
    });
    match bad {
        Some(condition) => condition.same_reason(Status::True),
        None => ConditionBuilder::new(
            Status::False,
            Reason::NotStalled,
            "nothing needs manual action",
        ),
    }
}

/// Whether a condition will not change until somebody acts.
fn waits_for_a_person(condition: &ConditionBuilder, queues: &[QueueFacts<'_>]) -> bool {
    match condition.reason {
        Reason::InvalidSpec
        | Reason::SecretNotFound
        | Reason::SecretInvalid
        | Reason::ConfigMapNotFound
        | Reason::ConfigMapInvalid
        | Reason::ConnectionNotFound
        | Reason::ConnectionInvalid
        | Reason::ConnectionNotAllowed
        | Reason::ConnectionUntried
        | Reason::NameConflict
        | Reason::QueueConflict
        | Reason::ScalerConflict
        | Reason::TargetNotFound
        | Reason::ApplyFailed
        | Reason::Forbidden
        | Reason::ImagePullFailed
        | Reason::PodsFailing
        | Reason::RolloutStalled
        | Reason::RolloutPaused
        | Reason::InternalError => true,
        // Draining pods free room in a quota.
        Reason::PodsRefused => !any_draining(queues),
        // Nodes may be added automatically, and an API server, a webhook or other writers may
        // recover.
        _ => false,
    }
}

/// Whether the running pods are still on their way to the current generation.
pub(super) fn reconciling<'a>(
    queues: &[QueueFacts<'a>],
    blocked: &Blocked<'a>,
    stalled: &ConditionBuilder,
) -> ConditionBuilder {
    if stalled.status == Status::True {
        return stalled.same_reason(Status::False);
    }
    if let Some(condition) = worst(Status::True, &blocked.passing, rank::ready) {
        // An existing condition about this same generation is kept: a single error would make it
        // flicker.
        let about = if blocked.lately.is_empty() {
            ObservedGeneration::Current
        } else {
            ObservedGeneration::KeepExisting
        };
        return condition.about(about);
    }
    let rolling: Vec<Cause<'_>> = queues
        .iter()
        .filter(|facts| of(facts) != Rollout::Complete)
        .map(|facts| Cause::of_queue(facts.name(), rolling(facts, queues)))
        .collect();
    worst(Status::True, &rolling, |_| 0).unwrap_or_else(|| {
        ConditionBuilder::new(
            Status::False,
            Reason::Reconciled,
            "every replica runs the current template",
        )
    })
}
