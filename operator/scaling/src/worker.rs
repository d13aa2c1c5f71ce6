//! What one worker's heartbeats reveal about its running tasks. Pure.
//!
//! A heartbeat has two numbers per kind of task: slots in use, and tasks processed since the worker
//! started. Their changes give a lower bound for the age of the tasks in work (fewer tasks have
//! ended since than ran then) and an upper bound (at some earlier moment no slot was in use).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// Heartbeats whose slots in use are kept per worker and kind.
const RECENT: usize = 12;
/// With at least this many slots in use at each recent heartbeat, all slots are unlikely to be free
/// at once soon, however short the tasks.
const MANY: u32 = 12;

/// Marks kept per worker and kind, to tell how long a task has certainly run.
const MARKS: usize = 8;

/// What one heartbeat says about one kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Slots in use.
    pub(crate) used: u32,
    /// Tasks processed since the worker was started.
    pub(crate) processed: u64,
}

/// The last heartbeat of one worker about one kind of task, and a digest of the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkerMemory {
    counts: Counts,
    /// No slot was in use at this time, so the running tasks started after it. `None` = unknown.
    idle_at: Option<Time>,
    /// When the last heartbeat was seen.
    seen_at: Time,
    /// (time, processed + used at that time): while `processed` stays below the second number, a
    /// task that ran at that time still runs.
    marks: VecDeque<(Time, u64)>,
    /// The slots in use at recent heartbeats.
    recent: VecDeque<u32>,
}

impl WorkerMemory {
    /// A worker that has just started and has done nothing yet.
    pub(crate) fn born(at: Time) -> Self {
        Self {
            counts: Counts {
                used: 0,
                processed: 0,
            },
            idle_at: Some(at),
            seen_at: at,
            marks: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// A worker whose past is unknown. Counting begins at its present count.
    pub(crate) fn first(counts: Counts, at: Time, sent_after: Time) -> Self {
        let mut memory = Self::born(at);
        memory.idle_at = None;
        memory.counts.processed = counts.processed;
        memory.advance(counts, at, sent_after);
        memory
    }

    /// The last heartbeat.
    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    /// The running tasks started after this time; `None` = they may have started before the worker
    /// was first seen.
    pub(crate) const fn idle_at(&self) -> Option<Time> {
        self.idle_at
    }

    /// When the last heartbeat was seen.
    pub(crate) const fn seen_at(&self) -> Time {
        self.seen_at
    }

    /// Records the next heartbeat, seen at `at` and sent after `sent_after`. Returns how long a
    /// task that has ended since the last one had certainly run.
    pub(crate) fn advance(
        &mut self,
        counts: Counts,
        at: Time,
        sent_after: Time,
    ) -> Option<Duration> {
        let before = self.seen_at;
        let mut ended = None;
        while let Some((since, ends)) = self.marks.front().copied() {
            if ends > counts.processed && counts.used > 0 {
                break;
            }
            ended = ended.max(Some(before.since(since)));
            self.marks.pop_front();
        }
        self.counts = counts;
        self.seen_at = at;
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(counts.used);
        if counts.used == 0 {
            // A task may have started right after this heartbeat was sent.
            self.idle_at = Some(sent_after.min(at));
        } else {
            self.mark(counts, at);
        }
        ended
    }

    /// A mark adds information only if it outlasts all earlier ones.
    fn mark(&mut self, counts: Counts, at: Time) {
        let ends = counts.processed.saturating_add(u64::from(counts.used));
        if self.marks.back().is_none_or(|(_, last)| ends > *last) {
            if self.marks.len() >= MARKS {
                self.marks.pop_back();
            }
            self.marks.push_back((at, ends));
        }
    }

    /// How long a task of this worker has certainly been running.
    pub(crate) fn running(&self, at: Time) -> Option<Duration> {
        self.marks.front().map(|(since, _)| at.since(*since))
    }

    /// Whether this worker is so busy with short tasks that it is never idle: many slots were in
    /// use at each recent heartbeat, and the number fluctuated as it does for tasks that come and
    /// go. A number of short tasks deviates from its mean by about its square root; a number of
    /// long tasks stays constant.
    pub(crate) fn is_never_idle(&self) -> bool {
        let (Some(low), Some(high)) = (self.recent.iter().min(), self.recent.iter().max()) else {
            return false;
        };
        let range = high.saturating_sub(*low);
        self.recent.len() >= RECENT
            && *low >= MANY
            && range.saturating_mul(range) >= low.saturating_mul(2)
    }
}
