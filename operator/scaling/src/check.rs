//! The promises of a decision as a list of checks, shared by the property tests, the simulation and
//! a `debug_assert` after each decision. Pure.

use crate::decision::Decision;
use crate::history::History;
use crate::limits::{self, Allowed, Context};
use crate::observation::{Observation, Reading};
use crate::policy::{Mode, Policy};
use crate::reason::Reason;
use crate::slots::Signal;
use crate::time::Time;

/// A promise that a decision breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// The number is outside the user's bounds.
    OutsideBounds,
    /// The fleet shrinks although the backlog is not known.
    ShrinksOnUnknownBacklog,
    /// The fleet shrinks although the slots in use are temporarily unknown, or the arrivals are and
    /// nobody reports slots.
    ShrinksOnUnknownSlots,
    /// The step is larger than a policy allows.
    StepTooLarge,
    /// The last replica goes without proof that the queue is idle.
    ZeroWithoutProof,
    /// The fleet shrinks during a rollout.
    ShrinksDuringRollout,
    /// Pods go although their tasks are not known to end within the grace period.
    RemovesBusyPods,
    /// The fleet shrinks without a window of history.
    ShrinksWithoutHistory,
    /// The decision acts although it changes nothing, or although the mode forbids it.
    ActsForNothing,
    /// The recorded limits do not lead from the demand to the number.
    AccountBroken,
}

/// Returns every promise that `decision` breaks. Each promise holds within the user's bounds; the
/// bounds override all others.
pub fn violations(
    policy: &Policy,
    observation: &Observation,
    history: &History,
    decision: &Decision,
    now: Time,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut check = |broken: bool, violation| {
        if broken {
            found.push(violation);
        }
    };
    check(!account_holds(decision), Violation::AccountBroken);
    let forbidden = decision.act && policy.mode != Mode::Active;
    let pointless = decision.act && decision.desired == decision.previous;
    check(forbidden || pointless, Violation::ActsForNothing);
    if policy.mode == Mode::Paused {
        return found;
    }
    let min = policy.min.min(policy.max);
    let outside = decision.desired < min || decision.desired > policy.max;
    check(outside, Violation::OutsideBounds);

    // A change that a bound forces is not judged further.
    let before_max = decision
        .limits
        .iter()
        .find(|limited| limited.by == Reason::MaxReplicas);
    let wanted = before_max.map_or(decision.desired, |limited| limited.from);
    let floor = policy.floor();
    let requested = observation.replicas.requested;
    let shrinks = wanted < requested;
    let facts = history.slot_facts(observation);
    let context = Context {
        policy,
        observation,
        history,
        facts: &facts,
        now,
    };

    let unknown = matches!(observation.backlog, Reading::Unknown { .. });
    check(shrinks && unknown, Violation::ShrinksOnUnknownBacklog);
    if unknown {
        return found;
    }
    let missing = match facts.signal {
        Signal::Known => false,
        Signal::Missing(_) => true,
        Signal::None => !history.rates_trusted(),
    };
    check(shrinks && missing, Violation::ShrinksOnUnknownSlots);
    check(
        shrinks && observation.replicas.rollout_in_progress,
        Violation::ShrinksDuringRollout,
    );
    check(
        wanted == 0 && requested > 0 && !limits::proven_idle(&context),
        Violation::ZeroWithoutProof,
    );
    let may_go = context
        .release(0)
        .map_or(u32::MAX, |release| release.replicas);
    let busy = facts.signal == Signal::Known && requested.saturating_sub(wanted) > may_go;
    check(shrinks && busy, Violation::RemovesBusyPods);
    let window = policy.behavior.scale_down.stabilization_window;
    let covered = history
        .covered_since()
        .is_some_and(|since| now.since(since) >= window);
    check(shrinks && !covered, Violation::ShrinksWithoutHistory);
    if decision.demand.is_some() {
        check(
            step_too_large(&context, wanted, floor),
            Violation::StepTooLarge,
        );
    }
    found
}

fn step_too_large(context: &Context<'_>, wanted: u32, floor: u32) -> bool {
    let behavior = &context.policy.behavior;
    let requested = context.requested();
    let too_high = match limits::highest_allowed(&behavior.scale_up, context) {
        Allowed::Any => false,
        Allowed::None => wanted > requested.max(floor),
        Allowed::To(limit) => wanted > limit.max(requested).max(floor),
    };
    let too_low = match limits::lowest_allowed(&behavior.scale_down, context) {
        Allowed::Any => false,
        Allowed::None => wanted < requested,
        Allowed::To(limit) => wanted < limit.min(requested),
    };
    too_high || too_low
}

fn account_holds(decision: &Decision) -> bool {
    let linked = decision.limits.windows(2).all(|pair| match pair {
        [before, after] => before.to == after.from,
        _ => true,
    });
    let starts = match (&decision.demand, decision.limits.first()) {
        (Some(demand), Some(first)) => first.from == demand.replicas(),
        (Some(demand), None) => decision.desired == demand.replicas(),
        (None, _) => true,
    };
    let ends = decision
        .limits
        .last()
        .is_none_or(|last| last.to == decision.desired && last.by == decision.reason);
    linked && starts && ends
}
