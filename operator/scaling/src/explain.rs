//! One plain sentence per decision: the change, the inputs, the binding demand, the binding limit.
//! Produces text only; decides nothing.

use crate::decision::{Decision, Inputs};
use crate::demand::{Demand, Term, TypeDemand};
use crate::format::{count, duration, thousandths};
use crate::limits::Context;
use crate::observation::{Reading, TaskType, UnknownReason};
use crate::policy::Mode;
use crate::reason::Reason;
use crate::release::HeldPod;

/// Explains the number of a decision whose other fields are final.
pub(crate) fn why(context: &Context<'_>, decision: &Decision) -> String {
    let mut text = String::new();
    match (&context.observation.backlog, decision.reason) {
        (_, Reason::Paused) => text.push_str("mode is Paused"),
        (Reading::Unknown { reason, .. }, _) => {
            text.push_str("the backlog is unknown because ");
            text.push_str(reason.sentence());
        }
        (Reading::Known { .. }, _) => match &decision.demand {
            None => text.push_str("nothing has been read since the last decision"),
            Some(demand) => match demand.binding {
                None => text.push_str(&undemanded(decision)),
                Some((task_type, term)) => demanded(&mut text, decision, task_type, term),
            },
        },
    }
    limited(&mut text, context, decision);
    text
}

/// Describes what a decision does to the replicas.
pub(crate) fn change(context: &Context<'_>, decision: &Decision) -> String {
    let (from, to) = (decision.previous, decision.desired);
    if from == to {
        return format!("kept at {from}");
    }
    match context.policy.mode {
        Mode::DryRun => format!("would scale {from} to {to}"),
        Mode::Active | Mode::Paused => format!("scaled {from} to {to}"),
    }
}

/// Explains a demand of zero: nothing waits, or what waits is not taken. Why not is unknown: these
/// workers may not serve it, or Temporal may not hand it out.
fn undemanded(decision: &Decision) -> String {
    let untaken = decision.demand.iter().flat_map(|demand| {
        let types = demand.types.iter();
        types.filter(|(_, demand)| demand.is_some_and(|demand| demand.untaken))
    });
    let kinds: Vec<&str> = untaken.map(|(task_type, _)| task_type.as_str()).collect();
    if kinds.is_empty() {
        return "no task waits, none arrives and no slot is in use".to_owned();
    }
    let waiting = decision.inputs.backlog_count();
    format!(
        "{} not taken, although {} slots are free",
        match waiting {
            1 => "1 waiting task is".to_owned(),
            many => format!("{many} waiting tasks are"),
        },
        kinds.join(" and ")
    )
}

fn demanded(text: &mut String, decision: &Decision, task_type: TaskType, term: Term) {
    let inputs = &decision.inputs;
    let slots = *inputs.slots_per_replica.get(task_type);
    let wanted = decision.demand.map_or(0, |demand| demand.replicas());
    let backlog = inputs
        .backlog
        .ok()
        .and_then(|types| *types.get(task_type))
        .unwrap_or_default();
    let kind = task_type.as_str();
    let service = inputs.service_time.get(task_type);
    let per_replica = format!(
        "{} of {}{}",
        count(wanted.into(), "replica"),
        count(slots.into(), "slot"),
        share(inputs)
    );
    let target = format!("{} target", duration(inputs.queue_wait_target));
    let waits = match backlog.count {
        0 => format!("no {kind} task waits"),
        1 => format!("1 {kind} task waits"),
        many => format!("{many} {kind} tasks wait"),
    };
    let arrive = if inputs.rates_trusted && backlog.add_rate_milli > 0 {
        format!(" and {}/s arrive", thousandths(backlog.add_rate_milli))
    } else {
        String::new()
    };
    let (cover, clear, take, keep) = if wanted == 1 {
        ("covers", "clears", "takes", "keeps")
    } else {
        ("cover", "clear", "take", "keep")
    };
    let reserve = inputs.target_utilization.map_or_else(
        || format!(" with the reserve for the {target}"),
        |_| String::new(),
    );
    let clause = match term {
        Term::InFlight => {
            let used = inputs.slots_in_use.map_or(0, |used| *used.get(task_type));
            let mean = thousandths(*inputs.mean_slots_in_use_milli.get(task_type));
            let blind = match inputs.blind_pods {
                0 => String::new(),
                pods => format!(" and {} not reporting", count(pods.into(), "pod")),
            };
            let slots_in_use = count(used, &format!("{kind} slot"));
            format!(
                "{slots_in_use} in use ({mean} on average){blind}; {waits}; {per_replica} {cover} \
                 the slots in use{reserve}"
            )
        }
        Term::Drain => {
            let learned = if service.is_learned() {
                "takes"
            } else {
                "is assumed to take"
            };
            let late = backlog.age > inputs.queue_wait_target;
            let untaken = binding(decision).is_some_and(|demand| demand.untaken);
            let clears = if decision.demand.is_some_and(|demand| demand.rate_limited) {
                format!("{per_replica} {take} what the queue's rate limit lets through")
            } else if backlog.count == 0 || untaken {
                format!("{per_replica} {keep} up{reserve}")
            } else if late {
                format!("{per_replica} {clear} them, some later than the {target}")
            } else {
                format!("{per_replica} {clear} them within the {target}")
            };
            let mean = duration(service.mean());
            format!("{waits}{arrive}; a task {learned} {mean}; {clears}")
        }
        Term::Age => {
            let ready = count(inputs.replicas.ready.into(), "ready replica");
            let taken = match inputs.slots_in_use {
                Ok(_) => format!("nearly every slot of {ready} is in use"),
                Err(_) => format!("no slot of {ready} is known to be free"),
            };
            format!(
                "{waits}, the oldest for {} against a target of {}, and {taken}; one step is added",
                duration(backlog.age),
                duration(inputs.queue_wait_target),
            )
        }
        Term::Capacity => {
            let takes = inputs.capacity_milli.get(task_type).unwrap_or(0);
            format!(
                "{waits}{arrive}; a replica takes {}/s while tasks wait; {}",
                thousandths(takes),
                by_capacity(decision, wanted)
            )
        }
        Term::BacklogPerReplica => {
            format!(
                "{waits}; backlogPerReplica asks for {}",
                count(wanted.into(), "replica")
            )
        }
    };
    text.push_str(&clause);
}

/// The share of the slots that the user lets tasks fill, if set: the sentence says so wherever it
/// counts.
fn share(inputs: &Inputs) -> String {
    inputs
        .target_utilization
        .map_or_else(String::new, |percent| format!(" at {percent}%"))
}

/// What follows from the tasks that a replica takes.
fn by_capacity(decision: &Decision, wanted: u32) -> String {
    let doubled = decision.inputs.replicas.ready.saturating_mul(2);
    if wanted > decision.previous && wanted == doubled {
        return format!("they wait too long, so the ready replicas are doubled to {wanted}");
    }
    let are = if wanted == 1 { "is" } else { "are" };
    format!(
        "so {}{} {are} needed",
        count(wanted.into(), "replica"),
        share(&decision.inputs)
    )
}

/// The demand of the type that asks for the most replicas.
fn binding(decision: &Decision) -> Option<&TypeDemand> {
    let demand = decision.demand.as_ref()?;
    let (task_type, _) = demand.binding?;
    demand.types.get(task_type).as_ref()
}

fn limited(text: &mut String, context: &Context<'_>, decision: &Decision) {
    // The sentence of the drain says so itself.
    let said = |demand: &Demand| matches!(demand.binding, Some((_, Term::Drain)));
    let limited = decision.demand.filter(|demand| demand.rate_limited);
    if limited.is_some_and(|demand| !said(&demand)) {
        text.push_str("; the queue's rate limit cannot feed more replicas");
    }
    if binding(decision).is_some_and(|demand| demand.untaken) {
        text.push_str("; the waiting tasks are not taken, although slots are free");
    }
    if decision.demand.is_some_and(|demand| demand.in_vain) {
        text.push_str("; adding replicas did not raise the throughput");
    }
    let Some(last) = decision.limits.last() else {
        return;
    };
    let to = last.to;
    let stays = if decision.previous == decision.desired {
        "kept at"
    } else {
        "limited to"
    };
    let clause = match last.by {
        Reason::WithinTolerance => format!("; within the tolerance of {to}"),
        Reason::ScaleUpStabilized => {
            format!("; limited to {to} by the scaleUp stabilization window")
        }
        Reason::ScaleDownStabilized => {
            format!("; {stays} {to} by the scaleDown stabilization window")
        }
        Reason::ScaleUpPolicy => format!("; limited to {to} by the scaleUp policy"),
        Reason::ScaleDownPolicy => format!("; {stays} {to} by the scaleDown policy"),
        Reason::ScaleUpDisabled => format!("; {stays} {to} because scaleUp is disabled"),
        Reason::ScaleDownDisabled => format!("; {stays} {to} because scaleDown is disabled"),
        Reason::WarmingUp => format!("; held at {to} until there is enough history"),
        Reason::RolloutInProgress => format!("; {stays} {to} during the rollout"),
        Reason::BusyPods => format!("; {stays} {to}: {}", held(&decision.inputs.held_pods)),
        Reason::CoolingDown => {
            format!("; {stays} {to} until the queue has been idle for the whole cooldown")
        }
        Reason::SlotsUnknown => {
            let why = decision.inputs.slots_in_use.err();
            let why = why.map_or("", UnknownReason::sentence);
            format!("; {stays} {to} because the slots in use are unknown: {why}")
        }
        Reason::Fallback => format!("; the fallback asks for {to}"),
        Reason::ScheduledMinimum => format!("; the schedule asks for at least {to}"),
        Reason::ForecastMinimum => {
            let forecast = context.policy.forecast;
            let pattern = forecast.map_or("", |forecast| forecast.pattern.describe());
            format!("; the forecast asks for at least {to}: {pattern}")
        }
        Reason::MinReplicas => format!("; replicas.min is {to}"),
        Reason::MaxReplicas => format!("; replicas.max allows {to} of {}", last.from),
        // These reasons never appear in the list of limits.
        Reason::SlotsInUse
        | Reason::Drain
        | Reason::BacklogAge
        | Reason::ReplicaCapacity
        | Reason::BacklogPerReplica
        | Reason::NoDemand
        | Reason::RateLimited
        | Reason::ThroughputLimited
        | Reason::Activated
        | Reason::BacklogUnknown
        | Reason::AlreadyActedOn
        | Reason::Paused => return,
    };
    text.push_str(&clause);
}

/// Describes the pods that hold the fleet, a few of them by name.
fn held(pods: &[HeldPod]) -> String {
    const NAMED: usize = 3;
    let mut clauses: Vec<String> = pods
        .iter()
        .take(NAMED)
        .map(|held| format!("pod {} {}", held.pod, held.hold.describe()))
        .collect();
    let more = pods.len().saturating_sub(NAMED);
    if more > 0 {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        clauses.push(format!("{} must stay", count(more, "more pod")));
    }
    clauses.join("; ")
}
