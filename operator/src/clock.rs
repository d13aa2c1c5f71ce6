//! Reads the clocks. Everything else gets a [`Moment`] passed in, except the lease, which times its
//! own calls.

use jiff::Timestamp;
use taskqueue_scaling::Time;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For decisions and ages: never jumps. Shared with the readers of Temporal.
    pub monotonic: Time,
    /// For what people and other programs read.
    pub wall: Timestamp,
}

/// Reads both clocks. Copies share their origin.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    monotonic: taskqueue_temporal::Clock,
}

impl Clock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self {
            monotonic: taskqueue_temporal::Clock::start(),
        }
    }

    /// The monotonic part, for the readers of Temporal.
    pub fn monotonic(&self) -> taskqueue_temporal::Clock {
        self.monotonic
    }

    /// The present moment.
    pub fn now(&self) -> Moment {
        Moment {
            monotonic: self.monotonic.now(),
            wall: Timestamp::now(),
        }
    }
}
