//! Whether a connection is worth using: after it was lost one call at a time finds out, with
//! growing pauses, and nobody else waits for it. Pure; the time is passed in.

use crate::budget::Millis;
use crate::call::{CallError, CallErrorKind};

/// The first attempt after a loss comes this soon, each further one twice as late.
const FIRST_PAUSE: Millis = 1_000;

/// A server that was away for an hour is noticed within this time of its return.
const LONGEST_PAUSE: Millis = 15_000;

/// A Temporal namespace that does not exist is seldom made within a second.
const NAMESPACE_PAUSE: Millis = 5_000;

/// The state of one connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
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
pub(crate) enum Gate {
    /// Yes.
    Open,
    /// Yes, as the one call that finds out whether the connection is back.
    Probe,
    /// No; it would fail like this.
    Shut(CallError),
}

/// What a result changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The connection is lost, or still is: the next probe is due then.
    Lost {
        /// When one call may find out again.
        probe_at: Millis,
    },
    /// The connection is back: everything that waited for it is worth reading now.
    Back,
}

impl Link {
    /// Whether a call may be made at `now`.
    pub(crate) fn gate(&self, now: Millis) -> Gate {
        match &self.down {
            None => Gate::Open,
            Some(down) if !down.probing && now >= down.probe_at => Gate::Probe,
            Some(down) => Gate::Shut(down.error.clone()),
        }
    }

    /// The probe has been sent.
    pub(crate) fn probe(&mut self) {
        if let Some(down) = &mut self.down {
            down.probing = true;
        }
    }

    /// Takes the outcome of a call in. `probe` says whether that call was the probe.
    pub(crate) fn result(
        &mut self,
        error: Option<&CallError>,
        probe: bool,
        now: Millis,
        jitter_permille: u64,
    ) -> Change {
        // A probe that is not answered has found nothing out.
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

/// Failures that every other call over the connection would meet as well.
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
    fn one_probe_at_a_time_with_growing_pauses_up_to_a_bound() {
        let lost = error(CallErrorKind::Unavailable, true);
        let mut link = Link::default();
        assert_eq!(link.gate(0), Gate::Open);
        assert_eq!(
            link.result(Some(&lost), false, 0, 1_000),
            Change::Lost { probe_at: 1_000 }
        );
        assert_eq!(link.result(Some(&lost), false, 1, 1_000), Change::None);
        assert_eq!(link.gate(999), Gate::Shut(lost.clone()));
        let mut now = 1_000;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(link.gate(now), Gate::Probe);
            link.probe();
            assert_eq!(link.gate(now), Gate::Shut(lost.clone()));
            let Change::Lost { probe_at } = link.result(Some(&lost), true, now, 1_000) else {
                panic!("the probe failed");
            };
            pauses.push(probe_at - now);
            now = probe_at;
        }
        assert_eq!(pauses, [2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
        link.probe();
        assert_eq!(link.result(None, true, now, 1_000), Change::Back);
        assert_eq!(link.gate(now), Gate::Open);
    }

    #[test]
    fn an_answer_about_one_queue_does_not_close_the_connection() {
        let mut link = Link::default();
        for kind in [
            CallErrorKind::Timeout,
            CallErrorKind::Unavailable,
            CallErrorKind::Denied,
        ] {
            assert_eq!(
                link.result(Some(&error(kind, false)), false, 0, 1_000),
                Change::None
            );
            assert_eq!(link.gate(0), Gate::Open);
        }
    }

    #[test]
    fn a_probe_without_an_answer_does_not_bring_the_connection_back() {
        let mut link = Link::default();
        link.result(
            Some(&error(CallErrorKind::Unavailable, true)),
            false,
            0,
            1_000,
        );
        link.probe();
        let silence = error(CallErrorKind::Timeout, false);
        assert_eq!(
            link.result(Some(&silence), true, 6_000, 1_000),
            Change::Lost { probe_at: 8_000 }
        );
    }

    #[test]
    fn a_missing_namespace_concerns_everybody() {
        let missing = error(CallErrorKind::NamespaceNotFound, false);
        let mut link = Link::default();
        assert_eq!(
            link.result(Some(&missing), false, 0, 1_000),
            Change::Lost { probe_at: 5_000 }
        );
        assert_eq!(link.gate(1), Gate::Shut(missing));
        // Any answer that is not the same shows that the namespace is there.
        let denied = error(CallErrorKind::Denied, false);
        assert_eq!(link.result(Some(&denied), true, 5_000, 1_000), Change::Back);
    }
}
