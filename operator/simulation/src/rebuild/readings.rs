//! The scrapes of a recording, and the stretches in which the task queue was known. Pure.
//!
//! A scrape repeats the last reading until there is a new one. The metric with the age of the
//! reading tells the two apart, and gives the time at which the figures were true.

use std::collections::BTreeMap;

use super::recording::{Recording, Series};

/// Two scrapes further apart than this many scrape intervals have a gap between them ...
const GAP_INTERVALS: i64 = 3;
/// ... if they are also further apart than this, in milliseconds.
const SHORTEST_GAP: i64 = 30_000;
/// Readings closer than this are one, in milliseconds. The server itself answers from a cache of
/// seconds.
const SAME_READING: i64 = 500;
/// The oldest reading that the operator exposes, in milliseconds: twice its longest quiet interval.
const OLDEST_READING: f64 = 600_000.0;

/// What one scrape found.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scrape {
    pub(super) at: i64,
    pub(super) add_rate: Option<f64>,
    pub(super) dispatch_rate: Option<f64>,
    pub(super) backlog: Option<f64>,
    pub(super) backlog_age: Option<f64>,
    pub(super) rate_limited: Option<f64>,
    pub(super) slots_used: Option<f64>,
    pub(super) slots_available: Option<f64>,
    pub(super) service_time: Option<f64>,
    pub(super) service_time_learned: Option<f64>,
    pub(super) ready_replicas: Option<f64>,
    pub(super) current_replicas: Option<f64>,
    pub(super) wait_target: Option<f64>,
    pub(super) reading_age: Option<f64>,
}

impl Scrape {
    /// Whether the task queue is known.
    const fn is_known(&self) -> bool {
        self.add_rate.is_some() || self.backlog.is_some()
    }

    /// When the figures of the task queue were read.
    fn read_at(&self) -> i64 {
        let age = self.reading_age.unwrap_or(0.0) * 1000.0;
        self.at - age.min(OLDEST_READING) as i64
    }
}

/// The figures of the task queue at the time at which Temporal was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// In milliseconds since 1970.
    pub(super) at: i64,
    /// Tasks per second.
    pub(super) add_rate: Option<f64>,
    /// Tasks per second.
    pub(super) dispatch_rate: Option<f64>,
    /// Tasks.
    pub(super) backlog: Option<f64>,
    /// Seconds.
    pub(super) backlog_age: Option<f64>,
    /// Seconds.
    pub(super) wait_target: Option<f64>,
    pub(super) rate_limited: bool,
}

/// A time without a gap, of at least two readings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    /// The scrapes at which the task queue was known, in order.
    pub(super) scrapes: Vec<Scrape>,
    /// The readings, in order, each later than the one before.
    pub(super) readings: Vec<Reading>,
}

impl Stretch {
    /// The times of the first and the last reading.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        Some((self.readings.first()?.at, self.readings.last()?.at))
    }

    /// The times of the first and the last scrape.
    fn scraped(&self) -> Option<(i64, i64)> {
        Some((self.scrapes.first()?.at, self.scrapes.last()?.at))
    }
}

/// The scrapes from `from` to `until`, in order.
pub(super) fn scrapes(recording: &Recording, from: i64, until: i64) -> Vec<Scrape> {
    type Set = fn(&mut Scrape) -> &mut Option<f64>;
    let columns: [(&Series, Set); 13] = [
        (&recording.add_rate, |s| &mut s.add_rate),
        (&recording.dispatch_rate, |s| &mut s.dispatch_rate),
        (&recording.backlog, |s| &mut s.backlog),
        (&recording.backlog_age, |s| &mut s.backlog_age),
        (&recording.rate_limited, |s| &mut s.rate_limited),
        (&recording.slots_used, |s| &mut s.slots_used),
        (&recording.slots_available, |s| &mut s.slots_available),
        (&recording.service_time, |s| &mut s.service_time),
        (&recording.service_time_learned, |s| {
            &mut s.service_time_learned
        }),
        (&recording.ready_replicas, |s| &mut s.ready_replicas),
        (&recording.current_replicas, |s| &mut s.current_replicas),
        (&recording.wait_target, |s| &mut s.wait_target),
        (&recording.reading_age, |s| &mut s.reading_age),
    ];
    let mut scrapes: BTreeMap<i64, Scrape> = BTreeMap::new();
    for (series, field) in columns {
        for sample in &series.samples {
            if (from..=until).contains(&sample.at) {
                let scrape = scrapes.entry(sample.at).or_default();
                *field(scrape) = Some(sample.value);
            }
        }
    }
    let scrapes = scrapes.into_iter();
    scrapes
        .map(|(at, scrape)| Scrape { at, ..scrape })
        .collect()
}

/// The usual time between two scrapes, in milliseconds; 0 if there are fewer than two.
pub(super) fn interval(scrapes: &[Scrape]) -> i64 {
    let mut spans: Vec<i64> = scrapes.windows(2).map(|w| w[1].at - w[0].at).collect();
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied().unwrap_or(0)
}

/// The longest time between two scrapes without a gap, in milliseconds.
pub(super) fn longest_without_gap(interval: i64) -> i64 {
    interval.saturating_mul(GAP_INTERVALS).max(SHORTEST_GAP)
}

/// The stretches, in order.
pub(super) fn stretches(scrapes: &[Scrape], gap: i64) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut last: Option<(i64, i64)> = None;
    for scrape in scrapes.iter().filter(|scrape| scrape.is_known()) {
        let (previous, newest) = last.unwrap_or((i64::MIN, i64::MIN));
        if stretches.is_empty() || scrape.at.saturating_sub(previous) > gap {
            stretches.push(Stretch {
                scrapes: Vec::new(),
                readings: Vec::new(),
            });
        }
        let at = scrape.read_at();
        let is_new = at > newest.saturating_add(SAME_READING);
        last = Some((scrape.at, if is_new { at } else { newest }));
        if let Some(stretch) = stretches.last_mut() {
            stretch.scrapes.push(*scrape);
            if is_new {
                stretch.readings.push(Reading {
                    at,
                    add_rate: scrape.add_rate,
                    dispatch_rate: scrape.dispatch_rate,
                    backlog: scrape.backlog,
                    backlog_age: scrape.backlog_age,
                    wait_target: scrape.wait_target,
                    rate_limited: scrape.rate_limited.is_some_and(|limited| limited > 0.0),
                });
            }
        }
    }
    stretches.retain(|stretch| stretch.readings.len() > 1);
    stretches
}

/// The times from `from` to `until` that no stretch covers, if they are longer than `gap`.
pub(super) fn gaps(stretches: &[Stretch], from: i64, until: i64, gap: i64) -> Vec<(i64, i64)> {
    let mut gaps = Vec::new();
    let mut covered = from;
    let ends = std::iter::once((until, until));
    for (begin, end) in stretches.iter().filter_map(Stretch::scraped).chain(ends) {
        if begin.saturating_sub(covered) > gap {
            gaps.push((covered, begin));
        }
        covered = end;
    }
    gaps
}
