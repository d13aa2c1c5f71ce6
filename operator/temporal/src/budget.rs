//! A token bucket whose rate halves when the server answers `ResourceExhausted`, and recovers in
//! equal steps over minutes.
//!
//! Pure: the time is passed in, integers only. One token is one call. In any span of `t` seconds at
//! most `burst + rate * t` calls are let through, whatever the schedule.
//!
//! Why not governor: the rate of its limiters is fixed. Halving it means starting a new limiter,
//! which forgets what has been spent.

/// Milliseconds on the crate's monotonic clock.
pub(crate) type Millis = u64;

/// One call in the bucket's own unit. A rate in thousandths of a call per second adds exactly that
/// many units per millisecond, so refilling needs no rounding.
const CALL: u64 = 1_000_000;

/// Halvings closer together than this count as one: when the server runs out of capacity, all calls
/// in flight fail together, and that is one event.
const HALVE_AT_MOST_EVERY: Millis = 5_000;

/// After a halving the rate climbs by a tenth of the full rate per step: five steps, or two and a
/// half minutes, from half to full. Slow enough not to oscillate under a limit that many clients
/// share.
const RECOVERY_STEP: Millis = 30_000;

/// The limits of a call budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Calls per second, in thousandths.
    pub rate_milli: u64,
    /// Calls that may be made back to back after a pause.
    pub burst: u64,
}

/// A token bucket; one token is one call. In any span of `t` seconds at most `burst + rate * t`
/// calls are let through. Times are milliseconds on one monotonic clock.
#[derive(Clone, Debug)]
pub struct Budget {
    limits: BudgetLimits,
    rate_milli: u64,
    level: u64,
    filled_at: Millis,
    stepped_at: Millis,
    halved_at: Option<Millis>,
}

impl Budget {
    /// A full bucket. The burst is at least 3, enough for one read of every task type of a queue;
    /// the rate is at least one call in ten seconds.
    pub fn new(limits: BudgetLimits, now: Millis) -> Self {
        let limits = BudgetLimits {
            rate_milli: limits.rate_milli.max(100),
            burst: limits.burst.max(3),
        };
        Self {
            limits,
            rate_milli: limits.rate_milli,
            level: limits.burst.saturating_mul(CALL),
            filled_at: now,
            stepped_at: now,
            halved_at: None,
        }
    }

    /// Takes `calls` tokens; more calls than the burst cost as much as the burst.
    ///
    /// # Errors
    /// If there are too few tokens: the milliseconds from `now` until there are enough, provided
    /// nobody else takes any.
    pub fn take(&mut self, calls: u64, now: Millis) -> Result<(), Millis> {
        match self.wait(calls, now) {
            0 => {
                self.level = self.level.saturating_sub(self.price(calls));
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// The milliseconds from `now` until `calls` can be taken, provided nobody else takes any.
    pub(crate) fn wait(&mut self, calls: u64, now: Millis) -> Millis {
        self.fill(now);
        let short = self.price(calls).saturating_sub(self.level);
        short.div_ceil(self.rate_milli)
    }

    fn price(&self, calls: u64) -> u64 {
        calls.min(self.limits.burst).saturating_mul(CALL)
    }

    /// Reacts to `ResourceExhausted`: halves the rate and empties the bucket.
    pub(crate) fn halve(&mut self, now: Millis) {
        self.fill(now);
        if self
            .halved_at
            .is_some_and(|at| now.saturating_sub(at) < HALVE_AT_MOST_EVERY)
        {
            return;
        }
        // The minimum is one call in ten seconds; below that the operator would never learn
        // anything.
        self.rate_milli = (self.rate_milli / 2).max(100);
        self.level = 0;
        self.halved_at = Some(now);
        self.stepped_at = now;
    }

    /// The current rate: calls per second, in thousandths.
    pub(crate) const fn rate_milli(&self) -> u64 {
        self.rate_milli
    }

    /// Whole calls that could be made now without waiting.
    pub(crate) fn tokens(&mut self, now: Millis) -> u64 {
        self.fill(now);
        self.level / CALL
    }

    fn fill(&mut self, now: Millis) {
        let elapsed = now.saturating_sub(self.filled_at);
        self.filled_at = self.filled_at.max(now);
        let full = self.limits.burst.saturating_mul(CALL);
        self.level = self
            .level
            .saturating_add(elapsed.saturating_mul(self.rate_milli))
            .min(full);
        // The elapsed time was filled at the old rate; the new rate applies from here on.
        let steps = now.saturating_sub(self.stepped_at) / RECOVERY_STEP;
        if steps > 0 {
            self.stepped_at = self
                .stepped_at
                .saturating_add(steps.saturating_mul(RECOVERY_STEP));
            let gain = steps.saturating_mul((self.limits.rate_milli / 10).max(1));
            self.rate_milli = self
                .rate_milli
                .saturating_add(gain)
                .min(self.limits.rate_milli);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BudgetLimits = BudgetLimits {
        rate_milli: 20_000,
        burst: 20,
    };

    #[test]
    fn a_burst_is_available_at_once_and_then_the_rate_applies() {
        let mut budget = Budget::new(LIMITS, 0);
        assert_eq!(budget.take(20, 0), Ok(()));
        assert_eq!(budget.take(1, 0), Err(50));
        assert_eq!(budget.take(3, 0), Err(150));
        assert_eq!(budget.take(1, 49), Err(1));
        assert_eq!(budget.take(1, 50), Ok(()));
        assert_eq!(budget.tokens(10_000), 20);
    }

    #[test]
    fn exhaustion_halves_once_per_event_and_recovers_over_minutes() {
        let mut budget = Budget::new(LIMITS, 0);
        budget.halve(1_000);
        budget.halve(1_001);
        assert_eq!(budget.rate_milli(), 10_000);
        assert_eq!(budget.tokens(1_001), 0);
        budget.halve(6_000);
        assert_eq!(budget.rate_milli(), 5_000);
        let mut seen = Vec::new();
        for step in 1..=9 {
            budget.tokens(6_000 + step * RECOVERY_STEP);
            seen.push(budget.rate_milli());
        }
        assert_eq!(
            seen,
            [
                7_000, 9_000, 11_000, 13_000, 15_000, 17_000, 19_000, 20_000, 20_000
            ]
        );
    }

    #[test]
    fn the_rate_never_reaches_zero() {
        let mut budget = Budget::new(LIMITS, 0);
        for event in 1..100 {
            budget.halve(event * HALVE_AT_MOST_EVERY);
        }
        assert!(budget.rate_milli() >= 100);
        let wait = budget.take(1, 100 * HALVE_AT_MOST_EVERY).unwrap_err();
        assert_eq!(budget.take(1, 100 * HALVE_AT_MOST_EVERY + wait), Ok(()));
    }

    proptest! {
        #[test]
        fn no_interval_has_more_calls_than_the_budget(
            rate_milli in 100u64..200_000,
            burst in 3u64..100,
            asks in prop::collection::vec((0u64..2_000, 1u64..6, any::<bool>()), 1..200),
        ) {
            let mut budget = Budget::new(BudgetLimits { rate_milli, burst }, 0);
            let mut now = 0;
            let mut taken: Vec<(Millis, u64)> = Vec::new();
            for (pause, calls, exhausted) in asks {
                now += pause;
                if exhausted && calls == 5 {
                    budget.halve(now);
                }
                let calls = calls.min(burst);
                if budget.take(calls, now).is_ok() {
                    taken.push((now, calls));
                }
            }
            for (first, &(from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(to, calls) in &taken[first..] {
                    sum += calls;
                    prop_assert!(sum * CALL <= burst * CALL + rate_milli * (to - from));
                }
            }
        }

        #[test]
        fn the_returned_wait_is_exact_to_the_millisecond(
            rate_milli in 100u64..200_000, calls in 1u64..4, spent in 0u64..20,
        ) {
            let mut budget = Budget::new(BudgetLimits { rate_milli, burst: 20 }, 0);
            budget.take(spent.max(1), 0).unwrap();
            if let Err(wait) = budget.take(calls, 0) {
                prop_assert!(budget.clone().take(calls, wait - 1).is_err());
                prop_assert_eq!(budget.take(calls, wait), Ok(()));
            }
        }
    }
}
