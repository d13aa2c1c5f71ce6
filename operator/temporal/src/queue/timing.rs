//! When to read a task queue next. Pure; the time is passed in.

use std::time::Duration;

use taskqueue_scaling::{Time, TypeBacklog};

use super::{Failing, Queue};
use crate::backoff::{UNSUPPORTED_BACKOFF, doubled, millis};
use crate::budget::Millis;
use crate::call::CallErrorKind;
use crate::subscription::QueueWatch;

/// Margin between the expiry of the server's cached value and the next read: timers on both sides
/// are exact to about ten milliseconds.
const PHASE_MARGIN: Millis = 20;

/// Pause between a hint and its read. A task reaches its queue some 10 to 50 ms after it was
/// started. A read before that sees nothing, and fills the server's cache with nothing for seconds.
const HINT_DELAY: Millis = 100;

/// The longest pause after a failed read of one queue, unless the credential was refused or the
/// server does not support the call.
const LONGEST_BACKOFF: Millis = 15_000;

/// The pause after a refused credential, which is rarely accepted a second later.
const DENIED_BACKOFF: Millis = 60_000;

/// What a queue needs to know about its Temporal namespace to time the next read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// How long the server caches an answer.
    pub(crate) cache: Millis,
    /// The interval at which quiet queues can be read with the budget that the busy ones leave.
    pub(crate) quiet: Millis,
    /// A factor from 900 to 1100 that spreads retries.
    pub(crate) jitter_permille: u64,
}

impl Queue {
    /// Records a hint and returns when to read the queue: as soon as the work can be in the queue
    /// and at least one of the server's two caches does not hide it. The queue counts as busy until
    /// a read is certain to be newer than the hint.
    pub(crate) fn hint(&mut self, now: Time, cache: Millis, past_cache: bool) -> Millis {
        let soonest = now.as_millis().saturating_add(HINT_DELAY);
        let open = |until: Millis| soonest.max(until.saturating_add(PHASE_MARGIN));
        let ordinary = open(self.cached_until);
        let past = if past_cache {
            open(self.past_cached_until)
        } else {
            ordinary
        };
        let at = ordinary.min(past);
        self.hinted_until = self
            .hinted_until
            .max(at.saturating_add(cache.saturating_mul(2)));
        *self
            .hint_at
            .insert(self.hint_at.map_or(at, |pending| pending.min(at)))
    }

    /// Whether to read past the server's cache now: only if a hint is due, an ordinary read would
    /// get the old cached value, and the cache of the reads past the cache has expired. Clears a
    /// hint that is due.
    pub(crate) fn wants_past_cache(&mut self, now: Time) -> bool {
        let at = now.as_millis();
        let hinted = self.hint_at.take_if(|hint_at| *hint_at <= at).is_some();
        hinted && at < self.cached_until && at >= self.past_cached_until
    }

    /// When the server's cache no longer answers an ordinary read.
    pub(crate) fn cache_expires(&self) -> Millis {
        self.cached_until.saturating_add(PHASE_MARGIN)
    }

    /// Whether the workload of the queue has or wants replicas.
    pub(crate) fn has_replicas(&self) -> bool {
        let mut subscriptions = self.subscriptions.values();
        subscriptions.any(|subscription| subscription.spec.has_replicas)
    }

    /// Whether the queue has work. If so, it is read at its polling interval.
    pub(crate) fn is_busy(&self, now: Time) -> bool {
        let moving = |backlog: &TypeBacklog| {
            backlog.count > 0 || backlog.add_rate_milli > 0 || backlog.dispatch_rate_milli > 0
        };
        self.slots_in_use
            || now.as_millis() < self.hinted_until
            || self.has_replicas()
            || self
                .types
                .values()
                .filter_map(|state| state.last.as_ref())
                .any(moving)
    }

    /// The shortest useful interval: the requested one, but no shorter than the server's cache.
    pub(crate) fn busy_period(&self, cache: Millis) -> Millis {
        self.shortest(|spec| spec.polling_interval)
            .max(cache)
            .saturating_add(PHASE_MARGIN)
    }

    /// The longest interval while the queue is quiet.
    pub(crate) fn quiet_period(&self, cache: Millis) -> Millis {
        self.shortest(|spec| spec.quiet_polling_interval)
            .max(self.busy_period(cache))
    }

    fn shortest(&self, of: impl Fn(&QueueWatch) -> Duration) -> Millis {
        let each = self
            .subscriptions
            .values()
            .map(|subscription| millis(of(&subscription.spec)));
        each.min().unwrap_or(LONGEST_BACKOFF)
    }

    /// When the next read is due after one that ended at `now`, and by how much it may be late.
    pub(crate) fn next(&self, now: Time, pace: Pace) -> (Millis, Millis) {
        let ended = now.as_millis();
        if let Some(failing) = self.worst() {
            return (ended.saturating_add(self.backoff(failing, pace)), 0);
        }
        if !self.is_busy(now) {
            let shortest = self.busy_period(pace.cache);
            let longest = self.quiet_period(pace.cache);
            let period = pace.quiet.clamp(shortest, longest);
            // An early read is a bonus: until its own interval has passed, a quiet queue is not
            // late.
            return (ended.saturating_add(period), longest.saturating_sub(period));
        }
        // A read that the cache may have answered is followed by one just after the cached value
        // expires. Otherwise the polling interval applies.
        let expires = self.cache_expires();
        let from_cache = self.cached_until < ended.saturating_add(pace.cache);
        let due = if from_cache && expires > ended {
            expires
        } else {
            ended.saturating_add(self.busy_period(pace.cache))
        };
        match self.hint_at {
            Some(hint_at) if hint_at < due => (hint_at, 0),
            Some(_) | None => (due, self.slack()),
        }
    }

    /// How long the oldest task may still wait before its target is missed, at most one polling
    /// interval.
    fn slack(&self) -> Millis {
        let states = self.types.values().filter_map(|state| state.last.as_ref());
        let age = states.map(|backlog| millis(backlog.age)).max().unwrap_or(0);
        let target = self.shortest(|spec| spec.queue_wait_target);
        target
            .saturating_sub(age)
            .min(self.shortest(|spec| spec.polling_interval))
    }

    fn worst(&self) -> Option<&Failing> {
        let failing = self
            .types
            .values()
            .filter_map(|state| state.failing.as_ref());
        failing.max_by_key(|failing| failing.error.kind == CallErrorKind::Denied)
    }

    fn backoff(&self, failing: &Failing, pace: Pace) -> Millis {
        let busy = self.busy_period(pace.cache);
        let answered = self.types.values().any(|state| state.last.is_some());
        let base = match failing.error.kind {
            CallErrorKind::Denied => DENIED_BACKOFF,
            CallErrorKind::Unsupported if !answered => {
                doubled(busy, failing.failures, UNSUPPORTED_BACKOFF)
            }
            CallErrorKind::Unsupported
            | CallErrorKind::Unavailable
            | CallErrorKind::Timeout
            | CallErrorKind::Throttled
            | CallErrorKind::NamespaceNotFound
            | CallErrorKind::Failed => doubled(busy, failing.failures, LONGEST_BACKOFF),
        };
        base.saturating_mul(pace.jitter_permille) / 1_000
    }
}
