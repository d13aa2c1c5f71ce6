//! Heartbeats that are too rare to scale by. Pure.

use std::time::Duration;

use taskqueue_api::DurationString;
use taskqueue_temporal::WorkerReport;

use super::verdict::Verdict;

/// Intervals of at least this are too long. A worker that dies counts as busy for two and a half of
/// its intervals.
const RARE: Duration = Duration::from_secs(30);
/// A worker that does not report its interval may have sent heartbeats that no reading of the list
/// saw. The time between two that were seen is then longer than the time between the readings by
/// at most the worker's own interval, which must be at least this.
const OWN: Duration = Duration::from_secs(20);
/// How many heartbeats in a row must have the same kind of interval. One may be late because
/// Temporal did not answer, and a worker may send its first and its last one early.
const IN_A_ROW: u32 = 2;

/// The last heartbeats of the workers of one pod.
#[derive(Debug, Default)]
pub(super) struct HeartbeatRecord {
    sent_at: Option<i128>,
    rare: bool,
    in_a_row: u32,
}

impl HeartbeatRecord {
    /// Takes in the last heartbeat of a running worker, if it is new.
    pub(super) fn next(&mut self, report: &WorkerReport) -> Verdict {
        let (Some(sent_at), Some(interval)) = (report.sent_at, report.heartbeat_interval) else {
            return Verdict::Open;
        };
        if self.sent_at.is_some_and(|before| before >= sent_at) || interval.is_zero() {
            return Verdict::Open;
        }
        self.sent_at = Some(sent_at);
        let rare = interval >= RARE;
        let changed = report.heartbeat_changed_at.zip(report.heartbeat_sent_after);
        let between_readings = changed.map_or(interval, |(seen, before)| seen.since(before));
        if rare && interval < between_readings.saturating_add(OWN) {
            return Verdict::Open;
        }
        let before = if rare == self.rare { self.in_a_row } else { 0 };
        self.in_a_row = before.saturating_add(1);
        self.rare = rare;
        if self.in_a_row < IN_A_ROW {
            return Verdict::Open;
        }
        if !rare {
            return Verdict::Fine;
        }
        let pod = &report.host_name;
        let interval: DurationString = Duration::from_secs(interval.as_secs()).into();
        Verdict::Fault {
            pod: pod.clone(),
            evidence: format!(
                "the worker of pod {pod} sends a heartbeat only every {interval}, so the operator \
                 learns late that its slots are free or that it has died"
            ),
        }
    }
}
