//! Warnings about a spec that is valid but cannot achieve what it asks for, and about what workers
//! are seen to do wrong. Each is reported once per generation, as an Event. Pure.

use std::time::Duration;

use taskqueue_api::{DurationString, Reason};
use taskqueue_scaling::TaskType;

use crate::fleet_state::QueueState;
use crate::report::events::EventDraft;
use crate::report::facts::QueueFacts;
use crate::report::thresholds::Thresholds;
use crate::worker_faults::with_remedy;

/// The warnings that apply to one queue now, reported or not.
pub struct Advice {
    queue: String,
    deployment: Option<String>,
    all: Vec<(Reason, String)>,
}

impl Advice {
    /// Derives the warnings from the facts of a pass.
    pub fn of(facts: &QueueFacts<'_>, thresholds: &Thresholds) -> Self {
        let all = [
            polling(facts, thresholds),
            from_zero(facts, thresholds),
            requests(facts),
        ];
        Self {
            queue: facts.queue.name.clone(),
            deployment: facts.queue.deployment().map(str::to_owned),
            all: all.into_iter().flatten().chain(of_workers(facts)).collect(),
        }
    }

    /// The queue concerned.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Events for the warnings that have not been reported for this generation.
    pub fn events(&self, state: &QueueState, generation: i64) -> Vec<EventDraft> {
        let unreported =
            |(reason, _): &&(Reason, String)| state.advised.get(reason) != Some(&generation);
        let event = |(reason, text): &(Reason, String)| EventDraft {
            warning: true,
            reason: reason.as_str().to_owned(),
            action: "Advise",
            note: format!("queue {}: {text}", self.queue),
            deployment: self.deployment.clone(),
        };
        self.all.iter().filter(unreported).map(event).collect()
    }

    /// Records that all of them were reported for this generation.
    pub fn remember(&self, state: &mut QueueState, generation: i64) {
        state.advised.retain(|_, about| *about == generation);
        state
            .advised
            .extend(self.all.iter().map(|(reason, _)| (*reason, generation)));
    }
}

fn polling(facts: &QueueFacts<'_>, thresholds: &Thresholds) -> Option<(Reason, String)> {
    let interval = facts.queue.policy.polling_interval;
    let cache = thresholds.statistics_cache;
    (interval < cache).then(|| {
        let text = format!(
            "pollingInterval is {}, but Temporal caches the statistics for {}, so the queue is \
             read every {}; set pollingInterval to that, or, if the server caches for a shorter \
             time, set --temporal-statistics-cache of the operator",
            display(interval),
            display(cache),
            display(cache),
        );
        (Reason::PollingIntervalTooShort, text)
    })
}

/// A task that wakes a queue waits for the server's cache and for a pod to start. The start is
/// estimated from the existing pods; before one has started, only the cache counts.
fn from_zero(facts: &QueueFacts<'_>, thresholds: &Thresholds) -> Option<(Reason, String)> {
    let policy = &facts.queue.policy;
    if policy.min > 0 || policy.max == 0 {
        return None;
    }
    let (cache, target) = (thresholds.statistics_cache, policy.queue_wait_target);
    let start = facts.seen.pods.start;
    let floor = cache.saturating_add(start.unwrap_or_default());
    (target < floor).then(|| {
        let pod = start.map_or_else(
            || "for a pod to start".to_owned(),
            |start| format!("about {} for a pod to start", display(start)),
        );
        let text = format!(
            "queueWaitTarget is {}, but a task that wakes the queue from zero replicas waits up \
             to {} until Temporal's statistics show it, and {pod}; set replicas.min to at least \
             1, or queueWaitTarget to {} or more",
            display(target),
            display(cache),
            display(floor.max(target.saturating_add(Duration::from_secs(1)))),
        );
        (Reason::WaitTargetTooShort, text)
    })
}

/// A Nexus operation waits in no backlog, only with its caller.
fn requests(facts: &QueueFacts<'_>) -> Option<(Reason, String)> {
    let policy = &facts.queue.policy;
    let only = facts
        .queue
        .task_types
        .iter()
        .all(|of| *of == TaskType::Nexus);
    (only && policy.min == 0 && policy.max > 0).then(|| {
        let text = "a Nexus operation that arrives at zero replicas is gone when its caller gives \
                    up, and may be before a pod has started; set replicas.min to at least 1, \
                    unless every caller tries again";
        (Reason::RequestsExpire, text.to_owned())
    })
}

/// What the workers do wrong. Polling while draining has an Event for each pod.
fn of_workers(facts: &QueueFacts<'_>) -> impl Iterator<Item = (Reason, String)> {
    let found = facts.state.worker_faults.found();
    let unreported = found.filter(|(reason, _)| *reason != Reason::PollsAfterStop);
    unreported.map(|(reason, fault)| (reason, with_remedy(reason, &fault.evidence)))
}

fn display(duration: Duration) -> DurationString {
    duration.into()
}

#[cfg(test)]
mod tests;
