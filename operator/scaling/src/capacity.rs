//! How many tasks a ready replica takes per second, where its slots are not what keeps tasks
//! waiting. Pure, integers only.
//!
//! Slots tell what a pod can do only if they are its bottleneck. If its pollers, its processor or a
//! rate limit of its own is, tasks wait although slots are free. What the server dispatches
//! meanwhile is what the ready replicas can do: their capacity. The same holds if nobody knows the
//! slots.
//!
//! A capacity is measured over half a minute in which Temporal answered every read, and at every
//! reading tasks waited, and workers had free slots and took tasks. If the ready replicas were the
//! same all the time and tasks wait for longer than the target, the fleet grows. Afterwards its
//! size follows the arrivals, up to the size that it has had. Whether more replicas help is judged
//! by what all of them take: if that did not rise, something else is the bottleneck, and the growth
//! is taken back.
//!
//! The workers' own counts would be known sooner, but not what they count: sticky and eager tasks
//! never pass the queue, and the arrivals leave them out too.

use std::collections::VecDeque;
use std::time::Duration;

use crate::head::{Head, Progress};
use crate::milli::Milli;
use crate::observation::{
    Observation, PerType, PodPhase, RATE_WINDOW, TaskType, TypeBacklog, TypeSlots,
};
use crate::slots::{Signal, SlotFacts, are_taken};
use crate::time::Time;

/// Tasks required before a capacity is trusted: their number varies by about a fifth.
const ENOUGH: u64 = 32;
/// The sums are halved once they hold this many tasks: old behavior fades.
const WINDOW: u64 = 256;
/// A capacity that is not measured again is taken to rise until, after this time, it no longer
/// counts: the fleet shrinks step by step until tasks wait, and measures it again.
const FADES: Duration = Duration::from_hours(4);
/// A backlog is cleared within at least this time. The replicas that it takes stay for a scale-down
/// window anyway, and the capacity is a first guess.
pub(crate) const CLEAR_TIME: Duration = Duration::from_mins(1);
/// More replicas must raise the throughput by at least this part of what they would add if each
/// had the same capacity.
const LEAST_GAIN_PERCENT: u32 = 25;
/// New replicas fill their slots at once, and the server's rates count that as dispatched. While
/// nobody knows the slots, the rates must have been of the same replicas for this much longer than
/// their window.
const FILLED: Duration = Duration::from_secs(10);
/// How long a throughput can be compared with that of a larger fleet, and after how long replicas
/// that did not raise it may try again.
const JUDGED_FOR: Duration = Duration::from_mins(10);

/// The capacity of a ready replica, per task type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Capacities {
    types: PerType<Capacity>,
}

impl Capacities {
    /// Records a new reading of a queue with this wait target.
    pub(crate) fn observe(
        &mut self,
        wait_target: Duration,
        observation: &Observation,
        facts: &SlotFacts,
        progress: &Progress,
    ) {
        let taken_at = observation.backlog.taken_at();
        let Some((backlog, at)) = observation.backlog.known().zip(taken_at) else {
            return;
        };
        let ready = observation.replicas.ready;
        for task_type in TaskType::ALL {
            let waits = backlog
                .types
                .get(task_type)
                .filter(|backlog| ready > 0 && backlog.count > 0 && !backlog.rate_limited);
            let wait = waits.map(|backlog| {
                let since = at.minus(backlog.age);
                Wait {
                    at,
                    backlog,
                    too_long: backlog.age > wait_target,
                    ready,
                    free: free_slots(observation, facts, task_type, since),
                    in_use: facts.signal == Signal::None || *facts.used.get(task_type) > 0,
                    processed: *progress.processed.get(task_type),
                    dispatched: progress.dispatched(&backlog),
                }
            });
            let capacity = self.types.get_mut(task_type);
            if capacity.ready_since.is_none_or(|(same, _)| same != ready) {
                capacity.ready_since = Some((ready, at));
            }
            capacity.observe(wait.as_ref());
            capacity.see_ready(ready, at);
        }
    }

    /// Ends the current measurement. Earlier results stay.
    pub(crate) fn restart(&mut self) {
        for task_type in TaskType::ALL {
            let capacity = self.types.get_mut(task_type);
            capacity.stretch = None;
            capacity.proven = false;
        }
    }

    /// Whether the throughput of the ready replicas can be judged although nobody knows the slots:
    /// they have been as many for long enough.
    pub(crate) fn can_be_judged(&self, task_type: TaskType, now: Time) -> bool {
        let since = self.types.get(task_type).ready_since;
        since.is_some_and(|(_, since)| now.since(since) >= RATE_WINDOW.saturating_add(FILLED))
    }

    /// What is known about the capacity of a replica.
    pub(crate) fn per_replica(&self, task_type: TaskType, now: Time) -> Option<PerReplica> {
        self.types.get(task_type).per_replica(now)
    }
}

/// Whether slots are free although a task waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// Hardly one is.
    Taken,
    /// Some are.
    Free,
    /// Nobody knows, or they have no limit: they count as free.
    Unknown,
}

/// Whether the workers have free slots although a task has waited since this time; `None` if no
/// worker has reported after it.
fn free_slots(
    observation: &Observation,
    facts: &SlotFacts,
    task_type: TaskType,
    since: Time,
) -> Option<SlotState> {
    match facts.signal {
        Signal::None => return Some(SlotState::Unknown),
        // For a moment nobody knows, or a new pod fills up.
        Signal::Missing(_) => return Some(SlotState::Taken),
        Signal::Known if facts.new > 0 => return Some(SlotState::Taken),
        Signal::Known => {}
    }
    let recent = observation.slots.known()?.pods.iter().filter(|pod| {
        let since_then = pod.reported_after.is_some_and(|after| after >= since);
        pod.phase == PodPhase::Ready && pod.fresh && since_then
    });
    let slots = recent.filter_map(|pod| pod.types.get(task_type).as_ref());
    let sum = |sum: Option<(u64, Option<u64>)>, slots: &TypeSlots| {
        let (used, free) = sum.unwrap_or((0, Some(0)));
        let free = free.zip(slots.available);
        Some((
            used.saturating_add(slots.used.into()),
            free.map(|(free, more)| free.saturating_add(more.into())),
        ))
    };
    let (used, free) = slots.fold(None, sum)?;
    Some(match free {
        None => SlotState::Unknown,
        Some(free) if are_taken(used, free) => SlotState::Taken,
        Some(_) => SlotState::Free,
    })
}

/// A reading in which tasks wait.
struct Wait {
    at: Time,
    backlog: TypeBacklog,
    too_long: bool,
    ready: u32,
    /// See [`free_slots`].
    free: Option<SlotState>,
    /// Whether a slot is in use, or nobody knows.
    in_use: bool,
    processed: u64,
    /// The dispatched tasks per second, if the rate is trusted.
    dispatched: Option<Milli>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Capacity {
    stretch: Option<Stretch>,
    /// The ready replicas, and since when they have been so many.
    ready_since: Option<(u32, Time)>,
    /// Whether the last reading proves that the ready replicas are too few.
    proven: bool,
    latest: Option<Measured>,
    /// The last measurement of replicas that were the same all the time, before they grew.
    base: Option<Measured>,
    /// More replicas than this did not raise the throughput; from when twice as many may try again.
    ceiling: Option<(u32, Time)>,
    /// The most replicas that were ready since the first measurement, unless they were in vain.
    reached: u32,
}

/// Readings in a row in which tasks wait without a break although slots are free.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    since: Time,
    /// The head at the first reading.
    head: Head,
    /// The processed tasks that had been reported at the first reading.
    processed: u64,
    /// The ready replicas at the readings within the window of the server's rates.
    ready: VecDeque<(Time, u32)>,
    /// Whether they were the same all the time.
    steady: bool,
    /// The dispatched tasks, and the seconds that the ready replicas had for them, summed.
    tasks: Milli,
    replica_seconds: Milli,
    /// Both are counted up to this time.
    counted: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Measured {
    at: Time,
    ready: u32,
    /// Tasks per second and ready replica.
    rate: Milli,
}

impl Stretch {
    fn new(wait: &Wait) -> Self {
        Self {
            since: wait.at,
            head: Head::new(&wait.backlog, wait.at),
            processed: wait.processed,
            ready: VecDeque::new(),
            steady: false,
            tasks: Milli::ZERO,
            replica_seconds: Milli::ZERO,
            counted: wait.at,
        }
    }

    fn continues(&self, wait: &Wait) -> bool {
        // If the head had arrived by the last reading, tasks have waited ever since.
        let last = self.ready.back();
        last.is_some_and(|(at, _)| wait.at.minus(wait.backlog.age) <= *at)
    }

    fn observe(&mut self, wait: &Wait, ready_for: Duration) {
        self.head.count(wait.dispatched, wait.at);
        self.ready.push_back((wait.at, wait.ready));
        let oldest = wait.at.minus(RATE_WINDOW);
        while self.ready.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.ready.pop_front();
        }
        // The server's rate is a mean: until its window has passed, it includes other times.
        let full_window = wait.at.since(self.since) >= RATE_WINDOW;
        let Some(rate) = wait.dispatched.filter(|_| full_window) else {
            self.steady = false;
            return;
        };
        let fill = if wait.free == Some(SlotState::Unknown) {
            FILLED
        } else {
            Duration::ZERO
        };
        let steady = ready_for >= RATE_WINDOW.saturating_add(fill);
        if steady && !self.steady {
            // What follows is the work of these replicas alone.
            (self.tasks, self.replica_seconds) = (Milli::ZERO, Milli::ZERO);
        } else if self.tasks >= Milli::whole(WINDOW) {
            self.tasks = self.tasks.percent(50);
            self.replica_seconds = self.replica_seconds.percent(50);
        }
        self.steady = steady;
        let span = wait.at.since(self.counted);
        self.tasks = self.tasks + rate * span;
        self.replica_seconds = self.replica_seconds + self.mean_ready() * span;
        self.counted = wait.at;
    }

    /// The mean of the ready replicas over the window.
    fn mean_ready(&self) -> Milli {
        let later = self.ready.iter().skip(1);
        let spans = self.ready.iter().zip(later);
        let sum = spans.fold(Milli::ZERO, |sum, ((from, before), (to, after))| {
            // The trapezoid between two readings.
            let both = Milli::whole(*before) + Milli::whole(*after);
            sum + both.percent(50) * to.since(*from)
        });
        let first = self.ready.front().map_or(self.since, |(at, _)| *at);
        let last = self.ready.back().map_or(self.since, |(at, _)| *at);
        sum / last.since(first)
    }

    /// Tasks per second and replica, if enough was seen. If the tasks at the head of the backlog
    /// were not taken, or these workers did nothing, others take the tasks, or nobody.
    fn rate(&self, wait: &Wait) -> Option<Milli> {
        let enough = self.tasks >= Milli::whole(ENOUGH);
        let moves =
            self.head.is_later(&wait.backlog, wait.at) || self.head.is_cleared(&wait.backlog);
        let take = wait.in_use || wait.processed > self.processed;
        (enough && moves && take).then(|| self.tasks / self.replica_seconds)
    }
}

impl Measured {
    fn throughput(&self) -> Milli {
        self.rate * Milli::whole(self.ready)
    }
}

impl Capacity {
    /// Records a new reading; `None` if no task waits.
    fn observe(&mut self, wait: Option<&Wait>) {
        self.proven = false;
        let earlier = self.stretch.take();
        if wait.is_none_or(|wait| !wait.too_long) {
            // These replicas are enough after all.
            self.ceiling = None;
        }
        let Some(wait) = wait else {
            return;
        };
        let earlier = earlier.filter(|stretch| stretch.continues(wait));
        if wait
            .free
            .map_or(earlier.is_none(), |free| free == SlotState::Taken)
        {
            return;
        }
        let mut stretch = earlier.unwrap_or_else(|| Stretch::new(wait));
        let ready_for = self.ready_since.map(|(_, since)| wait.at.since(since));
        stretch.observe(wait, ready_for.unwrap_or_default());
        if let Some(rate) = stretch.rate(wait) {
            let measured = Measured {
                at: wait.at,
                ready: wait.ready,
                rate,
            };
            self.latest = Some(measured);
            if stretch.steady {
                self.proven = wait.too_long;
                self.judge(measured);
            }
        }
        self.stretch = Some(stretch);
    }

    fn see_ready(&mut self, ready: u32, at: Time) {
        self.reached = match self.per_replica(at) {
            Some(known) => known
                .ceiling
                .unwrap_or(u32::MAX)
                .min(self.reached.max(ready)),
            None => 0,
        };
    }

    /// Judges the growth since an earlier measurement.
    fn judge(&mut self, now: Measured) {
        let base = self
            .base
            .filter(|base| now.ready > base.ready && now.at.since(base.at) < JUDGED_FOR);
        let Some(base) = base else {
            self.base = Some(now);
            return;
        };
        // A smaller growth shows too little.
        if u64::from(now.ready).saturating_mul(2) < u64::from(base.ready).saturating_mul(3) {
            return;
        }
        let more = Milli::whole(now.ready.saturating_sub(base.ready));
        let least = base.throughput() + (base.rate * more).percent(LEAST_GAIN_PERCENT);
        if now.throughput() >= least {
            self.base = Some(now);
            self.ceiling = None;
        } else {
            self.ceiling = Some((base.ready, now.at.plus(JUDGED_FOR)));
        }
    }

    fn per_replica(&self, now: Time) -> Option<PerReplica> {
        let latest = self.latest?;
        let left = FADES.checked_sub(now.since(latest.at))?;
        Some(PerReplica {
            rate: latest.rate * FADES / left,
            proven: self.proven,
            reached: self.reached,
            ceiling: self.ceiling.map(|(replicas, until)| {
                let again = now >= until;
                replicas.saturating_mul(if again { 2 } else { 1 })
            }),
        })
    }
}

/// What is known about the capacity of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerReplica {
    /// C: the tasks per second that it takes.
    pub(crate) rate: Milli,
    /// Whether tasks wait, and would not with more replicas.
    proven: bool,
    ceiling: Option<u32>,
    reached: u32,
}

impl PerReplica {
    /// The most replicas to ask for: those that are requested, or were ready since the capacity is
    /// known; or twice as many, once it is proven that they are too few.
    pub(crate) fn most(&self, requested: Milli, ready: u32) -> Milli {
        let known = requested.max(Milli::whole(self.reached));
        let ready = Milli::whole(ready);
        if self.proven && ready >= requested {
            known.max(ready + ready)
        } else {
            known
        }
    }

    /// The replicas beyond which the throughput did not rise.
    pub(crate) fn ceiling(&self) -> Option<Milli> {
        self.ceiling.map(Milli::whole)
    }
}
