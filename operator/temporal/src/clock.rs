//! The only place in this crate that reads a clock.

use std::time::Duration;

use taskqueue_scaling::Time;
use tokio::time::Instant;

/// A monotonic clock in the units of `taskqueue_scaling`. All parts of a process that compare times
/// share one. It follows tokio's paused time in tests.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

/// The clock starts at this time instead of zero, so that a window that reaches back before the
/// start is not cut off.
const HEAD_START: Duration = Duration::from_hours(24);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The time now.
    pub fn now(&self) -> Time {
        Time::default().plus(HEAD_START).plus(self.origin.elapsed())
    }

    /// The same time for tokio's timers.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.origin + time.since(Time::default().plus(HEAD_START))
    }
}
