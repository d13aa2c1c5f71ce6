//! Workers that end before their tasks. Pure.
//!
//! Nothing reports that a worker dropped its tasks, so this is a matter of chance: of the tasks
//! that run at a given moment, whatever their kinds, at most `t / mean` end within the next `t`. A
//! worker that exits by itself a moment after a heartbeat with running tasks has either been
//! lucky or has not waited for them. The fault is reported once luck is less likely than one in
//! [`ODDS`], over ends of several pods in a row. Ends less than a mean task time apart count as
//! one, because their tasks may have begun together.
//!
//! Both times are by the clock of the pod's node, and at most a second is lost to rounding.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use taskqueue_api::DurationString;
use taskqueue_scaling::Time;
use taskqueue_temporal::WorkerReport;

use super::verdict::Verdict;
use crate::observe::drains::Draining;

/// How unlikely luck must be.
const ODDS: u64 = 10_000;
/// How many pods must have ended so, at least.
const PODS: u32 = 2;
/// An end that is less unlikely than one in this many ends the row.
const UNLIKELY: u64 = 4;
/// No single end counts for more than this.
const MOST: u64 = 100;
/// How long after an end the worker list may show the last heartbeat of the worker.
const LAST_HEARTBEAT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an end is remembered, so that it counts once: longer than its pod is seen.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The ends of the pods of one queue.
#[derive(Debug, Default)]
pub(super) struct EarlyEnds {
    ends: BTreeMap<String, End>,
    /// How many pods in a row have ended early, at least a mean task time apart.
    in_a_row: u32,
    /// How unlikely that is: one in this many. Means nothing while `in_a_row` is 0.
    odds: u64,
    /// When the last of them ended.
    last: Option<Timestamp>,
}

/// How a draining pod's worker ended.
#[derive(Debug, Clone, Copy)]
struct End {
    at: Timestamp,
    /// Whether at least half of its grace period was left.
    early: bool,
    seen_at: Time,
    judged: bool,
}

impl EarlyEnds {
    /// Notes how the worker of a draining pod ended, if it ended by itself.
    pub(super) fn note(&mut self, pod: &Draining, now: Time) {
        let end = pod.end.filter(|end| end.killed.is_none());
        let Some(at) = end.and_then(|end| end.at) else {
            return;
        };
        if self.ends.contains_key(&pod.pod) {
            return;
        }
        let left = Duration::try_from(pod.ends.duration_since(at)).unwrap_or_default();
        let end = End {
            at,
            early: left >= pod.grace.checked_div(2).unwrap_or_default(),
            seen_at: now,
            judged: false,
        };
        self.ends.insert(pod.pod.clone(), end);
    }

    /// Judges the ends that are old enough for the worker list, which was read at `listed_at`.
    pub(super) fn judge(
        &mut self,
        reports: &[WorkerReport],
        task_queue: &str,
        listed_at: Option<Time>,
        task_time: Option<Duration>,
        now: Time,
    ) -> Verdict {
        let mut verdict = Verdict::Open;
        let mut ends = std::mem::take(&mut self.ends);
        ends.retain(|_, end| now.since(end.seen_at) < REMEMBERED);
        for (pod, end) in &mut ends {
            let listed = listed_at.is_some_and(|listed_at| listed_at > end.seen_at);
            let due = listed || now.since(end.seen_at) >= LAST_HEARTBEAT_TIMEOUT;
            if end.judged || !due {
                continue;
            }
            end.judged = true;
            let mut mine = reports
                .iter()
                .filter(|report| report.host_name == *pod && report.task_queue == task_queue);
            // With several workers on the pod it is not known which of them ended when.
            let (Some(report), None) = (mine.next(), mine.next()) else {
                continue;
            };
            match self.ended(*end, report, task_time) {
                Verdict::Open => {}
                decided => verdict = decided,
            }
        }
        self.ends = ends;
        verdict
    }

    /// Judges one end by the last heartbeat of its worker.
    fn ended(&mut self, end: End, report: &WorkerReport, task_time: Option<Duration>) -> Verdict {
        let running = report.slots.activity.map_or(0, |slots| slots.used);
        let (Some(sent_at), Some(task_time)) = (report.sent_at, task_time) else {
            return Verdict::Open;
        };
        if running == 0 {
            return Verdict::Open;
        }
        let nanos = end.at.as_nanosecond().saturating_sub(sent_at);
        let nanos = u64::try_from(nanos.max(0)).unwrap_or(u64::MAX);
        let took = Duration::from_nanos(nanos).saturating_add(Duration::from_secs(1));
        let times = task_time.as_millis().checked_div(took.as_millis());
        let times = times.map_or(0, |times| u64::try_from(times).unwrap_or(MOST));
        if !end.early || times == 0 {
            self.in_a_row = 0;
            return Verdict::Fine;
        }
        if times < UNLIKELY {
            self.in_a_row = 0;
            return Verdict::Open;
        }
        if let Some(last) = self.last.filter(|_| self.in_a_row > 0) {
            let apart = end.at.duration_since(last).unsigned_abs();
            if apart < task_time {
                return Verdict::Open;
            }
        }
        let before = if self.in_a_row == 0 { 1 } else { self.odds };
        self.odds = before.saturating_mul(times.min(MOST));
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(end.at);
        if self.odds < ODDS || self.in_a_row < PODS {
            return Verdict::Open;
        }
        let (pod, pods) = (&report.host_name, self.in_a_row);
        let mean: DurationString = Duration::from_secs(task_time.as_secs()).into();
        Verdict::Fault {
            pod: pod.clone(),
            evidence: format!(
                "{pods} pods in a row, {pod} the last, exited by themselves right after a \
                 heartbeat with running tasks, with more than half of their drain grace period \
                 left, although a task takes about {mean}: fewer than 1 in {ODDS} workers that \
                 wait for their tasks would end like that"
            ),
        }
    }
}
