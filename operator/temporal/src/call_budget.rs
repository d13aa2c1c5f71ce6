//! The call budget of one Temporal namespace: one bucket for all calls, and one for each source.
//! Pure; the time is passed in.
//!
//! Temporal limits `DescribeTaskQueue` together with most calls, and `ListWorkers` and
//! `DescribeWorker` together with searches for workflows, which people and dashboards make. So a
//! `ResourceExhausted` says something about one source alone, and slows down that one alone. The
//! bucket for all calls is never halved: it keeps the sum within the configured rate.

use crate::budget::{Budget, BudgetLimits, Millis};

/// What calls read. Temporal limits the calls of the two separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The statistics of task queues.
    Backlog,
    /// The list of workers, which has their slots.
    Slots,
}

impl Source {
    /// Both sources.
    pub const ALL: [Self; 2] = [Self::Backlog, Self::Slots];

    /// The name for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backlog => "backlog",
            Self::Slots => "slots",
        }
    }
}

/// One value per source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSource<T> {
    /// For the statistics.
    pub backlog: T,
    /// For the list of workers.
    pub slots: T,
}

impl<T> PerSource<T> {
    /// The value of one source.
    pub const fn get(&self, source: Source) -> &T {
        match source {
            Source::Backlog => &self.backlog,
            Source::Slots => &self.slots,
        }
    }

    /// The value of one source, mutable.
    pub const fn get_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::Backlog => &mut self.backlog,
            Source::Slots => &mut self.slots,
        }
    }

    /// Creates a value for both sources.
    pub fn from_fn(mut make: impl FnMut(Source) -> T) -> Self {
        Self {
            backlog: make(Source::Backlog),
            slots: make(Source::Slots),
        }
    }
}

/// Why a call must wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Too few calls are left for its source; calls of the other source need not wait. Milliseconds
    /// until there are enough for this one.
    Source(Millis),
    /// Too few calls are left at all. Milliseconds until there are enough.
    All(Millis),
}

/// The buckets of one Temporal namespace.
#[derive(Debug)]
pub(crate) struct CallBudget {
    all: Budget,
    sources: PerSource<Budget>,
}

impl CallBudget {
    /// Full buckets. Until a rate is halved, only the one for all calls matters.
    pub(crate) fn new(limits: BudgetLimits, now: Millis) -> Self {
        Self {
            all: Budget::new(limits, now),
            sources: PerSource::from_fn(|_| Budget::new(limits, now)),
        }
    }

    /// Takes `calls` tokens for a source.
    pub(crate) fn take(&mut self, source: Source, calls: u64, now: Millis) -> Result<(), Wait> {
        let of_source = self.sources.get_mut(source);
        let (own, all) = (of_source.wait(calls, now), self.all.wait(calls, now));
        if own > 0 {
            return Err(Wait::Source(own.max(all)));
        }
        self.all.take(calls, now).map_err(Wait::All)?;
        of_source.take(calls, now).map_err(Wait::Source)
    }

    /// Reacts to `ResourceExhausted` for a call of this source.
    pub(crate) fn halve(&mut self, source: Source, now: Millis) {
        self.sources.get_mut(source).halve(now);
    }

    /// The current rate of a source: calls per second, in thousandths.
    pub(crate) const fn rate_milli(&self, source: Source) -> u64 {
        self.sources.get(source).rate_milli()
    }

    /// Whole calls of a source that could be made now without waiting.
    pub(crate) fn tokens(&mut self, source: Source, now: Millis) -> u64 {
        let all = self.all.tokens(now);
        self.sources.get_mut(source).tokens(now).min(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits {
        rate_milli: 20_000,
        burst: 20,
    };

    #[test]
    fn both_sources_share_one_rate() {
        let mut budget = CallBudget::new(LIMITS, 0);
        assert_eq!(budget.take(Source::Backlog, 15, 0), Ok(()));
        assert_eq!(budget.take(Source::Slots, 5, 0), Ok(()));
        assert_eq!(budget.take(Source::Backlog, 1, 0), Err(Wait::All(50)));
        assert_eq!(budget.take(Source::Slots, 1, 0), Err(Wait::All(50)));
        assert_eq!(budget.take(Source::Slots, 1, 50), Ok(()));
        assert_eq!(budget.take(Source::Backlog, 1, 50), Err(Wait::All(50)));
    }

    #[test]
    fn a_refused_list_slows_down_only_the_list() {
        let mut budget = CallBudget::new(LIMITS, 0);
        budget.halve(Source::Slots, 0);
        let rates = |budget: &CallBudget| Source::ALL.map(|source| budget.rate_milli(source));
        assert_eq!(rates(&budget), [20_000, 10_000]);
        assert_eq!(budget.take(Source::Slots, 1, 0), Err(Wait::Source(100)));
        assert_eq!(budget.take(Source::Backlog, 20, 0), Ok(()));
        // Both buckets are short now: the call waits for the later of the two.
        assert_eq!(budget.take(Source::Slots, 3, 0), Err(Wait::Source(300)));
        assert_eq!(budget.tokens(Source::Backlog, 200), 4);
        assert_eq!(budget.tokens(Source::Slots, 200), 2);
    }
}
