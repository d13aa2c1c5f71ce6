//! Detects stuck fleets: problems that no number of replicas would solve. Pure.

use std::time::Duration;

use crate::format::duration;
use crate::head::{Head, Progress};
use crate::observation::{
    Backlog, Observation, PerType, PodPhase, Reading, SlotSource, TaskType, TypeBacklog,
};
use crate::slots::{Signal, SlotFacts};
use crate::time::Time;

/// How long a state must last before it is reported: longer than a pod takes to start and to send
/// its first heartbeat at the SDKs' default interval of 60 s.
const NO_POLLERS_AFTER: Duration = Duration::from_mins(2);
/// How long a backlog must have grown while slots were free.
const GROWING_AFTER: Duration = Duration::from_mins(1);

/// If the head of the backlog stays in place for this long, and workers report free slots before
/// and after that time, they do not take it: six readings.
const UNTAKEN_AFTER: Duration = Duration::from_secs(30);

/// A way to be stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stuck {
    /// Pods are Ready, but no poller and no heartbeat is seen.
    ReadyButNotPolling,
    /// The backlog grows although slots are free.
    BacklogGrowsWithFreeSlots,
    /// Tasks of a type wait, pods are Ready, and nobody polls for this type.
    QueueNotPolled,
    /// Tasks of a type wait, pods are Ready, and every poller for this type belongs to another
    /// Worker Deployment version than the one that receives the tasks.
    VersionNotCurrent,
}

impl Stuck {
    /// Every way, for metrics that are initialized to zero.
    pub const ALL: [Self; 4] = [
        Self::ReadyButNotPolling,
        Self::BacklogGrowsWithFreeSlots,
        Self::QueueNotPolled,
        Self::VersionNotCurrent,
    ];

    /// The way as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadyButNotPolling => "ReadyButNotPolling",
            Self::BacklogGrowsWithFreeSlots => "BacklogGrowsWithFreeSlots",
            Self::QueueNotPolled => "QueueNotPolled",
            Self::VersionNotCurrent => "VersionNotCurrent",
        }
    }

    /// The way as a sentence about one queue, without a final period.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ReadyButNotPolling => "ready pods of this queue do not poll it",
            Self::BacklogGrowsWithFreeSlots => {
                "the backlog of this queue grows although its workers have free slots"
            }
            Self::QueueNotPolled => {
                "no worker polls this queue for a type of task that waits on it"
            }
            Self::VersionNotCurrent => {
                "the tasks of this queue go to another Worker Deployment version than its workers \
                 have"
            }
        }
    }
}

/// A stuck state that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The way in which the fleet is stuck.
    pub kind: Stuck,
    /// Since when the fleet has been stuck.
    pub since: Time,
    /// One sentence, without fluctuating numbers.
    pub sentence: String,
}

/// Since when each suspicion has held without interruption.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Watch {
    not_polling: Option<Time>,
    not_polled: PerType<Option<Time>>,
    passed_by: PerType<Option<Time>>,
    growing: PerType<Option<Growth>>,
    /// Heads of the backlog that stay in place although slots are free.
    unmoved: PerType<Option<Unmoved>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unmoved {
    head: Head,
    /// The tasks of the type that these workers had processed when the head was first seen.
    processed: u64,
    /// When the first and the last of the reports that show free slots were made, at the earliest.
    since: Time,
    until: Time,
}

/// What the workers say about a waiting task.
enum Room {
    /// No worker has reported since the task arrived.
    Unheard,
    /// No worker has a free slot.
    None,
    /// A worker has one, according to a report that was made after this time.
    Free(Time),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Growth {
    since: Time,
    /// The replicas that were ready at first. More of them may clear the backlog.
    ready: u32,
    first: u64,
    last: u64,
}

impl Watch {
    /// Records a known reading.
    pub(crate) fn observe(
        &mut self,
        backlog: &Backlog,
        observation: &Observation,
        facts: &SlotFacts,
        progress: &Progress,
        repeated: bool,
        now: Time,
    ) {
        let ready = observation.replicas.ready > 0;
        let mut counted = backlog
            .types
            .iter()
            .filter_map(|(_, backlog)| backlog.as_ref());
        let no_poller = counted.all(|backlog| backlog.pollers == Some(0));
        hold(
            &mut self.not_polling,
            ready && no_poller && !any_sign_of_temporal(observation),
            now,
        );
        for task_type in TaskType::ALL {
            let Some(backlog) = backlog.types.get(task_type) else {
                *self.not_polled.get_mut(task_type) = None;
                *self.passed_by.get_mut(task_type) = None;
                *self.growing.get_mut(task_type) = None;
                *self.unmoved.get_mut(task_type) = None;
                continue;
            };
            let waits = ready && backlog.count > 0;
            let unpolled = waits && backlog.pollers == Some(0);
            hold(self.not_polled.get_mut(task_type), unpolled, now);
            let passed_by = waits && backlog.routed == Some(false);
            hold(self.passed_by.get_mut(task_type), passed_by, now);
            if repeated {
                continue;
            }
            let unmoved = self.unmoved.get_mut(task_type);
            let waits = backlog.count > 0 && !backlog.rate_limited;
            *unmoved = Some(room(observation, facts, task_type, backlog.age))
                .filter(|_| waits)
                .and_then(|room| Unmoved::next(*unmoved, &room, backlog, progress, task_type, now));
            let free = ready
                && facts.signal == Signal::Known
                && !*facts.taken.get(task_type)
                && !backlog.rate_limited;
            let growing = self.growing.get_mut(task_type);
            *growing = match *growing {
                Some(growth)
                    if free
                        && observation.replicas.ready <= growth.ready
                        && backlog.count >= growth.last
                        && backlog.count > 0 =>
                {
                    Some(Growth {
                        last: backlog.count,
                        ..growth
                    })
                }
                _ if free && backlog.count > 0 => Some(Growth {
                    since: now,
                    ready: observation.replicas.ready,
                    first: backlog.count,
                    last: backlog.count,
                }),
                _ => None,
            };
        }
    }
}

impl Watch {
    /// Forgets how long heads have stayed in place, but not those that have stayed too long. While
    /// Temporal does not answer, it may be what keeps tasks waiting.
    pub(crate) fn restart(&mut self) {
        for task_type in TaskType::ALL {
            if !self.is_untaken(task_type) {
                *self.unmoved.get_mut(task_type) = None;
            }
        }
    }

    /// Whether the head of a type's backlog has stayed in place too long although slots are free.
    pub(crate) fn is_untaken(&self, task_type: TaskType) -> bool {
        let unmoved = self.unmoved.get(task_type);
        unmoved.is_some_and(|head| head.until.since(head.since) >= UNTAKEN_AFTER)
    }

    /// The states that have lasted long enough to be reported.
    pub(crate) fn findings(&self, now: Time) -> Vec<Finding> {
        let after = |since: Option<Time>, least| since.filter(|since| now.since(*since) >= least);
        let mut findings = Vec::new();
        if let Some(since) = after(self.not_polling, NO_POLLERS_AFTER) {
            let sentence =
                "pods are Ready, but Temporal sees no poller and no heartbeat from them; \
                 check the worker's address, namespace, credentials and task queue"
                    .to_owned();
            findings.push(Finding {
                kind: Stuck::ReadyButNotPolling,
                since,
                sentence,
            });
        }
        for task_type in TaskType::ALL {
            let kind = task_type.as_str();
            let growing = *self.growing.get(task_type);
            if let Some(growth) = growing.filter(|growth| growth.last > growth.first)
                && now.since(growth.since) >= GROWING_AFTER
            {
                let sentence = format!(
                    "the backlog of {kind} tasks has grown for at least {} while {kind} slots \
                     are free; check that the workers register these {kind} types, that their \
                     pollers reach Temporal, and that neither a small number of pollers nor a rate \
                     limit of their own holds them back",
                    duration(GROWING_AFTER)
                );
                findings.push(Finding {
                    kind: Stuck::BacklogGrowsWithFreeSlots,
                    since: growth.since,
                    sentence,
                });
            }
            if let Some(since) = after(*self.passed_by.get(task_type), NO_POLLERS_AFTER) {
                let sentence = format!(
                    "{kind} tasks wait, but no worker that polls for them has the Worker \
                     Deployment \
                     version that they are routed to; make the workers' version current \
                     (`temporal worker deployment set-current-version`)"
                );
                findings.push(Finding {
                    kind: Stuck::VersionNotCurrent,
                    since,
                    sentence,
                });
            }
            let silent = after(*self.not_polled.get(task_type), NO_POLLERS_AFTER);
            if let Some(since) = silent.filter(|_| self.not_polling.is_none()) {
                let sentence = format!(
                    "{kind} tasks wait and pods are Ready, but no worker polls for {kind} tasks; \
                     check that the workers serve this task type, or remove it from taskTypes"
                );
                findings.push(Finding {
                    kind: Stuck::QueueNotPolled,
                    since,
                    sentence,
                });
            }
        }
        findings
    }
}

impl Unmoved {
    /// What a new reading, in which tasks wait, makes of an earlier one. `None` = these workers
    /// take them, or have no room.
    fn next(
        earlier: Option<Self>,
        room: &Room,
        backlog: &TypeBacklog,
        progress: &Progress,
        task_type: TaskType,
        now: Time,
    ) -> Option<Self> {
        let processed = *progress.processed.get(task_type);
        let stays = earlier.and_then(|mut earlier| {
            earlier.head.count(progress.dispatched(backlog), now);
            let later = earlier.head.is_later(backlog, now);
            let taken = earlier.head.is_cleared(backlog) && processed > earlier.processed;
            (!later && !taken).then_some(earlier)
        });
        match (room, stays) {
            (Room::None, _) => None,
            (Room::Unheard, stays) => stays,
            (Room::Free(at), Some(stays)) => Some(Self {
                until: stays.until.max(*at),
                ..stays
            }),
            (Room::Free(at), None) => Some(Self {
                head: Head::new(backlog, now),
                processed,
                since: *at,
                until: *at,
            }),
        }
    }
}

/// Whether a worker had a free slot for a task that has waited for `age`, according to a heartbeat
/// that was sent while the task waited. A worker without a slot limit has room if it does nothing;
/// a worker that does not serve the type has room, too: it never takes the task.
fn room(observation: &Observation, facts: &SlotFacts, task_type: TaskType, age: Duration) -> Room {
    let Reading::Known { value, taken_at } = &observation.slots else {
        return Room::Unheard;
    };
    let waits_since = taken_at.minus(age);
    let heard = value.pods.iter().filter_map(|pod| {
        let after = pod.reported_after.filter(|after| *after >= waits_since)?;
        let counts = pod.phase == PodPhase::Ready && pod.fresh;
        counts.then_some((pod, after))
    });
    let rooms = heard.map(|(pod, after)| {
        let slots = pod.types.get(task_type);
        let free =
            slots.is_none_or(|slots| slots.available.map_or(slots.used == 0, |free| free > 0));
        free.then_some(after)
    });
    let known = facts.signal == Signal::Known;
    match rooms.reduce(Option::max).filter(|_| known) {
        None => Room::Unheard,
        Some(None) => Room::None,
        Some(Some(after)) => Room::Free(after),
    }
}

fn hold(since: &mut Option<Time>, holds: bool, now: Time) {
    if holds {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}

/// Whether any worker shows that it reaches Temporal. A heartbeat does. Metrics do only if the
/// worker has tasks, because a worker without a connection serves them too.
fn any_sign_of_temporal(observation: &Observation) -> bool {
    let Reading::Known { value, .. } = &observation.slots else {
        return false;
    };
    let mut live = value
        .pods
        .iter()
        .filter(|pod| pod.fresh && pod.phase != PodPhase::Terminating);
    match value.source {
        SlotSource::Heartbeats => live.next().is_some(),
        SlotSource::Scraped => live.any(|pod| pod.used() > Some(0)),
    }
}
