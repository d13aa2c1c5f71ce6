//! The recurring load of a queue between passes: what is known of it, what of that its Deployment
//! should keep for the next process, and what the forecast asks for now. Pure; the time is passed
//! in.
//!
//! The Deployment keeps it in an annotation, which is read once, when this process first sees the
//! Deployment. It is not status: the operator writes it for itself, nothing reports it, and without
//! it the operator only has to learn again. It is written at most once an hour, because Kubernetes
//! counts a new generation and copies the annotation to the ReplicaSet each time.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::schedule::{local_time, time_zone};
use taskqueue_api::{Queue, well_known};
use taskqueue_scaling::{Forecast, History, RecurringLoad};

use crate::clock::Moment;
use crate::observe::ObservedQueue;

/// The least time between two attempts to write the annotation.
const KEPT_FOR: Duration = Duration::from_hours(1);
/// What is older than this is not read any more.
const TOO_OLD: Duration = Duration::from_hours(3 * 7 * 24);
/// The first word of the annotation. What begins with another is not read.
const FORMAT: &str = "1";

/// Everything remembered about the recurring load of one queue.
#[derive(Debug, Clone, Default)]
pub struct Recurring {
    /// `None` while the queue has no forecast.
    known: Option<Known>,
    /// When the annotation was last written, as far as is known, or its writing failed.
    tried_at: Option<Timestamp>,
    due: Due,
    forecast: Option<Forecast>,
    next_rise: Option<Duration>,
}

/// What the annotation of the Deployment needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Due {
    /// No write now.
    #[default]
    Nothing,
    /// This value.
    Value(String),
    /// That it goes, because the queue has no forecast any more.
    Removal,
}

/// What is known of the load.
#[derive(Debug, Clone)]
struct Known {
    zone: TimeZone,
    load: RecurringLoad,
    /// Whether the Deployment has been looked at for what it keeps.
    restored: bool,
}

impl Recurring {
    /// Takes in what was observed of a queue. `history` has observed it already.
    pub fn observe(&mut self, queue: &Queue, seen: &ObservedQueue, history: &History, now: Moment) {
        let existing = seen.existing.as_deref();
        let annotation = existing.and_then(annotation_of);
        let Some(zone) = &queue.forecast else {
            let obsolete = annotation.is_some() && self.may_try(now.wall);
            *self = Self {
                tried_at: self.tried_at,
                due: if obsolete { Due::Removal } else { Due::Nothing },
                ..Self::default()
            };
            return;
        };
        let known = self.known.take().filter(|known| known.zone == *zone);
        let mut known = known.unwrap_or_else(|| Known {
            zone: zone.clone(),
            load: RecurringLoad::default(),
            restored: false,
        });
        if existing.is_some() && !known.restored {
            known.restored = true;
            let kept = annotation.and_then(Kept::read);
            self.tried_at = self.tried_at.or(kept.as_ref().map(|kept| kept.at));
            let kept = kept.filter(|kept| kept.is_for(zone, now.wall));
            if let Some(kept) = kept.filter(|_| known.load.to_text().is_none()) {
                known.load = kept.load;
            }
        }
        let (policy, load) = (&queue.policy, &mut known.load);
        let local = local_time(zone, now.wall);
        load.observe(policy, &seen.reading.backlog, history, now.monotonic, local);
        self.forecast = load.forecast(policy, history, local);
        self.next_rise = load.next_rise(policy, history, local);
        let text = load.to_text().filter(|_| self.may_try(now.wall));
        let changed = text.filter(|text| annotation.and_then(load_of) != Some(text.as_str()));
        self.due = changed.map_or(Due::Nothing, |text| Due::Value(line(now.wall, zone, &text)));
        self.known = Some(known);
    }

    /// What the forecast asks for now.
    pub fn forecast(&self) -> Option<Forecast> {
        self.forecast
    }

    /// How long after the last observation the forecast may ask for more.
    pub fn next_rise(&self) -> Option<Duration> {
        self.next_rise
    }

    /// What the annotation needs now.
    pub fn due(&self) -> &Due {
        &self.due
    }

    /// Records that the annotation was written, or that this failed.
    pub fn tried(&mut self, now: Timestamp) {
        self.tried_at = Some(now);
        self.due = Due::Nothing;
    }

    /// Whether the last attempt was long enough ago, or in the future because a clock was wrong.
    fn may_try(&self, now: Timestamp) -> bool {
        self.tried_at
            .is_none_or(|tried| now < tried || now.duration_since(tried).unsigned_abs() >= KEPT_FOR)
    }
}

/// The annotation as it was read.
struct Kept {
    at: Timestamp,
    zone: Option<TimeZone>,
    load: RecurringLoad,
}

impl Kept {
    fn read(annotation: &str) -> Option<Self> {
        let rest = annotation.strip_prefix(FORMAT)?.strip_prefix(' ')?;
        let (at, rest) = rest.split_once(' ')?;
        let (zone, load) = rest.split_once(' ')?;
        Some(Self {
            at: at.parse().ok()?,
            zone: time_zone(zone),
            load: RecurringLoad::from_text(load)?,
        })
    }

    /// Whether it is young enough, and about the days and weeks of this time zone.
    fn is_for(&self, zone: &TimeZone, now: Timestamp) -> bool {
        let age = now.duration_since(self.at);
        age.unsigned_abs() <= TOO_OLD && self.zone.as_ref() == Some(zone)
    }
}

/// The format, the time, the time zone and the load.
fn line(now: Timestamp, zone: &TimeZone, load: &str) -> String {
    let at = now.strftime("%Y-%m-%dT%H:%M:%SZ");
    let zone = zone.iana_name().unwrap_or("UTC");
    format!("{FORMAT} {at} {zone} {load}")
}

/// The load in an annotation, as text.
fn load_of(annotation: &str) -> Option<&str> {
    annotation.splitn(4, ' ').nth(3)
}

fn annotation_of(existing: &Deployment) -> Option<&str> {
    let annotations = existing.metadata.annotations.as_ref()?;
    let text = annotations.get(well_known::RECURRING_LOAD_ANNOTATION)?;
    Some(text)
}

#[cfg(test)]
mod tests;
