//! The chain of limits between the demand and the decision. Pure.
//!
//! Each limit is one small function that may only change the number, and records its name if it
//! does. The order is the specification; the user's bounds come last and always win.

use crate::decision::Limited;
use crate::demand::Demand;
use crate::history::History;
use crate::observation::Observation;
use crate::policy::{Fallback, Policy, ScalingRules, SelectPolicy, StepKind, StepPolicy};
use crate::reason::Reason;
use crate::release::{Judge, Release};
use crate::slots::{Signal, SlotFacts};
use crate::time::Time;

/// What every limit can read.
pub(crate) struct Context<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) observation: &'a Observation,
    pub(crate) history: &'a History,
    pub(crate) facts: &'a SlotFacts,
    pub(crate) now: Time,
}

impl Context<'_> {
    pub(crate) const fn requested(&self) -> u32 {
        self.observation.replicas.requested
    }

    /// Which pods may go if `wanted` replicas are enough; `None` if the slots are unknown.
    pub(crate) fn release(&self, wanted: u32) -> Option<Release<'_>> {
        let slots = self.observation.slots.known()?;
        let judge = Judge {
            learner: self.history.learner(),
            grace: self.policy.drain_grace_period,
            now: self.now,
            drains: self.is_far_too_large(wanted),
            first_ordinal: self.history.first_ordinal(self.now),
        };
        Some(judge.release(&self.observation.replicas, &slots.pods))
    }

    /// Waiting for idle pods costs less than running a fleet of twice the size that leaves a
    /// quarter of the slots free. The wait target's own rule may leave none free: `wanted` is
    /// smaller then.
    fn is_far_too_large(&self, wanted: u32) -> bool {
        let (times, of) = match self.policy.target_utilization {
            Some(_) => (2, 1),
            None => (8, 3),
        };
        wanted.saturating_mul(times) <= self.requested().saturating_mul(of)
    }
}

/// The replica count on its way through the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Number {
    pub(crate) replicas: u32,
    pub(crate) limits: Vec<Limited>,
}

impl Number {
    pub(crate) const fn new(replicas: u32) -> Self {
        Self {
            replicas,
            limits: Vec::new(),
        }
    }

    pub(crate) fn move_to(&mut self, to: u32, by: Reason) {
        if to != self.replicas {
            self.limits.push(Limited {
                by,
                from: self.replicas,
                to,
            });
            self.replicas = to;
        }
    }

    fn at_least(&mut self, floor: u32, by: Reason) {
        self.move_to(self.replicas.max(floor), by);
    }

    fn at_most(&mut self, ceiling: u32, by: Reason) {
        self.move_to(self.replicas.min(ceiling), by);
    }
}

/// A demand close to the present size changes nothing. The comparison uses the unrounded demand, as
/// the HPA does, so it costs at most `tolerance` of the free slots.
pub(crate) fn tolerance(number: &mut Number, context: &Context<'_>, demand: &Demand) {
    let requested = u128::from(context.requested()).saturating_mul(1000);
    let milli = u128::from(demand.milli);
    if requested == 0 || milli == 0 || demand.replicas() == context.requested() {
        return;
    }
    let rules = if milli > requested {
        &context.policy.behavior.scale_up
    } else {
        &context.policy.behavior.scale_down
    };
    let allowed = requested.saturating_mul(u128::from(rules.tolerance_percent)) / 100;
    if milli.abs_diff(requested) <= allowed {
        number.move_to(context.requested(), Reason::WithinTolerance);
    }
}

/// Up: the smallest recommendation in the scaleUp window. Down: the largest in the scaleDown
/// window, or in a shorter one if the wait target leaves time to start pods again. If the present
/// size lies between the two, it stays.
pub(crate) fn stabilization(number: &mut Number, context: &Context<'_>) {
    let behavior = &context.policy.behavior;
    let requested = context.requested();
    let recommended = number.replicas;
    if recommended > requested {
        let window = behavior.scale_up.stabilization_window;
        let lowest = context
            .history
            .past()
            .lowest(window, context.now)
            .map(|(_, low)| low);
        let floor = lowest
            .map_or(recommended, |low| low.min(recommended))
            .max(requested);
        number.at_most(floor, Reason::ScaleUpStabilized);
    } else if recommended < requested {
        let window = behavior.scale_down.stabilization_window;
        let window = context.history.headroom(context.policy).hold(window);
        let highest = context
            .history
            .past()
            .highest(window, context.now)
            .map(|(_, high)| high);
        let ceiling = highest
            .map_or(recommended, |high| high.max(recommended))
            .min(requested);
        number.at_least(ceiling, Reason::ScaleDownStabilized);
    }
}

/// The step limits of the HPA: at most a number of pods or a percentage per period.
pub(crate) fn steps(number: &mut Number, context: &Context<'_>) {
    let behavior = &context.policy.behavior;
    let requested = context.requested();
    if number.replicas > requested {
        match highest_allowed(&behavior.scale_up, context) {
            Allowed::Any => {}
            Allowed::None => number.at_most(requested, Reason::ScaleUpDisabled),
            Allowed::To(limit) => number.at_most(limit.max(requested), Reason::ScaleUpPolicy),
        }
    } else if number.replicas < requested {
        match lowest_allowed(&behavior.scale_down, context) {
            Allowed::Any => {}
            Allowed::None => number.at_least(requested, Reason::ScaleDownDisabled),
            Allowed::To(limit) => number.at_least(limit.min(requested), Reason::ScaleDownPolicy),
        }
    }
}

/// What the step limits of one direction allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// No step limit.
    Any,
    /// No change in this direction.
    None,
    /// Up to (or down to) this number.
    To(u32),
}

/// The most replicas that the scaleUp policies allow now.
pub(crate) fn highest_allowed(rules: &ScalingRules, context: &Context<'_>) -> Allowed {
    allowed(
        rules,
        context,
        SelectPolicy::Max,
        |start, policy| match policy.kind {
            StepKind::Pods => start.saturating_add(policy.value),
            // Rounded up, and a percentage of zero is one: a step must be possible, or a small
            // fleet would never grow.
            StepKind::Percent => percent(start, 100_u64.saturating_add(policy.value.into()), true)
                .max(start.saturating_add(u32::from(start == 0 && policy.value > 0))),
        },
    )
}

/// The fewest replicas that the scaleDown policies allow now.
pub(crate) fn lowest_allowed(rules: &ScalingRules, context: &Context<'_>) -> Allowed {
    allowed(
        rules,
        context,
        SelectPolicy::Min,
        |start, policy| match policy.kind {
            StepKind::Pods => start.saturating_sub(policy.value),
            StepKind::Percent => percent(start, 100_u64.saturating_sub(policy.value.into()), false),
        },
    )
}

fn allowed(
    rules: &ScalingRules,
    context: &Context<'_>,
    largest_number: SelectPolicy,
    reach: impl Fn(u32, &StepPolicy) -> u32,
) -> Allowed {
    if rules.select == SelectPolicy::Disabled {
        return Allowed::None;
    }
    let reached = rules.policies.iter().map(|policy| {
        let (added, removed) = context.history.past().changes(policy.period, context.now);
        let start = context
            .requested()
            .saturating_sub(added)
            .saturating_add(removed);
        reach(start, policy)
    });
    let chosen = if rules.select == largest_number {
        reached.max()
    } else {
        reached.min()
    };
    chosen.map_or(Allowed::Any, Allowed::To)
}

fn percent(of: u32, percent: u64, up: bool) -> u32 {
    let product = u64::from(of).saturating_mul(percent);
    let result = if up {
        product.div_ceil(100)
    } else {
        product / 100
    };
    u32::try_from(result).unwrap_or(u32::MAX)
}

/// While service times are unknown, a fleet that began at zero may have this many replicas after
/// its first reading, whatever that reading requested.
const FIRST_STEP: u32 = 10;

/// Nothing shrinks until one scaleDown window of history exists. The first reading never changes a
/// fleet that was already running, and until service times are known such a fleet at most doubles.
/// A fleet at zero gets the right size at once; until service times are known, each further step at
/// most quadruples it.
pub(crate) fn warm_up(number: &mut Number, context: &Context<'_>, demand: Option<&Demand>) {
    let requested = context.requested();
    let window = context.policy.behavior.scale_down.stabilization_window;
    let covered = context
        .history
        .covered_since()
        .is_some_and(|since| !context.history.first_sample() && context.now.since(since) >= window);
    if covered || requested == 0 {
        return;
    }
    number.at_least(requested, Reason::WarmingUp);
    let from_zero = context.history.began_at_zero();
    if context.history.first_sample() && !from_zero {
        number.at_most(requested, Reason::WarmingUp);
    }
    let learned = demand
        .and_then(|demand| demand.binding)
        .is_some_and(|(task_type, _)| {
            context
                .history
                .service_time(task_type, context.policy)
                .is_learned()
        });
    if !learned {
        let most = if from_zero {
            requested.saturating_mul(4).max(FIRST_STEP)
        } else {
            let ready = context.observation.replicas.ready.max(1);
            ready.saturating_mul(2).max(requested)
        };
        number.at_most(most, Reason::WarmingUp);
    }
}

/// Deletion costs rank pods only within one ReplicaSet, so nothing shrinks during a rollout.
pub(crate) fn rollout(number: &mut Number, context: &Context<'_>) {
    if context.observation.replicas.rollout_in_progress {
        number.at_least(context.requested(), Reason::RolloutInProgress);
    }
}

/// Removes only pods that may be terminated: see [`crate::release`].
pub(crate) fn busy_pods(number: &mut Number, context: &Context<'_>) {
    if context.facts.signal == Signal::Known
        && let Some(release) = context.release(number.replicas)
    {
        let stay = context.requested().saturating_sub(release.replicas);
        number.at_least(stay, Reason::BusyPods);
    }
}

/// While the slots are temporarily unknown, nothing shrinks. Without any signal the fleet never
/// goes to zero, and does not shrink while the arrivals are unknown too.
pub(crate) fn slots_known(number: &mut Number, context: &Context<'_>) {
    let least = match context.facts.signal {
        Signal::Known => 0,
        Signal::None if context.history.rates_trusted() => context.requested().min(1),
        Signal::None | Signal::Missing(_) => context.requested(),
    };
    number.at_least(least, Reason::SlotsUnknown);
}

/// The last replica goes only after the queue has been proven idle for the whole cooldown.
pub(crate) fn safe_zero(number: &mut Number, context: &Context<'_>) {
    let may_be_zero = context.policy.min > 0 || context.requested() == 0 || proven_idle(context);
    if number.replicas == 0 && !may_be_zero {
        number.move_to(1, Reason::CoolingDown);
    }
}

/// Whether the readings prove that the queue has been idle for the whole cooldown period.
pub(crate) fn proven_idle(context: &Context<'_>) -> bool {
    let proven = context
        .history
        .idle_since()
        .zip(context.history.sampled_at());
    context.facts.idle()
        && proven.is_some_and(|(since, sampled)| {
            // A heartbeat from before the silence cannot include the last task.
            let heard_after = since.plus(context.policy.polling_interval);
            // A task that passes by the queue, an eager or a sticky one, shows in a heartbeat only.
            // So the last pod goes right after one, and not up to a minute later.
            let pace = context.history.pace(context.policy);
            let just_heard = context.facts.silence.saturating_mul(2) <= pace.saturating_mul(3);
            context
                .facts
                .oldest_report
                .is_none_or(|oldest| oldest >= heard_after)
                && just_heard
                && sampled.since(since) >= context.policy.cooldown_period
        })
}

/// After enough failed readings in a row, requests at least the fallback's replicas. Never shrinks.
pub(crate) fn fallback(number: &mut Number, fallback: Option<Fallback>, failures: u32) {
    if let Some(Fallback {
        failure_threshold,
        replicas,
    }) = fallback
        && failures >= failure_threshold.max(1)
    {
        number.at_least(replicas, Reason::Fallback);
    }
}

/// Applies the minimums of the schedule and the forecast, then the user's bounds.
pub(crate) fn bounds(number: &mut Number, policy: &Policy) {
    number.at_least(
        policy.scheduled_min.min(policy.max),
        Reason::ScheduledMinimum,
    );
    if let Some(forecast) = policy.forecast {
        number.at_least(forecast.replicas.min(policy.max), Reason::ForecastMinimum);
    }
    number.at_least(policy.min, Reason::MinReplicas);
    number.at_most(policy.max, Reason::MaxReplicas);
}
