//! Pods that used up their drain grace period. What they still had in work then is cancelled and costs
//! an attempt; none of that happens in silence. Pure.
//!
//! A worker that keeps to its grace period is gone a moment after it: mostly it is found out only when
//! the pod is gone, so what drains is remembered from pass to pass. An idle worker ends at once, so one
//! that reached the end of its grace period was busy, whether or not its slots are known.

use jiff::Timestamp;
use taskqueue_api::Reason;
use taskqueue_scaling::PodSlots;

use crate::memory::{Drain, QueueMemory};
use crate::observe::ObservedQueue;
use crate::report::conditions::QueueFacts;
use crate::report::events::Happening;

/// The Events about drains that ended or went on past their grace period since the last pass.
pub fn exceeded(facts: &QueueFacts<'_>, now: Timestamp) -> Vec<Happening> {
    let over = present(facts.memory, facts.seen).chain(gone(facts.memory, facts.seen));
    over.filter(|(_, drain)| drain.ends <= now && !drain.told)
        .map(|(pod, drain)| happening(facts, &pod, drain.used))
        .collect()
}

/// How many pods are past their grace period and still there.
pub fn overdue(seen: &ObservedQueue, now: Timestamp) -> u32 {
    let over = seen
        .pods
        .draining
        .iter()
        .filter(|(_, ends)| *ends <= now)
        .count();
    u32::try_from(over).unwrap_or(u32::MAX)
}

/// Remembers what drains now, for the next pass.
pub fn remember(memory: &mut QueueMemory, seen: &ObservedQueue, now: Timestamp) {
    let told = |drain: Drain| Drain {
        told: drain.told || drain.ends <= now,
        ..drain
    };
    memory.draining = present(memory, seen)
        .map(|(pod, drain)| (pod, told(drain)))
        .collect();
}

/// What drains now, with what was known about it before.
fn present<'a>(
    memory: &'a QueueMemory,
    seen: &'a ObservedQueue,
) -> impl Iterator<Item = (String, Drain)> + 'a {
    let used = |pod: &str| {
        let pods = seen.slots.known().map_or(&[][..], |slots| &slots.pods);
        pods.iter()
            .find(|slots| slots.pod == pod)
            .and_then(PodSlots::used)
    };
    seen.pods.draining.iter().map(move |(pod, ends)| {
        let before = memory.draining.get(pod);
        let drain = Drain {
            ends: *ends,
            used: used(pod).or_else(|| before?.used),
            told: before.is_some_and(|before| before.told),
        };
        (pod.clone(), drain)
    })
}

/// What drained when it was last seen and is not there any more.
fn gone<'a>(
    memory: &'a QueueMemory,
    seen: &'a ObservedQueue,
) -> impl Iterator<Item = (String, Drain)> + 'a {
    let drains = |name: &str| seen.pods.draining.iter().any(|(pod, _)| pod == name);
    let known = memory.draining.iter().filter(move |(pod, _)| !drains(pod));
    known.map(|(pod, drain)| (pod.clone(), drain.clone()))
}

fn happening(facts: &QueueFacts<'_>, pod: &str, used: Option<u32>) -> Happening {
    let had = match used {
        Some(1) => "1 task that was still running is".to_owned(),
        Some(many @ 2..) => format!("{many} tasks that were still running are"),
        Some(0) | None => "what was still running is".to_owned(),
    };
    Happening {
        warning: true,
        reason: Reason::DrainExceeded.as_str().to_owned(),
        action: "Drain",
        note: format!(
            "queue {}: pod {pod} used up its drain grace period: {had} cancelled and attempted again; raise drain.gracePeriod if tasks take that long",
            facts.queue.name
        ),
        deployment: Some(facts.queue.deployment_name.clone()),
    }
}

#[cfg(test)]
mod tests;
