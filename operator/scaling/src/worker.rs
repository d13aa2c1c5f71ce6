//! What one worker's heartbeats say about the tasks that run on it. Pure.
//!
//! A heartbeat has two numbers per kind of task: slots in use, and tasks processed since the worker was
//! started. From their changes follows how old the tasks in work certainly are (fewer have ended since than
//! ran then), and how old they can be at most (no slot was in use at some time since).

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Time;

/// Heartbeats whose slots in use are kept per worker and kind.
const RECENT: usize = 12;
/// So many slots in use at each of them are too many to be idle by chance soon, however short the tasks.
const MANY: u32 = 12;

/// Marks kept per worker and kind to tell how long a task has certainly run.
const MARKS: usize = 8;

/// What one heartbeat says about one kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Slots in use.
    pub(crate) used: u32,
    /// Tasks processed since the worker was started.
    pub(crate) processed: u64,
}

/// The last heartbeat of one worker about one kind of task, and what remains of the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkerMemory {
    counts: Counts,
    /// The tasks that run now were started after this: no slot was in use then. `None` = not known.
    idle_at: Option<Time>,
    /// When the last heartbeat was seen.
    seen_at: Time,
    /// (moment, processed + used at that moment): while `processed` stays below the second, a task that
    /// ran at that moment still runs.
    marks: VecDeque<(Time, u64)>,
    /// The slots in use at the last heartbeats.
    recent: VecDeque<u32>,
}

impl WorkerMemory {
    /// A worker that was just started: it has done nothing yet.
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

    /// A worker whose past is not known. Its count is where counting begins.
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

    /// Since when the tasks that run now can have run at most; `None` = since before it was seen.
    pub(crate) const fn idle_at(&self) -> Option<Time> {
        self.idle_at
    }

    /// When the last heartbeat was seen.
    pub(crate) const fn seen_at(&self) -> Time {
        self.seen_at
    }

    /// Takes the next heartbeat in: seen at `at`, sent after `sent_after`. Returns how long a task that
    /// has ended since the last one had certainly run.
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
            // A task may have been started as soon as this was sent.
            self.idle_at = Some(sent_after.min(at));
        } else {
            self.mark(counts, at);
        }
        ended
    }

    /// Only a mark that outlives all earlier ones can ever tell more than they do.
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

    /// Whether this worker has been so busy with short tasks that it is never idle: many slots were in use at
    /// each of the last heartbeats, and they went up and down as those of tasks that come and go do. The
    /// number of short tasks is about as far from its mean as the root of it; that of long ones stands still.
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
