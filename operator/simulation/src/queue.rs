//! One task queue with the statistics that a Temporal server would report. Deterministic, no I/O.

use std::collections::VecDeque;

use crate::time::Millis;
use crate::trace::Trace;

/// Rates are counted in buckets of this length ...
const BUCKET: Millis = 5_000;
/// ... and reported over this number of buckets.
const BUCKETS: usize = 6;
/// How long a rate-limited dispatch is reported.
const LIMITED_MEMORY: Millis = 30_000;

/// The answer to DescribeTaskQueue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Tasks that wait.
    pub count: u64,
    /// How long the head of the backlog has waited.
    pub age: Millis,
    /// Tasks added per second, in thousandths.
    pub add_rate_milli: u64,
    /// Tasks dispatched per second, in thousandths.
    pub dispatch_rate_milli: u64,
    /// Whether a dispatch was rate-limited in the last 30 s.
    pub rate_limited: bool,
    /// The effective limit, in thousandths per second.
    pub limit_milli: Option<u64>,
}

/// A waiting task, and since when it has waited in this attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) task: usize,
    pub(crate) since: Millis,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    added: Buckets,
    dispatched: Buckets,
    cache: Option<(Millis, Statistics)>,
    cache_for: Millis,
    limit_milli: Option<u64>,
    /// When the rate limit allows the next dispatch.
    allowed_at: Millis,
    limited_at: Option<Millis>,
    /// The number of tasks that found no free slot, and the time of the last one.
    pub(crate) unmatched: u64,
    pub(crate) unmatched_at: Option<Millis>,
    /// The backlog gauge that metrics pipelines scrape, updated once a minute.
    pub(crate) gauge: u64,
}

impl Queue {
    pub(crate) fn new(trace: &Trace, cache_for: Millis) -> Self {
        Self {
            waiting: VecDeque::new(),
            added: Buckets::default(),
            dispatched: Buckets::default(),
            cache: None,
            cache_for,
            limit_milli: trace.limit_milli,
            allowed_at: 0,
            limited_at: None,
            unmatched: 0,
            unmatched_at: None,
            gauge: 0,
        }
    }

    pub(crate) fn add(&mut self, task: usize, now: Millis) {
        self.added.count(now);
        self.waiting.push_back(Waiting { task, since: now });
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn age(&self, now: Millis) -> Millis {
        self.waiting.front().map_or(0, |head| now - head.since)
    }

    /// When the next task may be dispatched; `None` if none waits.
    pub(crate) fn dispatchable_at(&self) -> Option<Millis> {
        self.waiting.front().map(|_| self.allowed_at)
    }

    /// Records that only the rate limit kept a task waiting.
    pub(crate) const fn was_limited(&mut self, now: Millis) {
        self.limited_at = Some(now);
    }

    pub(crate) fn dispatch(&mut self, now: Millis) -> Option<Waiting> {
        let head = self.waiting.pop_front()?;
        self.dispatched.count(now);
        if let Some(limit) = self.limit_milli {
            self.allowed_at = self.allowed_at.max(now) + 1_000_000 / limit.max(1);
        }
        Some(head)
    }

    /// The answer to DescribeTaskQueue, from the cache while that is young enough.
    pub(crate) fn statistics(&mut self, now: Millis) -> Statistics {
        if let Some((at, cached)) = self.cache
            && now - at < self.cache_for
        {
            return cached;
        }
        let statistics = self.measure(now);
        self.cache = Some((now, statistics));
        statistics
    }

    /// The answer without a cache.
    pub(crate) fn measure(&mut self, now: Millis) -> Statistics {
        Statistics {
            count: self.waiting.len() as u64,
            age: self.age(now),
            add_rate_milli: self.added.rate_milli(now),
            dispatch_rate_milli: self.dispatched.rate_milli(now),
            rate_limited: self.limited_at.is_some_and(|at| now - at < LIMITED_MEMORY),
            limit_milli: self.limit_milli,
        }
    }
}

/// Counts per bucket of 5 s, the current bucket last.
#[derive(Debug, Default)]
struct Buckets {
    counts: [u64; BUCKETS],
    current: u64,
}

impl Buckets {
    fn count(&mut self, now: Millis) {
        self.turn(now);
        self.counts[BUCKETS - 1] += 1;
    }

    fn turn(&mut self, now: Millis) {
        let bucket = now / BUCKET;
        let passed = ((bucket - self.current) as usize).min(BUCKETS);
        self.counts.rotate_left(passed);
        let kept = BUCKETS - passed;
        self.counts[kept..].fill(0);
        self.current = bucket;
    }

    fn rate_milli(&mut self, now: Millis) -> u64 {
        self.turn(now);
        let span = (BUCKETS as u64 - 1) * BUCKET + now % BUCKET;
        self.counts.iter().sum::<u64>() * 1_000_000 / span.min(now).max(1)
    }
}
