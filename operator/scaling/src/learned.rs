//! What has been learned about one kind of work: how long its tasks take. Pure.

use std::time::Duration;

use crate::time::{Time, millis};
use crate::worker::{Counts, WorkerMemory};

/// Completions required before a mean is trusted.
const ENOUGH_COMPLETIONS: u64 = 16;
/// Heartbeats that must have been compared before a mean is trusted.
const ENOUGH_HEARTBEATS: u64 = 3;
/// The sums are halved once they hold this many completions ...
const WINDOW_COMPLETIONS: u64 = 256;
/// ... and this many heartbeats: old behavior fades, and slow tasks keep a long enough window.
const WINDOW_HEARTBEATS: u64 = 24;
/// How long an upper bound counts while nothing has been learned.
const BOUND_LASTS: Duration = Duration::from_mins(10);
/// Observations of long tasks expire if they are not repeated within this time.
const REMEMBERED: Duration = Duration::from_hours(24);
/// The maximum number of drained tasks that counts as proof.
const MOST_DRAINED: u64 = 1 << 20;

/// What has been learned about one kind of work of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Learned {
    /// Slots in use, integrated over time.
    slot_millis: u64,
    /// Tasks processed in the same spans.
    completed: u64,
    /// The first tasks of workers that no heartbeat has found in work, and the time that they are
    /// taken to have run, summed.
    unsampled: u64,
    unsampled_millis: u64,
    /// The spans, summed.
    span_millis: u64,
    /// The number of spans.
    heartbeats: u64,
    /// An upper bound for the duration of a task: the longest span without a known idle moment.
    upper: Option<Duration>,
    /// The longest time that a task has certainly run, and when that was last seen.
    longest: Option<(Duration, Time)>,
    /// The longest time that a task which has ended had certainly run, and when that was last seen.
    longest_ended: Option<(Duration, Time)>,
    /// The number of tasks in work on draining pods that were gone in good time and had finished
    /// them, and when the last of those pods went.
    drained: Option<(u64, Time)>,
    /// How long the tasks in flight had certainly run at the last heartbeats, on average; the lower
    /// bound until a mean has been learned.
    pub(crate) mean_age: Duration,
    /// The last upper bound for the mean that does not come from heartbeats, and when it was seen.
    most: Option<(Duration, Time)>,
    /// Slots per replica, as last reported.
    pub(crate) slots_per_replica: Option<u32>,
}

impl Learned {
    /// Adds what happened between the last heartbeat of a worker and the next one. `slots` are all
    /// slots of the worker, if it has a fixed number. `assumed` is how long a task of this kind is
    /// taken to run before anything is known.
    pub(crate) fn add(
        &mut self,
        last: &WorkerMemory,
        counts: Counts,
        slots: Option<u32>,
        until: Time,
        assumed: Duration,
    ) {
        let before = last.counts();
        let span = millis(until.since(last.seen_at()));
        let both = u64::from(before.used).saturating_add(u64::from(counts.used));
        let done = counts.processed.saturating_sub(before.processed);
        if both == 0 && before.processed == 0 {
            // The first tasks of a worker start right after a heartbeat, so the next one may find
            // every slot free whatever they took, up to the span. That is no measurement.
            let believed = self.unsampled_mean().unwrap_or(assumed);
            let slot_time = slots.map(|slots| span.saturating_mul(slots.into()));
            let most = slot_time.and_then(|slot_time| slot_time.checked_div(done));
            let each = millis(believed).min(span / 2).min(most.unwrap_or(u64::MAX));
            self.unsampled_millis = self
                .unsampled_millis
                .saturating_add(done.saturating_mul(each));
            self.unsampled = self.unsampled.saturating_add(done);
        } else {
            // The trapezoid between two heartbeats.
            let sampled = both.saturating_mul(span) / 2;
            self.slot_millis = self.slot_millis.saturating_add(sampled);
            self.completed = self.completed.saturating_add(done);
        }
        self.span_millis = self.span_millis.saturating_add(span);
        self.heartbeats = self.heartbeats.saturating_add(1);
        // A pod that has been busy since it was first seen gives no upper bound.
        let streak = last
            .idle_at()
            .map_or(Duration::MAX, |idle_at| until.since(idle_at));
        if both > 0 || done > 0 {
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

    /// The mean service time, once enough has been seen.
    pub(crate) fn mean(&self) -> Option<Duration> {
        if self.heartbeats < ENOUGH_HEARTBEATS {
            return None;
        }
        if self.completed < ENOUGH_COMPLETIONS {
            return self.unsampled_mean();
        }
        let mean = self
            .slot_millis
            .saturating_add(self.unseen())
            .checked_div(self.completed)?;
        let upper = self.upper.map_or(u64::MAX, millis);
        Some(Duration::from_millis(mean.min(upper).max(1)))
    }

    /// The mean to assume while none has been learned: `of_the_kind`, unless the tasks have shown
    /// that it is more or less.
    pub(crate) fn assumed(&self, of_the_kind: Duration, now: Time) -> Duration {
        let most = self.most.filter(|(_, at)| now.since(*at) < BOUND_LASTS);
        let most = most.map_or(Duration::MAX, |(most, _)| most);
        of_the_kind.min(most).max(self.mean_age)
    }

    /// One slot over one mean heartbeat interval: heartbeats that happen to find every slot free
    /// must not make tasks look instant. Its effect fades with the number of heartbeats.
    fn unseen(&self) -> u64 {
        self.span_millis.checked_div(self.heartbeats).unwrap_or(0)
    }

    /// The mean of tasks that were not sampled, if there are enough.
    fn unsampled_mean(&self) -> Option<Duration> {
        let enough = self.unsampled >= ENOUGH_COMPLETIONS;
        let mean = self.unsampled_millis.checked_div(self.unsampled);
        mean.filter(|_| enough)
            .map(|mean| Duration::from_millis(mean.max(1)))
    }

    /// Tasks that have ended took at most `most` on average.
    pub(crate) fn cap(&mut self, most: Duration, at: Time) {
        self.most = Some((most, at));
        let sum = |tasks: u64| millis(most).saturating_mul(tasks);
        let sampled = sum(self.completed).saturating_sub(self.unseen());
        self.slot_millis = self.slot_millis.min(sampled);
        self.unsampled_millis = self.unsampled_millis.min(sum(self.unsampled));
    }

    /// The longest time that a task has certainly run, however long ago.
    pub(crate) fn longest_ever(&self) -> Option<Duration> {
        self.longest.map(|(longest, _)| longest)
    }

    /// The longest time that a task has certainly run, unless that has expired.
    pub(crate) fn longest(&self, now: Time) -> Duration {
        remembered(self.longest, now).unwrap_or_default()
    }

    /// The longest time that a task which has ended had certainly run, unless that has expired.
    pub(crate) fn longest_ended(&self, now: Time) -> Duration {
        remembered(self.longest_ended, now).unwrap_or_default()
    }

    /// The number of tasks that are known to have ended in good time on draining pods, unless that
    /// has expired.
    pub(crate) fn drained(&self, now: Time) -> u64 {
        remembered(self.drained, now).unwrap_or_default()
    }

    /// A task had certainly run for this long.
    pub(crate) fn saw_running(&mut self, running: Duration, at: Time) {
        raise(&mut self.longest, running, at);
    }

    /// A task that has ended had certainly run for this long.
    pub(crate) fn saw_ended(&mut self, had_run: Duration, at: Time) {
        raise(&mut self.longest_ended, had_run, at);
    }

    /// This many tasks have ended in good time on a pod that was asked to stop.
    pub(crate) fn saw_drained(&mut self, tasks: u32, at: Time) {
        let sum = self.drained(at).saturating_add(u64::from(tasks));
        self.drained = Some((sum.min(MOST_DRAINED), at));
    }
}

fn remembered<T>(seen: Option<(T, Time)>, now: Time) -> Option<T> {
    let (value, at) = seen?;
    (now.since(at) < REMEMBERED).then_some(value)
}

fn raise(longest: &mut Option<(Duration, Time)>, seen: Duration, at: Time) {
    if remembered(*longest, at).is_none_or(|longest| longest <= seen) {
        *longest = Some((seen, at));
    }
}
