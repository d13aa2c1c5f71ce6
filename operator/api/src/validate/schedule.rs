//! Checks the minimums by time window and the forecast of one queue. Pure.

use std::collections::BTreeSet;

use jiff::{Timestamp, tz::TimeZone};

use crate::cron::Cron;
use crate::scaling::{ForecastMode, ForecastSpec, ScheduleSpec};
use crate::schedule::{self, Window, next_after};
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

/// The time zone of one queue's forecast, its own or else the fleet's; `None` = no forecast.
pub(super) fn forecast(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> Option<TimeZone> {
    let own = queue
        .scaling
        .as_ref()
        .and_then(|scaling| scaling.forecast.as_ref());
    let (path, forecast) = match (own, &spec.scaling.forecast) {
        (Some(own), _) => (format!("spec.queues[{}].scaling", queue.name), own),
        (None, Some(fleets)) => ("spec.scaling".to_owned(), fleets),
        (None, None) => return None,
    };
    let ForecastSpec { mode, time_zone } = forecast;
    let zone = known_zone(time_zone, &format!("{path}.forecast"), findings);
    match mode {
        ForecastMode::Enabled => zone,
        ForecastMode::Disabled => None,
    }
}

fn known_zone(name: &str, path: &str, findings: &mut Findings) -> Option<TimeZone> {
    let zone = schedule::time_zone(name);
    if zone.is_none() {
        findings.add_once(
            format!("{path}.timeZone"),
            format!("{name:?} is not a time zone; use an IANA name such as Europe/Berlin"),
        );
    }
    zone
}

fn window(spec: &ScheduleSpec, path: &str, findings: &mut Findings) -> Option<Window> {
    let zone = known_zone(&spec.time_zone, path, findings);
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
