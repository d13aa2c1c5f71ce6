//! Whether the oldest of the waiting tasks are taken, although the server reports only the age of
//! the first one. Pure.
//!
//! Tasks are taken in about the order in which they arrive, so the first one becomes a later one.
//! But thousands that arrive at once have the same age: while they are taken, the first one seems
//! to stay. But they become fewer.

use std::time::Duration;

use crate::milli::Milli;
use crate::observation::{PerType, TypeBacklog};
use crate::time::Time;

/// The server reports the head's age from a cache, a little late.
const SLACK: Duration = Duration::from_secs(2);

/// The head of a backlog as it was first seen, and what was dispatched since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// When its first task arrived. Later heads are compared with this one: a slow queue moves by
    /// less than the slack from one reading to the next.
    arrived: Time,
    /// The tasks that waited.
    waiting: u64,
    dispatched: Milli,
    /// Tasks are counted up to this time.
    counted: Time,
}

impl Head {
    /// The head of a backlog that was read at this time.
    pub(crate) fn new(backlog: &TypeBacklog, at: Time) -> Self {
        Self {
            arrived: at.minus(backlog.age),
            waiting: backlog.count,
            dispatched: Milli::ZERO,
            counted: at,
        }
    }

    /// Counts what was dispatched up to a later reading, at this rate if it is trusted.
    pub(crate) fn count(&mut self, dispatched: Option<Milli>, at: Time) {
        let span = at.since(self.counted);
        self.dispatched = self.dispatched + dispatched.unwrap_or(Milli::ZERO) * span;
        self.counted = at;
    }

    /// Whether the first task of a later reading arrived later.
    pub(crate) fn is_later(&self, backlog: &TypeBacklog, at: Time) -> bool {
        at.minus(backlog.age) > self.arrived.plus(SLACK)
    }

    /// Whether the waiting tasks become fewer, by at least a quarter of those that were dispatched.
    /// If as many arrive as are dispatched, nobody can tell tasks that arrived at once from some
    /// that are passed by.
    pub(crate) fn is_cleared(&self, backlog: &TypeBacklog) -> bool {
        let fewer = self.waiting.saturating_sub(backlog.count);
        fewer > 0 && Milli::whole(fewer) >= self.dispatched.percent(25)
    }
}

/// What the workers have done so far, and whether the server's rates are trusted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) rates_trusted: bool,
    /// The processed tasks that the workers have reported.
    pub(crate) processed: PerType<u64>,
}

impl Progress {
    /// The dispatched tasks per second of a reading, if the rate is trusted.
    pub(crate) fn dispatched(&self, backlog: &TypeBacklog) -> Option<Milli> {
        let rate = Milli::from_thousandths(backlog.dispatch_rate_milli);
        self.rates_trusted.then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_millis(1_000_000);

    fn waiting(count: u64, age: u64) -> TypeBacklog {
        TypeBacklog {
            count,
            age: Duration::from_secs(age),
            ..TypeBacklog::default()
        }
    }

    /// The head of 100 tasks after half a minute, in which `milli` tasks per 1000 s are dispatched.
    fn after(milli: u64) -> (Head, Time) {
        let mut head = Head::new(&waiting(100, 0), START);
        let at = START.plus(Duration::from_secs(30));
        head.count(Some(Milli::from_thousandths(milli)), at);
        (head, at)
    }

    #[test]
    fn a_head_is_a_later_one_if_its_first_task_arrived_later() {
        let (head, at) = after(0);
        assert!(head.is_later(&waiting(100, 27), at));
        assert!(!head.is_later(&waiting(100, 28), at));
    }

    #[test]
    fn tasks_that_arrived_at_once_are_cleared_if_they_become_fewer() {
        // 60 are dispatched.
        let (head, _) = after(2_000);
        assert!(head.is_cleared(&waiting(40, 30)));
        assert!(head.is_cleared(&waiting(85, 30)));
        assert!(!head.is_cleared(&waiting(86, 30)));
        // Nothing is known of what was dispatched.
        let (head, _) = after(0);
        assert!(head.is_cleared(&waiting(99, 30)));
        assert!(!head.is_cleared(&waiting(100, 30)));
    }
}
