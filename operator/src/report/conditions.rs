//! The conditions of a fleet. Pure. Messages contain no numbers that change by themselves, so an
//! unchanged fleet keeps identical conditions.
//!
//! A generation that was not applied is never reported as good. Transient errors leave the earlier
//! conditions unchanged, with the generation that they are about, for [`blocked::KEPT`].

pub mod blocked;
pub mod draft;
mod rank;
mod ready;
mod rollout;
mod scaling;

use taskqueue_api::{ConditionType, Reason};
use taskqueue_scaling::Time;

use crate::report::facts::QueueFacts;
use crate::report::thresholds::Thresholds;

use blocked::{Blocked, Unpruned};
use draft::{ConditionBuilder, ConditionDraft, Status};

/// The conditions of a fleet with an invalid spec: nothing was changed.
pub fn invalid(message: &str) -> Vec<ConditionDraft> {
    let draft =
        |kind, status| ConditionBuilder::new(status, Reason::InvalidSpec, message).build(kind);
    vec![
        draft(ConditionType::Ready, Status::False),
        draft(ConditionType::ScalingActive, Status::False),
        draft(ConditionType::Reconciling, Status::False),
        draft(ConditionType::Stalled, Status::True),
    ]
}

/// The conditions of a fleet after a pass over an accepted spec.
pub fn conditions(
    queues: &[QueueFacts<'_>],
    unpruned: &Unpruned<'_>,
    thresholds: &Thresholds,
    now: Time,
) -> Vec<ConditionDraft> {
    let blocked = Blocked::collect(queues, unpruned, now);
    let ready = ready::ready(queues, &blocked, now);
    let progressing = rollout::progressing(queues, &blocked);
    let stalled = rollout::stalled(queues, &ready, &progressing);
    let reconciling = rollout::reconciling(queues, &blocked, &stalled);
    let active = scaling::active(queues, thresholds, now);
    let limited = scaling::limited(queues);
    vec![
        ready.build(ConditionType::Ready),
        progressing.build(ConditionType::Progressing),
        active.build(ConditionType::ScalingActive),
        limited.build(ConditionType::ScalingLimited),
        reconciling.build(ConditionType::Reconciling),
        stalled.build(ConditionType::Stalled),
    ]
}

#[cfg(test)]
mod tests;
