//! The circuit breaker of a connection: once the connection is lost, one call at a time probes it,
//! with growing pauses, and every other call fails at once. Pure; the time is passed in.

use crate::budget::Millis;
use crate::call::{CallError, CallErrorKind};

/// The pause before the first probe after a loss; each further pause is twice as long.
const FIRST_PAUSE: Millis = 1_000;

/// The longest pause. After an hour's outage the server's return is still noticed within this time.
const LONGEST_PAUSE: Millis = 15_000;

/// The first pause for a missing Temporal namespace: one is rarely created within a second.
const NAMESPACE_PAUSE: Millis = 5_000;

/// The circuit breaker of one connection.
#[derive(Debug, Default)]
pub(crate) struct CircuitBreaker {
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    error: CallError,
    attempts: u32,
    probe_at: Millis,
    probing: bool,
}

/// Whether a call may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Yes: the connection works.
    Closed,
    /// Yes, as the one call that probes whether the connection is back.
    HalfOpen,
    /// No; the call would fail with this error.
    Open(CallError),
}

/// How a call's result changed the state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The connection is lost, or still lost.
    Lost {
        /// When the next probe is due.
        probe_at: Millis,
    },
    /// The connection is back: everything that waited for it is worth reading now.
    Back,
}

impl CircuitBreaker {
    /// Whether a call may be made at `now`.
    pub(crate) fn state(&self, now: Millis) -> State {
        match &self.down {
            None => State::Closed,
            Some(down) if !down.probing && now >= down.probe_at => State::HalfOpen,
            Some(down) => State::Open(down.error.clone()),
        }
    }

    /// Records that the probe has been sent.
    pub(crate) fn probe(&mut self) {
        if let Some(down) = &mut self.down {
            down.probing = true;
        }
    }

    /// Records the result of a call. `probe` says whether that call was the probe.
    pub(crate) fn result(
        &mut self,
        error: Option<&CallError>,
        probe: bool,
        now: Millis,
        jitter_permille: u64,
    ) -> Change {
        // A probe without an answer proves nothing.
        let still_lost = probe && error.is_some_and(|e| e.kind == CallErrorKind::Timeout);
        let Some(error) = error.filter(|error| still_lost || concerns_everybody(error)) else {
            return if self.down.take().is_some() {
                Change::Back
            } else {
                Change::None
            };
        };
        let attempts = match &self.down {
            // Calls that were under way when the connection was lost fail with it.
            Some(_) if !probe => return Change::None,
            Some(down) => down.attempts.saturating_add(1),
            None => 1,
        };
        let first = match error.kind {
            CallErrorKind::NamespaceNotFound => NAMESPACE_PAUSE,
            CallErrorKind::Unavailable
            | CallErrorKind::Timeout
            | CallErrorKind::Throttled
            | CallErrorKind::Denied
            | CallErrorKind::Unsupported
            | CallErrorKind::Failed => FIRST_PAUSE,
        };
        let pause = first
            .saturating_mul(1 << (attempts - 1).min(8))
            .min(LONGEST_PAUSE);
        let probe_at = now.saturating_add(pause.saturating_mul(jitter_permille) / 1_000);
        self.down = Some(Down {
            error: error.clone(),
            attempts,
            probe_at,
            probing: false,
        });
        Change::Lost { probe_at }
    }
}

/// Whether every other call over the connection would fail in the same way.
pub(crate) fn concerns_everybody(error: &CallError) -> bool {
    error.connection_lost || error.kind == CallErrorKind::NamespaceNotFound
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Method;

    fn error(kind: CallErrorKind, connection_lost: bool) -> CallError {
        CallError {
            kind,
            method: Method::DescribeTaskQueue,
            code: "Unavailable",
            message: String::new(),
            connection_lost,
            fault: None,
        }
    }

    #[test]
    fn probes_run_one_at_a_time_with_bounded_growing_pauses() {
        let lost = error(CallErrorKind::Unavailable, true);
        let mut breaker = CircuitBreaker::default();
        assert_eq!(breaker.state(0), State::Closed);
        assert_eq!(
            breaker.result(Some(&lost), false, 0, 1_000),
            Change::Lost { probe_at: 1_000 }
        );
        assert_eq!(breaker.result(Some(&lost), false, 1, 1_000), Change::None);
        assert_eq!(breaker.state(999), State::Open(lost.clone()));
        let mut now = 1_000;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(breaker.state(now), State::HalfOpen);
            breaker.probe();
            assert_eq!(breaker.state(now), State::Open(lost.clone()));
            let Change::Lost { probe_at } = breaker.result(Some(&lost), true, now, 1_000) else {
                panic!("the probe failed");
            };
            pauses.push(probe_at - now);
            now = probe_at;
        }
        assert_eq!(pauses, [2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
        breaker.probe();
        assert_eq!(breaker.result(None, true, now, 1_000), Change::Back);
        assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn a_failure_of_one_queue_does_not_open_the_breaker() {
        let mut breaker = CircuitBreaker::default();
        for kind in [
            CallErrorKind::Timeout,
            CallErrorKind::Unavailable,
            CallErrorKind::Denied,
        ] {
            assert_eq!(
                breaker.result(Some(&error(kind, false)), false, 0, 1_000),
                Change::None
            );
            assert_eq!(breaker.state(0), State::Closed);
        }
    }

    #[test]
    fn a_probe_without_an_answer_does_not_close_the_breaker() {
        let mut breaker = CircuitBreaker::default();
        breaker.result(
            Some(&error(CallErrorKind::Unavailable, true)),
            false,
            0,
            1_000,
        );
        breaker.probe();
        let silence = error(CallErrorKind::Timeout, false);
        assert_eq!(
            breaker.result(Some(&silence), true, 6_000, 1_000),
            Change::Lost { probe_at: 8_000 }
        );
    }

    #[test]
    fn a_missing_namespace_opens_the_breaker() {
        let missing = error(CallErrorKind::NamespaceNotFound, false);
        let mut breaker = CircuitBreaker::default();
        assert_eq!(
            breaker.result(Some(&missing), false, 0, 1_000),
            Change::Lost { probe_at: 5_000 }
        );
        assert_eq!(breaker.state(1), State::Open(missing));
        // Any other answer shows that the namespace exists.
        let denied = error(CallErrorKind::Denied, false);
        assert_eq!(
            breaker.result(Some(&denied), true, 5_000, 1_000),
            Change::Back
        );
    }
}
