//! Estimates how slow the server is, and how long its silence must last to mean that a queue is
//! idle. Pure: times are passed in.

use std::time::{Duration, Instant};

/// A queue is idle if no poll has returned for this long. Longer than the second within which
/// Temporal must record that it gives a new task to a waiting poll.
const QUIET: Duration = Duration::from_millis(1200);
/// The same as a multiple of the slowest recent answer: a server that is slow to record a task's
/// outcome is equally slow to hand out a task.
const QUIET_PER_ANSWER: u32 = 5;
/// Maximum age of a recent answer.
const RECENT_WINDOW: Duration = Duration::from_secs(30);

/// The slowest recent answer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slowest: Option<(Instant, Duration)>,
}

impl Pace {
    /// Records an answer that arrived at `now` and took `took`.
    pub(super) fn note(&mut self, now: Instant, took: Duration) {
        if took >= self.slowest(now) {
            self.slowest = Some((now, took));
        }
    }

    /// How long a queue must have been silent at `now` to count as idle.
    pub(super) fn quiet(&self, now: Instant) -> Duration {
        QUIET.max(self.slowest(now) * QUIET_PER_ANSWER)
    }

    fn slowest(&self, now: Instant) -> Duration {
        match self.slowest {
            Some((seen, took)) if now.saturating_duration_since(seen) < RECENT_WINDOW => took,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_recent_answer_decides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::default();
        assert_eq!(pace.quiet(at(0)), QUIET);
        pace.note(at(0), Duration::from_millis(10));
        assert_eq!(pace.quiet(at(0)), QUIET);
        pace.note(at(1), Duration::from_secs(2));
        pace.note(at(2), Duration::from_millis(10));
        assert_eq!(pace.quiet(at(30)), Duration::from_secs(10));
        assert_eq!(pace.quiet(at(31)), QUIET);
        pace.note(at(40), Duration::from_secs(1));
        assert_eq!(pace.quiet(at(41)), Duration::from_secs(5));
    }
}
