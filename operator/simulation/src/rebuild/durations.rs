//! How long the rebuilt tasks take. Pure.
//!
//! The mean is the service time that the operator has learned. By Little's law, the slots in use
//! are the dispatches per second times the service time. If the slots hold more work than that,
//! tasks passed by the task queue (sticky workflow tasks, eager activities), and the durations grow
//! by as much, so that the workers are as busy as they were. Less work is no contradiction: slots
//! of draining pods are not exposed. While no service time is learned, the law gives the mean.
//!
//! The spread was not recorded: durations are exponential. They are drawn in strata, so that few
//! tasks have the mean as well.

use super::arrivals::Flow;
use super::readings::{Scrape, Stretch};
use crate::rng::Rng;
use crate::time::Millis;

/// Durations are drawn this many at a time, one from each stratum.
const STRATA: usize = 16;
/// Slots hold more work than the dispatches only beyond this ratio.
const NOISE: f64 = 1.05;
/// The longest duration: ten years.
const LONGEST: Millis = 10 * 365 * 86_400_000;
/// The slots must be known for at least this share of the time.
const KNOWN_SHARE: f64 = 0.5;

/// What the mean duration rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Basis {
    /// The operator had learned it.
    Learned,
    /// It was learned, and the slots held this many times as much work.
    LearnedAndSlots(f64),
    /// The slots in use, over the tasks dispatched.
    Slots,
    /// The operator assumed it.
    Assumed,
}

/// The mean duration over time, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Durations {
    /// From each time on, in milliseconds since 1970.
    steps: Vec<(i64, f64)>,
    factor: f64,
    pub(super) basis: Basis,
}

impl Durations {
    /// What the recording says about durations; `None` if it says nothing.
    pub(super) fn new(scrapes: &[Scrape], stretches: &[Stretch], flows: &[Flow]) -> Option<Self> {
        let is_learned = |scrape: &Scrape| scrape.service_time_learned.is_some_and(|is| is > 0.0);
        let of = |wanted: bool| {
            let scrapes = scrapes.iter().filter(|s| is_learned(s) == wanted);
            let times = scrapes.filter_map(|s| Some((s.at, s.service_time?)));
            let mut steps: Vec<(i64, f64)> = times.filter(|(_, mean)| *mean > 0.0).collect();
            steps.dedup_by_key(|(_, mean)| mean.to_bits());
            steps
        };
        let work = slot_seconds(stretches);
        let learned = of(true);
        if !learned.is_empty() {
            let mut durations = Self {
                steps: learned,
                factor: 1.0,
                basis: Basis::Learned,
            };
            let expected = durations.work(flows);
            let ratio = work.filter(|_| expected > 0.0).map(|work| work / expected);
            if let Some(ratio) = ratio.filter(|ratio| *ratio > NOISE) {
                durations.factor = ratio;
                durations.basis = Basis::LearnedAndSlots(ratio);
            }
            return Some(durations);
        }
        let dispatched = |flow: &Flow| match flow.balance {
            Some(balance) => balance.dispatched,
            None => flow.total(),
        };
        let dispatched: f64 = flows.iter().map(dispatched).sum();
        let by_slots = work.filter(|_| dispatched >= 1.0);
        let by_slots = by_slots.map(|work| work / dispatched);
        if let Some(mean) = by_slots.filter(|mean| *mean > 0.0) {
            return Some(Self {
                steps: vec![(0, mean)],
                factor: 1.0,
                basis: Basis::Slots,
            });
        }
        let assumed = of(false);
        (!assumed.is_empty()).then_some(Self {
            steps: assumed,
            factor: 1.0,
            basis: Basis::Assumed,
        })
    }

    /// The mean duration at a time, in seconds.
    fn mean(&self, at: i64) -> f64 {
        let later = self.steps.partition_point(|(from, _)| *from <= at);
        let step = self.steps.get(later.max(1) - 1);
        step.map_or(0.0, |(_, mean)| *mean) * self.factor
    }

    /// The seconds of all tasks together.
    fn work(&self, flows: &[Flow]) -> f64 {
        let cells = flows.iter().flat_map(Flow::by_time);
        cells.map(|(at, tasks)| tasks * self.mean(at)).sum()
    }
}

/// Draws durations.
pub(super) struct Draw<'a> {
    durations: &'a Durations,
    strata: Vec<usize>,
}

impl<'a> Draw<'a> {
    pub(super) const fn new(durations: &'a Durations) -> Self {
        Self {
            durations,
            strata: Vec::new(),
        }
    }

    /// The duration of a task that arrives at this time. At least a millisecond.
    pub(super) fn next(&mut self, at: i64, rng: &mut Rng) -> Millis {
        if self.strata.is_empty() {
            self.strata.extend(0..STRATA);
        }
        let stratum = self.strata.swap_remove(rng.below(self.strata.len()));
        let quantile = (stratum as f64 + rng.unit()) / STRATA as f64;
        let seconds = -quantile.ln() * self.durations.mean(at);
        ((seconds * 1000.0).round() as Millis).clamp(1, LONGEST)
    }
}

/// The slots in use, summed over time, in seconds; `None` if they are mostly unknown.
fn slot_seconds(stretches: &[Stretch]) -> Option<f64> {
    let (mut sum, mut known, mut all) = (0.0, 0.0, 0.0);
    for stretch in stretches {
        for pair in stretch.scrapes.windows(2) {
            let seconds = (pair[1].at - pair[0].at) as f64 / 1000.0;
            all += seconds;
            if let Some(used) = pair[1].slots_used {
                known += seconds;
                sum += used * seconds;
            }
        }
    }
    // Unknown times count as the known ones.
    (known > 0.0 && known >= all * KNOWN_SHARE).then(|| sum * all / known)
}
