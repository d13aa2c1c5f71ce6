//! What the workers of a queue are seen to do wrong. Each rule has a file of its own. Pure; the
//! time is passed in.
//!
//! The rules are conservative: while a worker may be right, they say nothing. A fault is forgotten
//! when the workers show the opposite, when there are pods with another template, or when it has
//! not been seen for a day. Pods that a rollout replaces are not judged by what they do while they
//! run.

mod early_ends;
mod heartbeats;
mod other_queues;
mod slot_use;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use taskqueue_api::Reason;
use taskqueue_api::worker_fault::{ALL, remedy};
use taskqueue_scaling::{Backlog, PodPhase, PodSlots, Reading, Slots, Time};
use taskqueue_temporal::{LivePod, WorkerReport, WorkerStatus};

use crate::clock::Moment;
use crate::observe::pods::Pods;
use early_ends::EarlyEnds;
use heartbeats::HeartbeatRecord;
use slot_use::{SlotRecord, SlotUse};
use verdict::Verdict;

/// How long a fault is remembered that is not seen again.
const REMEMBERED: Duration = Duration::from_hours(24);

/// What an Event says of a fault of a queue's workers, without the queue: the evidence and the
/// remedy.
pub fn with_remedy(fault: Reason, evidence: &str) -> String {
    remedy(fault).map_or_else(
        || evidence.to_owned(),
        |remedy| format!("{evidence}; {remedy}"),
    )
}

/// A fault that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The pod that showed it first.
    pub pod: String,
    /// When it was first seen.
    pub since: Timestamp,
    /// What was seen then, as a clause.
    pub evidence: String,
    seen_at: Time,
}

/// What is known about the workers of one queue in one pass.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The task queue that the workers should poll.
    pub task_queue: &'a str,
    /// The task queue that they are leaving for it.
    pub former_task_queue: Option<&'a str>,
    /// The pods, sorted by name.
    pub pods: &'a Pods,
    /// The worker list.
    pub workers: &'a Reading<Vec<WorkerReport>>,
    /// The slots of the live pods.
    pub slots: &'a Reading<Slots>,
    /// The tasks that wait.
    pub backlog: &'a Reading<Backlog>,
    /// How long an activity takes on average, if that was learned.
    pub task_time: Option<Duration>,
    /// A draining pod that continues to take tasks.
    pub polling: Option<&'a str>,
}

/// What is remembered about the workers of one queue.
#[derive(Debug, Default)]
pub struct WorkerFaults {
    /// The template of the pods that were judged.
    template: Option<String>,
    listed_at: Option<Time>,
    slots_at: Option<Time>,
    /// The pods that are judged.
    pods: BTreeMap<String, PodRecord>,
    slot_use: SlotUse,
    ends: EarlyEnds,
    found: BTreeMap<Reason, Fault>,
}

/// What is remembered about one pod.
#[derive(Debug, Default)]
struct PodRecord {
    heartbeats: HeartbeatRecord,
    slots: SlotRecord,
}

impl WorkerFaults {
    /// The faults that were seen, in the order of [`ALL`].
    pub fn found(&self) -> impl Iterator<Item = (Reason, &Fault)> {
        ALL.into_iter()
            .filter_map(|reason| Some((reason, self.found.get(&reason)?)))
    }

    /// Takes in the facts of a pass. The same readings twice change nothing.
    pub fn observe(&mut self, facts: &Facts<'_>, now: Moment) {
        self.forget(facts.pods, now.monotonic);
        if let Reading::Known { value, taken_at } = facts.workers
            && self.listed_at.is_none_or(|listed_at| listed_at < *taken_at)
        {
            self.listed_at = Some(*taken_at);
            self.reports(value, facts, now);
        }
        self.slots(facts, now);
        let drained = facts.pods.draining.iter().chain(&facts.pods.gone);
        drained.for_each(|pod| self.ends.note(pod, now.monotonic));
        let reports = facts.workers.known().map_or(&[][..], Vec::as_slice);
        let verdict = self.ends.judge(
            reports,
            facts.task_queue,
            self.listed_at,
            facts.task_time,
            now.monotonic,
        );
        self.take(Reason::EndsBeforeItsTasks, verdict, now);
        if let Some(pod) = facts.polling {
            let verdict = Verdict::Fault {
                pod: pod.to_owned(),
                evidence: format!("pod {pod} has taken tasks since it began to drain"),
            };
            self.take(Reason::PollsAfterStop, verdict, now);
        }
    }

    /// Forgets what no longer counts.
    fn forget(&mut self, pods: &Pods, now: Time) {
        if let Some(template) = &pods.template
            && self.template.as_ref() != Some(template)
            && self.template.replace(template.clone()).is_some()
        {
            self.pods.clear();
            self.found.clear();
            self.slot_use = SlotUse::default();
        }
        self.pods.retain(|name, _| is_judged(pods, name));
        self.found
            .retain(|_, fault| now.since(fault.seen_at) < REMEMBERED);
    }

    /// Judges what is new in the worker list.
    fn reports(&mut self, reports: &[WorkerReport], facts: &Facts<'_>, now: Moment) {
        let running = reports
            .iter()
            .filter(|report| report.status == WorkerStatus::Running)
            .filter(|report| is_judged(facts.pods, &report.host_name));
        for report in running {
            if report.task_queue == facts.task_queue {
                let pod = self.pods.entry(report.host_name.clone()).or_default();
                let verdict = pod.heartbeats.next(report);
                self.take(Reason::HeartbeatsTooRare, verdict, now);
            } else if facts.former_task_queue != Some(&report.task_queue) {
                let verdict = other_queues::judge(report);
                self.take(Reason::WorksOnOtherQueues, verdict, now);
            }
        }
    }

    /// Judges what is new in the slots.
    fn slots(&mut self, facts: &Facts<'_>, now: Moment) {
        self.slot_use.waiting(facts.backlog);
        let Reading::Known { value, taken_at } = facts.slots else {
            return;
        };
        if value.pods.is_empty() || self.slots_at.is_some_and(|slots_at| slots_at >= *taken_at) {
            return;
        }
        self.slots_at = Some(*taken_at);
        let judged = |pod: &&PodSlots| pod.fresh && is_judged(facts.pods, &pod.pod);
        for pod in value.pods.iter().filter(judged) {
            let record = self.pods.entry(pod.pod.clone()).or_default();
            let verdict = self.slot_use.next(pod, &mut record.slots);
            self.take(Reason::SlotsNeverUsed, verdict, now);
        }
    }

    fn take(&mut self, reason: Reason, verdict: Verdict, now: Moment) {
        match verdict {
            Verdict::Open => {}
            Verdict::Fine => {
                self.found.remove(&reason);
            }
            Verdict::Fault { pod, evidence } => {
                let fault = self.found.entry(reason).or_insert(Fault {
                    pod,
                    since: now.wall,
                    evidence,
                    seen_at: now.monotonic,
                });
                fault.seen_at = now.monotonic;
            }
        }
    }
}

/// Whether a pod runs, and with the newest template.
fn is_judged(pods: &Pods, name: &str) -> bool {
    let found = pods
        .live
        .binary_search_by(|pod| pod.name.as_str().cmp(name));
    let live: Option<&LivePod> = found.ok().and_then(|at| pods.live.get(at));
    live.is_some_and(|pod| pod.phase != PodPhase::Terminating) && !pods.replaced.contains(name)
}

#[cfg(test)]
mod tests;
