//! How often the commands that go on read again. Pure, but for the timer.

use std::time::Duration;

use taskqueue_api::{DurationString, duration_between};
use tokio::time::{Interval, MissedTickBehavior};

/// Parses the time between two reads.
pub fn interval() -> impl Fn(&str) -> Result<DurationString, String> + Clone {
    duration_between(Duration::from_secs(1), Duration::from_mins(5))
}

/// Ticks after every `interval`, the first time after one. After a slow read it does not hurry.
pub(crate) fn pace(interval: DurationString) -> Interval {
    let mut pace = tokio::time::interval(interval.into());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace.reset();
    pace
}
