//! The conditions of a fleet. Pure. Messages hold no number that moves by itself, so that an
//! unchanged fleet keeps its conditions.
//!
//! Nothing good is said of a generation that was not applied. Errors that pass by themselves keep
//! what was said before for [`blocked::KEPT`], about the generation of then.

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

/// The conditions of a fleet whose spec cannot be accepted: nothing was touched.
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

/// The conditions of a fleet that was worked on.
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
