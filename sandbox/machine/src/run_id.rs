//! The id of a run of the demo, the soak or the latency measurement.

use jiff::{Timestamp, tz::TimeZone};

/// The time in UTC. Every order of a run carries it, so that runs in one sandbox never meet.
pub fn run_id() -> String {
    Timestamp::now()
        .to_zoned(TimeZone::UTC)
        .strftime("%Y%m%d-%H%M%S")
        .to_string()
}
