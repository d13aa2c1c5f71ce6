//! Events about draining pods whose tasks were cut off, which cancels the tasks and costs them an
//! attempt, and about workers that keep taking tasks. None of this goes unreported. Pure.
//!
//! How a worker ended shows whether its tasks were cut off. Kubernetes' times are compared with
//! each other, never with our clock, which may be ahead. A pod also remains while one of its
//! sidecars runs, which cuts nothing off.

use std::time::Duration;

use jiff::Timestamp;
use taskqueue_api::{DurationString, Reason};
use taskqueue_scaling::{PodSlots, Time};
use taskqueue_temporal::{WorkerReport, WorkerStatus};

use crate::fleet_state::{Drain, QueueState};
use crate::observe::ObservedQueue;
use crate::observe::drains::{Draining, Killed, WorkerEnd};
use crate::report::events::EventDraft;
use crate::report::facts::QueueFacts;
use crate::worker_faults::with_remedy;

/// How long a pod may exist after its grace period without its node reporting how its worker ended.
/// The kubelet kills the worker a margin after its grace period, and reports that.
const END_REPORT_TIMEOUT: Duration = Duration::from_mins(2);

/// The Events about drains since the last pass.
pub fn events(facts: &QueueFacts<'_>, now: Time) -> Vec<EventDraft> {
    let mut events = Vec::new();
    for Judged { drain, cut, .. } in drains(facts.state, facts.seen, now) {
        let before = facts.state.draining.get(&drain.pod.pod);
        if drain.took > 0 && before.is_none_or(|before| before.took == 0) {
            events.push(polls(facts, &drain));
        }
        if let Some(cut) = cut.filter(|_| !drain.reported) {
            events.push(exceeded(facts, &drain, cut));
        }
    }
    events
}

/// How many pods still exist past their grace period without a known end of their worker.
pub fn overdue(seen: &ObservedQueue, now: Timestamp) -> u32 {
    let over = seen.pods.draining.iter();
    let over = over.filter(|pod| pod.end.is_none() && pod.ends <= now);
    u32::try_from(over.count()).unwrap_or(u32::MAX)
}

/// Keeps the draining pods for the next pass.
pub fn remember(state: &mut QueueState, seen: &ObservedQueue, now: Time) {
    let drains: Vec<Judged> = drains(state, seen, now).collect();
    let there = drains.into_iter().filter(|judged| judged.there);
    state.draining = there
        .map(|judged| {
            let reported = judged.drain.reported || judged.cut.is_some();
            let drain = Drain {
                reported,
                ..judged.drain
            };
            (drain.pod.pod.clone(), drain)
        })
        .collect();
}

/// A drain, and what to report about it.
struct Judged {
    drain: Drain,
    /// Whether the pod still exists.
    there: bool,
    /// How its tasks were cut off, if they were.
    cut: Option<Cut>,
}

/// How tasks were cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The worker cancelled them at the end of its grace period.
    GraceUsedUp,
    /// The pod was deleted with a shorter grace period.
    Shortened(Duration),
    /// The worker had not ended by itself when its pod was killed, after the grace period.
    Killed,
    /// Somebody killed the worker before the end of its grace period.
    KilledEarly,
    /// The worker was killed because it exceeded its memory limit.
    OutOfMemory,
    /// Its node does not report how it ended.
    EndUnknown,
}

/// The draining pods, including those that have disappeared since the last pass.
fn drains<'a>(
    state: &'a QueueState,
    seen: &'a ObservedQueue,
    now: Time,
) -> impl Iterator<Item = Judged> + 'a {
    let there = seen.pods.draining.iter().map(move |pod| {
        let drain = drain(state, seen, pod, now);
        let cut = match &pod.end {
            Some(end) => cut(&drain, *end),
            None => overdue_for(&drain, now, END_REPORT_TIMEOUT).then_some(Cut::EndUnknown),
        };
        Judged {
            drain,
            there: true,
            cut,
        }
    });
    let is_there = |name: &str| seen.pods.draining.iter().any(|pod| pod.pod == name);
    let ended = seen.pods.gone.iter().filter(move |pod| !is_there(&pod.pod));
    let ended = ended.map(move |pod| {
        let drain = drain(state, seen, pod, now);
        let cut = pod.end.and_then(|end| cut(&drain, end));
        Judged {
            drain,
            there: false,
            cut,
        }
    });
    let has_ended = |name: &str| seen.pods.gone.iter().any(|pod| pod.pod == name);
    let lost = state.draining.values();
    let lost = lost.filter(move |drain| !is_there(&drain.pod.pod) && !has_ended(&drain.pod.pod));
    let lost = lost.map(move |drain| {
        let how = drain.pod.shortened_to;
        let how = how.map_or(Cut::GraceUsedUp, Cut::Shortened);
        let cut = overdue_for(drain, now, Duration::ZERO).then_some(how);
        Judged {
            drain: drain.clone(),
            there: false,
            cut,
        }
    });
    there.chain(ended).chain(lost)
}

/// What is known about a drain now.
fn drain(state: &QueueState, seen: &ObservedQueue, pod: &Draining, now: Time) -> Drain {
    let before = state.draining.get(&pod.pod);
    let pods = seen.slots.known().map_or(&[][..], |slots| &slots.pods);
    let slots = pods.iter().find(|slots| slots.pod == pod.pod);
    let since = before.map_or(now, |before| before.since);
    let mut pod = pod.clone();
    // A deletion can only shorten the grace period of an earlier one, and the object of a pod that
    // was removed does not tell the one that counted.
    if let Some(earlier) = before.filter(|before| before.pod.ends < pod.ends) {
        pod.grace = earlier.pod.grace;
        pod.ends = earlier.pod.ends;
        pod.shortened_to = earlier.pod.shortened_to;
    }
    let mut drain = Drain {
        pod: pod.clone(),
        since,
        used: slots.and_then(PodSlots::used).or_else(|| before?.used),
        taken: before.and_then(|before| before.taken),
        took: before.map_or(0, |before| before.took),
        reported: before.is_some_and(|before| before.reported),
    };
    // Until a preStop hook has ended, the worker does not know that it must stop.
    if let Some(taken) = taken_since(seen, &pod, since).filter(|_| !pod.hooked) {
        let first = *drain.taken.get_or_insert(taken);
        drain.took = drain.took.max(taken.saturating_sub(first));
    }
    drain
}

/// How many tasks the polling workers of a pod have taken in total, by heartbeats that they sent
/// after the pod began to drain. Polling workers report the status `Running`.
fn taken_since(seen: &ObservedQueue, pod: &Draining, since: Time) -> Option<u64> {
    let reports = seen.reading.workers.known()?;
    let polls = |report: &&WorkerReport| {
        report.host_name == pod.pod
            && report.status == WorkerStatus::Running
            && report
                .heartbeat_sent_after
                .is_some_and(|sent| sent >= since)
    };
    let types = reports
        .iter()
        .filter(polls)
        .flat_map(|report| report.slots.iter().filter_map(|(_, slots)| *slots));
    let counts = types.filter_map(|slots| {
        let processed = slots.processed_total?;
        Some(processed.saturating_add(u64::from(slots.used)))
    });
    counts.reduce(u64::saturating_add)
}

/// How an ended worker was cut off, if it was.
fn cut(drain: &Drain, end: WorkerEnd) -> Option<Cut> {
    let in_time = end.at.is_some_and(|at| at < drain.pod.ends);
    let shortened = drain.pod.shortened_to.filter(|_| !in_time);
    let cut = match (end.killed, shortened) {
        (Some(Killed::OutOfMemory), _) => Cut::OutOfMemory,
        (_, Some(grace)) => Cut::Shortened(grace),
        (Some(Killed::Other), None) if in_time => Cut::KilledEarly,
        (Some(Killed::Other), None) => Cut::Killed,
        (None, None) if in_time => return None,
        (None, None) => Cut::GraceUsedUp,
    };
    (drain.used != Some(0)).then_some(cut)
}

/// Whether a pod has drained for at least its grace period plus `margin`, by our own clock, and
/// was not idle when it last reported.
fn overdue_for(drain: &Drain, now: Time, margin: Duration) -> bool {
    let allowed = drain.pod.grace.saturating_add(margin);
    drain.used != Some(0) && now.since(drain.since) >= allowed
}

fn exceeded(facts: &QueueFacts<'_>, drain: &Drain, cut: Cut) -> EventDraft {
    let had = match drain.used {
        Some(1) => "1 running task was".to_owned(),
        Some(many @ 2..) => format!("{many} running tasks were"),
        Some(0) | None => "any running tasks were".to_owned(),
    };
    let pod = &drain.pod.pod;
    let (what, advice) = match cut {
        Cut::GraceUsedUp => (
            "used up its drain grace period".to_owned(),
            "raise drain.gracePeriod if tasks take longer".to_owned(),
        ),
        Cut::Shortened(grace) => (
            format!(
                "was deleted with a grace period of only {}",
                DurationString::from(grace)
            ),
            "kubectl delete --grace-period, or an eviction with a grace period of its own, \
             overrides the drain grace period: leave it out".to_owned(),
        ),
        Cut::Killed => (
            "was killed after its drain grace period, because it had not stopped".to_owned(),
            format!(
                "its worker must cancel its running tasks and exit by itself after \
                 TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS, here {}",
                drain.pod.grace.as_secs()
            ),
        ),
        Cut::KilledEarly => (
            "was killed before its drain grace period was over".to_owned(),
            "the Events of its node and the log of its kubelet say who killed it".to_owned(),
        ),
        Cut::OutOfMemory => (
            "was killed while it drained, because its worker used more memory than its limit"
                .to_owned(),
            "raise resources.limits.memory, or give the worker fewer slots".to_owned(),
        ),
        Cut::EndUnknown => (
            "is long past its drain grace period, and its node does not report how its worker ended"
                .to_owned(),
            "check whether the node is alive".to_owned(),
        ),
    };
    let advice = if drain.took > 0 && cut != Cut::OutOfMemory {
        "its worker ignores SIGTERM, see the Event PollsAfterStop".to_owned()
    } else {
        advice
    };
    event(
        facts,
        Reason::DrainExceeded,
        &format!("pod {pod} {what}: {had} cancelled and will be attempted again; {advice}"),
    )
}

fn polls(facts: &QueueFacts<'_>, drain: &Drain) -> EventDraft {
    let pod = &drain.pod.pod;
    let tasks = match drain.took {
        1 => "a task".to_owned(),
        many => format!("{many} tasks"),
    };
    let evidence = format!(
        "pod {pod} is draining but has taken {tasks} since it began to drain: its worker ignores \
         SIGTERM"
    );
    let reason = Reason::PollsAfterStop;
    event(facts, reason, &with_remedy(reason, &evidence))
}

fn event(facts: &QueueFacts<'_>, reason: Reason, text: &str) -> EventDraft {
    EventDraft {
        warning: true,
        reason: reason.as_str().to_owned(),
        action: "Drain",
        note: format!("queue {}: {text}", facts.queue.name),
        deployment: facts.queue.deployment().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
