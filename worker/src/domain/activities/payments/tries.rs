//! Which attempts of a payment count, and whether another one may be made. Pure.
//!
//! Temporal counts all attempts alike. But an attempt that the gateway answered with 429 charged
//! nothing, however many there are, and must not use up the three attempts of an order. What the
//! next attempt must know is kept in the details of a heartbeat.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_common::protos::temporal::api::common::v1::Payload;

use crate::domain::failure::{Failure, FailureType};
use crate::payment::REMEMBERED;

/// For how long a gateway may answer 429 to one order.
const RATE_LIMIT_WINDOW: Duration = Duration::from_hours(24);
/// Longest pause after a 429, unless the gateway asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The details of a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Earlier {
    /// How many attempts the gateway answered with 429.
    #[serde(default)]
    limited: u32,
    /// When the first attempt that may have charged began, in seconds since 1970.
    #[serde(default)]
    first: Option<i64>,
}

impl Earlier {
    /// What earlier attempts have left.
    pub(super) fn read(details: &[Payload]) -> Self {
        let last = details.last();
        let read = last.and_then(|payload| serde_json::from_slice(&payload.data).ok());
        read.unwrap_or_default()
    }
}

/// One attempt, and what is known of those before it. Times are in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// The number of this attempt, as Temporal counts.
    pub(super) attempt: u32,
    /// How many attempts may have an unknown outcome. `None`: the caller's retry policy decides.
    pub(super) most: Option<u32>,
    /// When the activity was scheduled.
    pub(super) scheduled: i64,
    pub(super) now: i64,
    pub(super) earlier: Earlier,
}

impl Tries {
    /// How many attempts before this one may have charged.
    pub(super) fn before(&self) -> u32 {
        (self.attempt.saturating_sub(1)).saturating_sub(self.earlier.limited)
    }

    /// Why the gateway must not be asked (again).
    pub(super) fn refusal(&self) -> Option<Failure> {
        let before = self.before();
        if self.most.is_some_and(|most| before >= most) {
            let words = format!("{before} attempts to pay ended without an answer");
            return Some(Failure::new(FailureType::PaymentUnavailable, words).finally());
        }
        // An attempt whose worker was killed has left no time.
        let first = self.earlier.first.unwrap_or(self.scheduled);
        if before > 0 && is_over(REMEMBERED, first, self.now) {
            let words = "an earlier attempt to pay had no answer, and is so long ago that the \
                         gateway may have forgotten it";
            return Some(Failure::new(FailureType::PaymentUnavailable, words).finally());
        }
        None
    }

    /// The failure to return for an answer that is no charge, and what the next attempt must know.
    pub(super) fn after(&self, mut failure: Failure) -> (Failure, Earlier) {
        let mut earlier = self.earlier;
        // The answer says nothing about earlier attempts.
        failure.uncharged &= self.before() == 0;
        if failure.kind == FailureType::PaymentRateLimited {
            let pause = Duration::from_secs(1 << earlier.limited.min(6)).min(LONGEST_PAUSE);
            failure.retry_after = failure.retry_after.map(|asked| asked.max(pause));
            earlier.limited += 1;
            if self.most.is_some() && is_over(RATE_LIMIT_WINDOW, self.scheduled, self.now) {
                failure.uncharged = self.before() == 0;
                failure = failure.finally();
            }
        } else if failure.kind.retryable() {
            earlier.first.get_or_insert(self.now);
            if self.most.is_some_and(|most| self.before() + 1 >= most) {
                failure = failure.finally();
            }
        }
        (failure, earlier)
    }
}

/// Whether more than `limit` has passed.
pub(super) fn is_over(limit: Duration, since: i64, now: i64) -> bool {
    i64::try_from(limit.as_secs()).is_ok_and(|limit| now.saturating_sub(since) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureType::{PaymentDeclined, PaymentRateLimited, PaymentUnavailable};

    const HOUR: i64 = 3600;

    fn tries(attempt: u32, earlier: Earlier) -> Tries {
        Tries {
            attempt,
            most: Some(3),
            scheduled: 0,
            now: 10,
            earlier,
        }
    }

    /// Plays the answers of a gateway; returns after how many of them the payment failed for good.
    fn fails_after(answers: &[FailureType]) -> Option<usize> {
        let mut earlier = Earlier::default();
        for (index, answer) in answers.iter().enumerate() {
            let attempt = u32::try_from(index).unwrap() + 1;
            let tries = tries(attempt, earlier);
            assert_eq!(tries.refusal(), None);
            let (failure, next) = tries.after(Failure::new(*answer, "no"));
            if !failure.is_retryable() {
                return Some(index + 1);
            }
            earlier = next;
        }
        None
    }

    #[test]
    fn a_rate_limit_uses_up_no_attempt() {
        let many = [PaymentRateLimited; 50];
        assert_eq!(fails_after(&many), None);
        let (limited, lost) = (PaymentRateLimited, PaymentUnavailable);
        for (answers, after) in [
            (vec![lost, lost, lost], Some(3)),
            (vec![limited, lost, limited, lost, limited, lost], Some(6)),
            (vec![lost, lost, limited, limited], None),
            (vec![limited, PaymentDeclined], Some(2)),
        ] {
            assert_eq!(fails_after(&answers), after, "{answers:?}");
        }
    }

    #[test]
    fn attempts_without_any_answer_count_as_well() {
        let killed = tries(4, Earlier::default()).refusal().unwrap();
        assert_eq!(killed.kind, PaymentUnavailable);
        assert!(!killed.is_retryable());
        let limited = Earlier {
            limited: 1,
            first: None,
        };
        assert_eq!(tries(4, limited).refusal(), None);
        // The caller's own retry policy decides.
        let own = Tries {
            most: None,
            ..tries(40, Earlier::default())
        };
        assert_eq!(own.refusal(), None);
        let (failure, _) = own.after(Failure::new(PaymentUnavailable, "no"));
        assert!(failure.is_retryable());
    }

    #[test]
    fn a_gateway_that_may_have_forgotten_an_attempt_is_not_asked_again() {
        let at = |hours: i64, first: Option<i64>| Tries {
            now: hours * HOUR,
            ..tries(2, Earlier { limited: 0, first })
        };
        assert_eq!(at(23, Some(0)).refusal(), None);
        let late = at(25, Some(0)).refusal().unwrap();
        assert!(!late.is_retryable());
        // The first attempt came late, because no worker ran before.
        assert_eq!(at(48, Some(47 * HOUR)).refusal(), None);
        // The first attempt left no time.
        assert!(at(25, None).refusal().is_some());
        // Nothing but rate limits.
        let limited = Earlier {
            limited: 1,
            first: None,
        };
        let limited = Tries {
            now: 48 * HOUR,
            ..tries(2, limited)
        };
        assert_eq!(limited.refusal(), None);
    }

    #[test]
    fn a_rate_limit_ends_after_a_day_and_then_nothing_was_charged() {
        let limited = Failure::new(PaymentRateLimited, "429").retry_after(Some(Duration::ZERO));
        for (hours, before, is_retryable, uncharged) in [
            (23, 0, true, false),
            (25, 0, false, true),
            (25, 1, false, false),
        ] {
            let earlier = Earlier {
                limited: 30,
                first: None,
            };
            let tries = Tries {
                now: hours * HOUR,
                ..tries(31 + before, earlier)
            };
            let (failure, _) = tries.after(limited.clone());
            assert_eq!(
                (failure.is_retryable(), failure.uncharged),
                (is_retryable, uncharged),
                "{hours} {before}"
            );
        }
    }

    #[test]
    fn the_pause_after_a_rate_limit_grows_to_a_minute_or_what_the_gateway_asks() {
        let pause = |limited: u32, asked: Option<u64>| {
            let earlier = Earlier {
                limited,
                first: None,
            };
            let asked = asked.map(Duration::from_secs);
            let failure = Failure::new(PaymentRateLimited, "429").retry_after(asked);
            let (failure, _) = tries(limited + 1, earlier).after(failure);
            failure.retry_after.map(|pause| pause.as_secs())
        };
        assert_eq!(pause(0, Some(1)), Some(1));
        assert_eq!(pause(3, Some(1)), Some(8));
        assert_eq!(pause(3, Some(600)), Some(600));
        assert_eq!(pause(90, Some(1)), Some(60));
        // The retry policy decides.
        assert_eq!(pause(90, None), None);
    }
}
