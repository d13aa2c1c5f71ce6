//! Learning how long a task takes, from what workers report about themselves. Pure.
//!
//! Little's law: over any span, mean service time = (slots in use, summed over time) ÷ (tasks
//! processed). Both come from the workers' heartbeats, because the queue's dispatch rate leaves out
//! eager and sticky tasks. A worker's unseen last moments are left out of both sums, so pods that
//! come and go do not bend the ratio.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::millis;
use crate::{PerType, PodPhase, PodSlots, Slots, TaskType, Time, TypeSlots};

/// What a task is assumed to take before anything was learned (or the queue's wait target, if that
/// is shorter). With the default target of 5 s it gives every waiting task a slot of its own, which
/// is the most that can ever help; with a long target it starts small, since there is time to learn.
pub const DEFAULT_SERVICE_TIME: Duration = Duration::from_secs(5);

/// Completions that must have been seen before a mean is believed.
const ENOUGH_COMPLETIONS: u64 = 16;
/// Heartbeats that must have been compared before a mean is believed.
const ENOUGH_HEARTBEATS: u64 = 3;
/// The sums are halved when they hold this many completions ...
const WINDOW_COMPLETIONS: u64 = 256;
/// ... and this many heartbeats: old behaviour fades, and slow tasks keep a window long enough.
const WINDOW_HEARTBEATS: u64 = 24;
/// A longest service time that has not been reached again for this long is forgotten.
const LONGEST_REMEMBERED: Duration = Duration::from_hours(24);
/// Marks kept per pod and type to tell how long a task has certainly run.
const MARKS: usize = 8;

/// A mean service time, and whether it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceTime {
    /// Measured over the workers' heartbeats.
    Learned {
        /// The mean.
        mean: Duration,
    },
    /// Not measured yet: [`DEFAULT_SERVICE_TIME`], or more if tasks have visibly run for longer.
    Assumed {
        /// The mean that is assumed.
        mean: Duration,
    },
}

impl ServiceTime {
    /// The mean to reckon with.
    pub const fn mean(self) -> Duration {
        match self {
            Self::Learned { mean } | Self::Assumed { mean } => mean,
        }
    }

    /// Whether it was measured.
    pub const fn is_learned(self) -> bool {
        matches!(self, Self::Learned { .. })
    }
}

/// What has been learned about one task type of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Sums {
    /// Slots in use, integrated over time.
    slot_millis: u64,
    /// Tasks processed over the same spans.
    completed: u64,
    /// The spans, summed.
    span_millis: u64,
    /// How many spans.
    heartbeats: u64,
    /// No task can have taken longer: the longest span without a known idle moment.
    upper: Option<Duration>,
    /// Some task has certainly run this long, and when that was last seen.
    longest: Option<(Duration, Time)>,
    /// Mean age of the tasks in flight, as of the last heartbeats; a floor while nothing is learned.
    mean_age: Duration,
    /// Slots of one replica, as last reported.
    slots_per_replica: Option<u32>,
}

/// The last heartbeat of one worker and type.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Last {
    used: u32,
    processed: u64,
    /// The last moment at which no slot was in use.
    idle_at: Option<Time>,
    /// (moment, processed + used at that moment): while `processed` stays below the second, a task
    /// that ran at that moment still runs.
    marks: VecDeque<(Time, u64)>,
}

/// What one reading says about one worker and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    used: u32,
    processed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pod {
    reported_at: Option<Time>,
    /// When it was first seen without ever having sent a heartbeat: it was idle then.
    born: Option<Time>,
    types: PerType<Option<Last>>,
}

/// Everything learned from heartbeats.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Learner {
    sums: PerType<Sums>,
    pods: BTreeMap<String, Pod>,
    heard: bool,
    processed_grew: bool,
}

impl Learner {
    /// Takes a slots reading in. A heartbeat that was seen before changes nothing.
    pub(crate) fn observe(&mut self, slots: &Slots, now: Time) {
        self.processed_grew = false;
        let present = |name: &String| slots.pods.iter().any(|pod| &pod.pod == name);
        self.pods.retain(|name, _| present(name));
        for pod in &slots.pods {
            self.observe_pod(pod, now);
        }
        for task_type in TaskType::ALL {
            self.learn_slots(slots, task_type);
            self.learn_age(task_type, now);
        }
    }

    fn observe_pod(&mut self, pod: &PodSlots, now: Time) {
        let memory = self.pods.entry(pod.pod.clone()).or_default();
        let Some(reported_at) = pod.reported_at else {
            memory.born.get_or_insert(now);
            return;
        };
        if memory
            .reported_at
            .is_some_and(|before| before >= reported_at)
        {
            return;
        }
        self.heard = true;
        let born = memory.born;
        let since = memory.reported_at.replace(reported_at);
        for task_type in TaskType::ALL {
            let Some(slots) = pod.types.get(task_type) else {
                continue;
            };
            let last = memory.types.get_mut(task_type);
            let Some(processed) = slots.processed_total else {
                // Without a count nothing can be learned; and when there is one later, what was
                // processed meanwhile belongs to a span that was not measured.
                *last = None;
                memory.born = None;
                continue;
            };
            let seen = Seen {
                used: slots.used,
                processed,
            };
            let sums = self.sums.get_mut(task_type);
            if let (None, Some(born)) = (&last, born) {
                *last = Some(Last::born(born));
            }
            let comparable = last
                .as_ref()
                .is_some_and(|last| last.processed <= processed);
            match (last.as_mut().filter(|_| comparable), since.or(born)) {
                (Some(last), Some(since)) => {
                    self.processed_grew |= processed > last.processed;
                    sums.add(last, seen, since, reported_at);
                    last.advance(seen, reported_at);
                }
                // A worker seen for the first time, or one that has restarted.
                _ => *last = Some(Last::first(seen, reported_at)),
            }
            let running = last.as_ref().and_then(|last| last.running(reported_at));
            if let Some(running) = running.filter(|running| !running.is_zero()) {
                sums.saw_running(running, reported_at);
            }
        }
    }

    /// The mean slots of a ready replica.
    fn learn_slots(&mut self, slots: &Slots, task_type: TaskType) {
        let (mut total, mut pods) = (0_u64, 0_u64);
        for pod in slots
            .pods
            .iter()
            .filter(|pod| pod.fresh && pod.phase == PodPhase::Ready)
        {
            if let Some(TypeSlots {
                used,
                available: Some(available),
                ..
            }) = pod.types.get(task_type)
            {
                total = total
                    .saturating_add(u64::from(*used))
                    .saturating_add(u64::from(*available));
                pods = pods.saturating_add(1);
            }
        }
        if let Some(mean) = total.checked_div(pods).filter(|mean| *mean > 0) {
            let mean = u32::try_from(mean).unwrap_or(u32::MAX);
            self.sums.get_mut(task_type).slots_per_replica = Some(mean);
        }
    }

    fn learn_age(&mut self, task_type: TaskType, now: Time) {
        let (mut used, mut age) = (0_u64, 0_u64);
        for last in self
            .pods
            .values()
            .filter_map(|pod| pod.types.get(task_type).as_ref())
        {
            let running = millis(last.running(now).unwrap_or_default());
            used = used.saturating_add(u64::from(last.used));
            age = age.saturating_add(running.saturating_mul(u64::from(last.used)));
        }
        let mean = age.checked_div(used).unwrap_or(0);
        self.sums.get_mut(task_type).mean_age = Duration::from_millis(mean);
    }

    /// The mean service time to reckon with, never zero.
    pub(crate) fn service_time(&self, task_type: TaskType, wait_target: Duration) -> ServiceTime {
        let sums = self.sums.get(task_type);
        let learned = sums.mean();
        learned.map_or_else(
            || {
                let assumed = DEFAULT_SERVICE_TIME.min(wait_target).max(sums.mean_age);
                ServiceTime::Assumed {
                    mean: assumed.max(Duration::from_millis(1)),
                }
            },
            |mean| ServiceTime::Learned { mean },
        )
    }

    /// Slots of one replica, as last reported.
    pub(crate) fn slots_per_replica(&self, task_type: TaskType) -> Option<u32> {
        self.sums.get(task_type).slots_per_replica
    }

    /// Whether a task of this type may take longer than `grace`: one was seen to run for more than
    /// half of it (where there is one, a longer one is near), the mean is more than half of it, or
    /// too little was seen to tell.
    pub(crate) fn may_outlast(&self, task_type: TaskType, grace: Duration) -> bool {
        let sums = self.sums.get(task_type);
        let safe = grace.checked_div(2).unwrap_or(grace);
        sums.longest.is_some_and(|(longest, _)| longest > safe)
            || sums.mean().is_none_or(|mean| mean > safe)
    }

    /// The longest that a task of this type has certainly run.
    pub(crate) fn longest(&self, task_type: TaskType) -> Option<Duration> {
        self.sums.get(task_type).longest.map(|(longest, _)| longest)
    }

    /// Whether any worker of this queue has ever sent a heartbeat.
    pub(crate) const fn heard(&self) -> bool {
        self.heard
    }

    /// Whether the last reading showed tasks processed since the one before.
    pub(crate) const fn processed_grew(&self) -> bool {
        self.processed_grew
    }
}

impl Sums {
    fn add(&mut self, last: &Last, seen: Seen, since: Time, until: Time) {
        let span = millis(until.since(since));
        // The trapezoid between two heartbeats.
        let both = u64::from(last.used).saturating_add(u64::from(seen.used));
        self.slot_millis = self
            .slot_millis
            .saturating_add(both.saturating_mul(span) / 2);
        self.completed = self
            .completed
            .saturating_add(seen.processed.saturating_sub(last.processed));
        self.span_millis = self.span_millis.saturating_add(span);
        self.heartbeats = self.heartbeats.saturating_add(1);
        // A pod that was busy from the first moment it was seen bounds nothing.
        let streak = last
            .idle_at
            .map_or(Duration::MAX, |idle_at| until.since(idle_at));
        if both > 0 || seen.processed > last.processed {
            self.upper = Some(self.upper.map_or(streak, |upper| upper.max(streak)));
        }
        if self.completed >= WINDOW_COMPLETIONS && self.heartbeats >= WINDOW_HEARTBEATS {
            self.slot_millis /= 2;
            self.completed /= 2;
            self.span_millis /= 2;
            self.heartbeats /= 2;
            self.upper = Some(streak.max(self.mean().unwrap_or_default()));
        }
    }

    fn mean(&self) -> Option<Duration> {
        if self.completed < ENOUGH_COMPLETIONS || self.heartbeats < ENOUGH_HEARTBEATS {
            return None;
        }
        // One more slot over one more heartbeat: heartbeats that happen to see every slot free must
        // not make tasks look instant. It fades with the number of heartbeats.
        let unseen = self.span_millis.checked_div(self.heartbeats).unwrap_or(0);
        let mean = self
            .slot_millis
            .saturating_add(unseen)
            .checked_div(self.completed)?;
        let upper = self.upper.map_or(u64::MAX, millis);
        Some(Duration::from_millis(mean.min(upper).max(1)))
    }

    fn saw_running(&mut self, running: Duration, at: Time) {
        let keep = self.longest.is_some_and(|(longest, seen)| {
            longest > running && at.since(seen) < LONGEST_REMEMBERED
        });
        if !keep {
            self.longest = Some((running, at));
        }
    }
}

impl Last {
    /// A worker that was seen before its first heartbeat: it had done nothing then.
    fn born(at: Time) -> Self {
        Self {
            used: 0,
            processed: 0,
            idle_at: Some(at),
            marks: VecDeque::new(),
        }
    }

    /// A worker whose past is not known.
    fn first(seen: Seen, at: Time) -> Self {
        let mut last = Self {
            used: 0,
            processed: 0,
            idle_at: None,
            marks: VecDeque::new(),
        };
        last.advance(seen, at);
        last
    }

    fn advance(&mut self, seen: Seen, at: Time) {
        self.used = seen.used;
        self.processed = seen.processed;
        while self
            .marks
            .front()
            .is_some_and(|(_, ends)| *ends <= seen.processed)
        {
            self.marks.pop_front();
        }
        if seen.used == 0 {
            self.idle_at = Some(at);
            self.marks.clear();
            return;
        }
        // Only a mark that outlives all earlier ones can ever tell more than they do.
        let ends = seen.processed.saturating_add(u64::from(seen.used));
        if self.marks.back().is_none_or(|(_, last)| ends > *last) {
            if self.marks.len() >= MARKS {
                self.marks.pop_back();
            }
            self.marks.push_back((at, ends));
        }
    }

    /// How long a task of this worker has certainly been running.
    fn running(&self, at: Time) -> Option<Duration> {
        self.marks.front().map(|(since, _)| at.since(*since))
    }
}
