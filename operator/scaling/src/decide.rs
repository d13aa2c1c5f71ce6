//! The decision: computes the demand, applies the chain of limits, and records both. Pure.

use std::time::Duration;

use crate::decision::{Decision, Inputs, SampleId};
use crate::demand::{Demand, demand};
use crate::history::History;
use crate::limits::{self, Context, Number};
use crate::observation::{Observation, PerType, Reading, UnknownReason};
use crate::policy::{Mode, Policy};
use crate::reason::Reason;
use crate::slots::{Signal, SlotFacts};
use crate::time::Time;
use crate::{check, explain};

/// Decides how many replicas a queue should have.
///
/// `history` must have seen `observation` ([`History::observe`]). A reading is acted on once: after
/// [`History::carried_out`], deciding on the same reading again gives the same number.
pub fn decide(
    policy: &Policy,
    observation: &Observation,
    history: &History,
    now: Time,
) -> Decision {
    let facts = history.slot_facts(observation);
    let context = Context {
        policy,
        observation,
        history,
        facts: &facts,
        now,
    };
    let outcome = if policy.mode == Mode::Paused {
        Outcome::hold(observation.replicas.requested, Reason::Paused)
    } else {
        match &observation.backlog {
            Reading::Unknown { failures, .. } => unknown(&context, *failures),
            Reading::Known { .. } if acted_on(&context) => again(&context),
            Reading::Known { value, .. } => {
                let queue = history.queue_facts(policy);
                fresh(&context, demand(policy, &value.types, &facts, &queue))
            }
        }
    };
    let decision = account(&context, outcome);
    debug_assert_eq!(
        check::violations(policy, observation, history, &decision, now),
        Vec::new()
    );
    decision
}

/// The replicas to create a queue's Deployment with, before anything has been read.
pub fn initial_replicas(policy: &Policy) -> u32 {
    let mut number = Number::new(0);
    limits::bounds(&mut number, policy);
    number.replicas
}

/// How long after `now` the caller may wait before it needs a new reading and decides again: the
/// polling interval, or less if a window, a cooldown or the period of untrusted rates ends earlier.
pub fn requeue_after(
    policy: &Policy,
    observation: &Observation,
    history: &History,
    now: Time,
) -> Duration {
    let quiet = history.idle_since().is_some() && observation.replicas.is_zero();
    let interval = if quiet {
        policy.quiet_polling_interval
    } else {
        policy.polling_interval
    };
    let window = policy.behavior.scale_down.stabilization_window;
    let hold = history.headroom(policy).hold(window);
    let ends = [
        history
            .idle_since()
            .map(|since| since.plus(policy.cooldown_period)),
        history.covered_since().map(|since| since.plus(window)),
        history
            .past()
            .highest(hold, now)
            .map(|(at, _)| at.plus(hold)),
        history.rates_bad_until(),
    ];
    let next = ends
        .into_iter()
        .flatten()
        .filter(|end| *end > now)
        .map(|end| end.since(now))
        .min();
    next.unwrap_or(interval).min(interval)
}

/// The sample that an observation carries, if the backlog is known.
pub(crate) fn sample_of(observation: &Observation) -> Option<SampleId> {
    let backlog = observation.backlog.known()?;
    let slots_taken_at = observation.slots.taken_at();
    Some(SampleId {
        sequence: backlog.sequence,
        slots_taken_at,
    })
}

fn acted_on(context: &Context<'_>) -> bool {
    let sample = sample_of(context.observation);
    sample.is_some() && sample == context.history.acted()
}

/// The result of the chain, before the decision records it.
struct Outcome {
    number: Number,
    demand: Option<Demand>,
    recommendation: Option<u32>,
    /// The reason if no limit changed the number.
    reason: Reason,
}

impl Outcome {
    const fn hold(replicas: u32, reason: Reason) -> Self {
        Self {
            number: Number::new(replicas),
            demand: None,
            recommendation: None,
            reason,
        }
    }
}

/// The backlog is unknown: hold, apply the fallback, and stay within the bounds. The last decided
/// number is held too, in case somebody else has removed replicas since.
fn unknown(context: &Context<'_>, failures: u32) -> Outcome {
    let decided = context.history.target().unwrap_or(0);
    let held = context.requested().max(decided);
    let mut outcome = Outcome::hold(held, Reason::BacklogUnknown);
    limits::fallback(&mut outcome.number, context.policy.fallback, failures);
    limits::bounds(&mut outcome.number, context.policy);
    outcome
}

/// The reading has been acted on before, so that decision still holds. This matters if somebody
/// else has changed the replicas since, or the bounds have changed.
fn again(context: &Context<'_>) -> Outcome {
    let target = context
        .history
        .target()
        .unwrap_or_else(|| context.requested());
    let mut outcome = Outcome::hold(target, Reason::AlreadyActedOn);
    safety(&mut outcome.number, context, None);
    limits::bounds(&mut outcome.number, context.policy);
    outcome
}

/// A new reading goes through the whole chain.
fn fresh(context: &Context<'_>, demand: Demand) -> Outcome {
    let requested = context.requested();
    let reason = match demand.binding {
        None => Reason::NoDemand,
        Some(_) if demand.rate_limited => Reason::RateLimited,
        Some(_) if demand.in_vain => Reason::ThroughputLimited,
        Some(_) if requested == 0 => Reason::Activated,
        Some((_, term)) => term.reason(),
    };
    let mut number = Number::new(demand.replicas());
    limits::tolerance(&mut number, context, &demand);
    let recommendation = Some(number.replicas);
    limits::stabilization(&mut number, context);
    limits::steps(&mut number, context);
    safety(&mut number, context, Some(&demand));
    limits::bounds(&mut number, context.policy);
    Outcome {
        number,
        demand: Some(demand),
        recommendation,
        reason,
    }
}

/// The limits that protect working pods.
fn safety(number: &mut Number, context: &Context<'_>, demand: Option<&Demand>) {
    limits::warm_up(number, context, demand);
    limits::rollout(number, context);
    limits::busy_pods(number, context);
    limits::slots_known(number, context);
    limits::safe_zero(number, context);
}

fn account(context: &Context<'_>, outcome: Outcome) -> Decision {
    let Outcome {
        number,
        demand,
        recommendation,
        reason,
    } = outcome;
    let previous = context.requested();
    let desired = number.replicas;
    let mut decision = Decision {
        desired,
        previous,
        act: desired != previous && context.policy.mode == Mode::Active,
        demand,
        reason: number.limits.last().map_or(reason, |limited| limited.by),
        limits: number.limits,
        change: String::new(),
        why: String::new(),
        inputs: inputs(context, recommendation.unwrap_or(desired)),
        recommendation,
        sample: sample_of(context.observation),
    };
    decision.change = explain::change(context, &decision);
    decision.why = explain::why(context, &decision);
    decision
}

fn inputs(context: &Context<'_>, wanted: u32) -> Inputs {
    let Context {
        policy,
        observation,
        history,
        facts,
        ..
    } = context;
    let backlog = match &observation.backlog {
        Reading::Known { value, .. } => Ok(value.types),
        Reading::Unknown { reason, .. } => Err(*reason),
    };
    Inputs {
        replicas: observation.replicas,
        backlog,
        slots_in_use: slots_in_use(facts),
        mean_slots_in_use_milli: PerType::from_fn(|task_type| history.used_milli(task_type)),
        blind_pods: facts.blind,
        busy_pods: facts.busy,
        held_pods: context
            .release(wanted)
            .map_or_else(Vec::new, |release| release.held),
        slots_per_replica: PerType::from_fn(|task_type| {
            history.slots_per_replica(task_type, policy)
        }),
        service_time: PerType::from_fn(|task_type| history.service_time(task_type, policy)),
        capacity_milli: PerType::from_fn(|task_type| history.capacity_milli(task_type)),
        rates_trusted: history.rates_trusted(),
        queue_wait_target: policy.queue_wait_target,
        target_utilization: policy
            .target_utilization
            .map(|percent| percent.clamp(1, 100)),
    }
}

fn slots_in_use(facts: &SlotFacts) -> Result<PerType<u64>, UnknownReason> {
    match facts.signal {
        Signal::Known => Ok(facts.used),
        Signal::Missing(reason) => Err(reason),
        Signal::None => Err(UnknownReason::NoHeartbeats),
    }
}
