//! Checks the minimums by time window of one queue. Pure.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};

use crate::cron::Cron;
use crate::scaling::ScheduleSpec;
use crate::schedule::{Window, next_after, time_zone};
use crate::validate::findings::Findings;
use crate::worker::{QueueSpec, TaskQueueWorkerSpec};

/// The windows of one queue: its own list if it has one, else the fleet's.
pub(super) fn windows(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> Vec<Window> {
    let own = queue
        .scaling
        .as_ref()
        .and_then(|scaling| scaling.schedule.as_ref());
    let (path, schedule) = match (own, &spec.scaling.schedule) {
        (Some(own), _) => (format!("spec.queues[{}].scaling", queue.name), own),
        (None, Some(fleets)) => ("spec.scaling".to_owned(), fleets),
        (None, None) => return Vec::new(),
    };
    let windows = schedule
        .iter()
        .enumerate()
        .filter_map(|(index, spec)| window(spec, &format!("{path}.schedule[{index}]"), findings));
    windows.collect()
}

fn window(spec: &ScheduleSpec, path: &str, findings: &mut Findings) -> Option<Window> {
    let zone = time_zone(&spec.time_zone);
    if zone.is_none() {
        findings.add_once(
            format!("{path}.timeZone"),
            format!(
                "{:?} is not a time zone; use an IANA name such as Europe/Berlin",
                spec.time_zone
            ),
        );
    }
    let mut cron = |field: &str, text: &str| match text.parse::<Cron>() {
        Ok(cron) if happens(&cron) => Some(cron),
        Ok(_) => {
            findings.add_once(
                format!("{path}.{field}"),
                format!("\"{text}\" never matches: no such day exists"),
            );
            None
        }
        Err(error) => {
            findings.add_once(format!("{path}.{field}"), error.to_string());
            None
        }
    };
    let start = cron("start", &spec.start);
    let end = cron("end", &spec.end);
    if start.is_some() && spec.start == spec.end {
        findings.add_once(
            format!("{path}.end"),
            "must not be the same as start: the window would never open",
        );
    }
    Some(Window {
        start: start?,
        end: end?,
        time_zone: zone?,
        min_replicas: spec.min_replicas,
    })
}

fn happens(cron: &Cron) -> bool {
    next_after(cron, &TimeZone::UTC, Timestamp::UNIX_EPOCH).is_some()
}

impl Findings {
    /// Adds a finding once: the fleet's schedule is checked for each queue.
    fn add_once(&mut self, path: String, message: impl Into<String>) {
        let known: BTreeSet<&str> = self.0.iter().map(|invalid| invalid.path.as_str()).collect();
        if !known.contains(path.as_str()) {
            self.add(path, message);
        }
    }
}
