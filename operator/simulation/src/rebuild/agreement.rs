//! How far the waits of a rebuilt trace are from the measured ones: the trace is simulated with the
//! replicas that were recorded, and its task queue is read at the times of the recorded readings.
//! Deterministic, no I/O.

use super::rebuilt::{Measured, Rebuilt};
use super::words::span;
use crate::engine::{Outcome, run};
use crate::scaler::Recorded;
use crate::time::Millis;
use crate::trace::{Setup, Task};

/// With fewer readings at which a task waits, waits are not compared.
const FEWEST: usize = 20;
/// The least share of the window that must have been recorded, in percent.
const LEAST_COVERED: f64 = 75.0;
/// By how much the shares over the target may differ, in percentage points.
const SHARE: f64 = 10.0;
/// By how much the 95th percentiles of the age may differ, in percent of the measured one ...
const PERCENT: u64 = 25;
/// ... or in percent of the target, whichever is more.
const PERCENT_OF_TARGET: u64 = 50;

/// The waits at the compared readings.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Waits {
    /// Median age of the oldest waiting task.
    pub age_p50: Millis,
    /// Its 95th percentile.
    pub age_p95: Millis,
    /// Median backlog, in tasks.
    pub backlog_p50: f64,
    /// Its 95th percentile.
    pub backlog_p95: f64,
    /// Readings at which the oldest task had waited for longer than the target, in percent.
    pub over_target: f64,
}

/// Whether the trace is good enough to compare policies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Good,
    /// Too few tasks waited to tell.
    Untested,
    /// The waits differ too much.
    Different,
    /// Too much of the window was not recorded.
    Gaps,
}

/// How far the simulated waits are from the measured ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The readings that can be compared.
    pub readings: usize,
    /// Those at which a task waited, measured or simulated. Only these count below.
    pub waiting: usize,
    /// What was measured.
    pub measured: Waits,
    /// What the simulation gives.
    pub simulated: Waits,
    /// The wait target: the last one that was recorded, else that of the setup.
    pub target: Millis,
    /// The share of the window that was recorded, in percent.
    pub covered: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// Compares. `None` if the replicas, or the age and the backlog, were not recorded.
///
/// The setup gives what was not recorded: the slots of a replica, if the recording has none, the
/// time from the request for a replica to its first poll, if only requests were recorded, and the
/// grace period.
pub fn agreement(rebuilt: &Rebuilt, setup: &Setup) -> Option<Agreement> {
    let Rebuilt {
        trace, replicas, ..
    } = rebuilt;
    if replicas.steps.is_empty() {
        return None;
    }
    let start_delay = if replicas.ready { 0 } else { setup.start_delay };
    let setup = Setup {
        slots: rebuilt.slots.unwrap_or(setup.slots),
        start_delay,
        ..setup.clone()
    };
    let mut fleet = Recorded::new(&replicas.steps, setup.grace);
    let outcome = run(trace, &setup, &mut fleet);
    let queue = SimulatedQueue::new(&trace.tasks, &outcome);
    let mut pairs = Vec::new();
    for reading in &rebuilt.measured {
        let (Some(backlog), Some(age)) = (reading.backlog, reading.age) else {
            continue;
        };
        let measured = Point { backlog, age };
        let simulated = queue.at(reading.at);
        // Tasks from before the stretch arrive at its beginning, so their age cannot agree.
        let elapsed = reading.at - reading.stretch.min(reading.at);
        if [measured, simulated]
            .iter()
            .all(|point| point.age <= elapsed)
        {
            pairs.push((reading, measured, simulated));
        }
    }
    if pairs.is_empty() {
        return None;
    }
    let mut readings = rebuilt.measured.iter().rev();
    let target = readings.find_map(|reading| reading.target);
    let target = target.unwrap_or(setup.target);
    let readings = pairs.len();
    pairs.retain(|(_, measured, simulated)| measured.waits() || simulated.waits());
    let of = |which: fn(&(&Measured, Point, Point)) -> Point| {
        let points = pairs.iter().map(|pair| {
            let target = pair.0.target.unwrap_or(target);
            (which(pair), target)
        });
        waits(&points.collect::<Vec<_>>())
    };
    let mut agreement = Agreement {
        readings,
        waiting: pairs.len(),
        measured: of(|pair| pair.1),
        simulated: of(|pair| pair.2),
        target,
        covered: rebuilt.covered * 100.0,
        verdict: Verdict::Good,
    };
    agreement.verdict = agreement.judge();
    Some(agreement)
}

impl Agreement {
    fn judge(&self) -> Verdict {
        if self.covered < LEAST_COVERED {
            Verdict::Gaps
        } else if self.waiting < FEWEST {
            Verdict::Untested
        } else if self.share_differs() > SHARE || self.age_differs() > self.age_may_differ() {
            Verdict::Different
        } else {
            Verdict::Good
        }
    }

    fn share_differs(&self) -> f64 {
        (self.measured.over_target - self.simulated.over_target).abs()
    }

    const fn age_differs(&self) -> Millis {
        self.measured.age_p95.abs_diff(self.simulated.age_p95)
    }

    /// By how much the 95th percentiles of the age may differ.
    fn age_may_differ(&self) -> Millis {
        let of_measured = self.measured.age_p95 / 100 * PERCENT;
        of_measured.max(self.target / 100 * PERCENT_OF_TARGET)
    }

    /// A table, and what follows from it in plain words.
    pub fn text(&self) -> String {
        let seconds = |millis: Millis| format!("{:.1}", millis as f64 / 1000.0);
        let mut text = format!(
            "with the replicas as recorded, at the {} of {} readings at which a task waited:\n\
             {:<24}{:>10}{:>10}{:>12}{:>12}{:>16}\n",
            self.waiting,
            self.readings,
            "",
            "age p50 s",
            "age p95 s",
            "backlog p50",
            "backlog p95",
            format!("over {} %", span(self.target)),
        );
        for (name, waits) in [("measured", self.measured), ("simulated", self.simulated)] {
            text.extend([format!(
                "{name:<24}{:>10}{:>10}{:>12.0}{:>12.0}{:>16.1}\n",
                seconds(waits.age_p50),
                seconds(waits.age_p95),
                waits.backlog_p50,
                waits.backlog_p95,
                waits.over_target,
            )]);
        }
        text.push_str(&self.sentence());
        text.push('\n');
        text
    }

    /// What follows, in plain words.
    fn sentence(&self) -> String {
        let differ = format!(
            "  95th percentile of the age: differs by {}, allowed {} ({PERCENT} % of it, or half \
             of the target)\n  share over the target: differs by {:.1} points, allowed {SHARE:.0}",
            span(self.age_differs()),
            span(self.age_may_differ()),
            self.share_differs()
        );
        match self.verdict {
            Verdict::Good => format!("good enough to compare policies with:\n{differ}"),
            Verdict::Different => format!(
                "NOT good enough to compare policies with; the notes above say what it rests \
                 on:\n{differ}"
            ),
            Verdict::Untested => format!(
                "the waits are not tested: a task waited at {} readings, and {FEWEST} are needed; \
                 the load\nis that of the recording, but take a longer or busier time to rely on \
                 the waits",
                self.waiting
            ),
            Verdict::Gaps => format!(
                "NOT good enough to compare policies with: {:.0} % of the time was recorded, and \
                 {LEAST_COVERED:.0} % are\nneeded; choose another time with --since and --for",
                self.covered
            ),
        }
    }
}

/// The task queue at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    backlog: f64,
    age: Millis,
}

impl Point {
    fn waits(&self) -> bool {
        self.backlog > 0.0 || self.age > 0
    }
}

/// What a reader would have seen of the simulated task queue.
struct SimulatedQueue {
    arrived: Vec<Millis>,
    /// When each task started, in the order of arrival.
    started: Vec<Millis>,
    /// The same in order of time.
    sorted: Vec<Millis>,
}

impl SimulatedQueue {
    fn new(tasks: &[Task], outcome: &Outcome) -> Self {
        let waits = outcome.waits.iter().chain(std::iter::repeat(&None));
        let started: Vec<Millis> = tasks
            .iter()
            .zip(waits)
            .map(|(task, wait)| wait.map_or(Millis::MAX, |wait| task.arrives + wait))
            .collect();
        let mut sorted = started.clone();
        sorted.sort_unstable();
        Self {
            arrived: tasks.iter().map(|task| task.arrives).collect(),
            started,
            sorted,
        }
    }

    /// Tasks start in the order of arrival, so the first that has not started is the oldest.
    fn at(&self, time: Millis) -> Point {
        let arrived = self.arrived.partition_point(|at| *at <= time);
        let gone = self.sorted.partition_point(|at| *at <= time);
        let oldest = self.started.partition_point(|at| *at <= time);
        let age = match self.arrived.get(oldest) {
            Some(at) if oldest < arrived => time - at,
            _ => 0,
        };
        Point {
            backlog: arrived.saturating_sub(gone) as f64,
            age,
        }
    }
}

fn waits(points: &[(Point, Millis)]) -> Waits {
    let mut ages: Vec<Millis> = points.iter().map(|(point, _)| point.age).collect();
    let mut backlogs: Vec<f64> = points.iter().map(|(point, _)| point.backlog).collect();
    ages.sort_unstable();
    backlogs.sort_by(f64::total_cmp);
    let rank = |percent: usize| (points.len() * percent).div_ceil(100).max(1) - 1;
    let age = |percent| ages.get(rank(percent)).copied().unwrap_or(0);
    let backlog = |percent| backlogs.get(rank(percent)).copied().unwrap_or(0.0);
    let over = points.iter().filter(|(point, target)| point.age > *target);
    Waits {
        age_p50: age(50),
        age_p95: age(95),
        backlog_p50: backlog(50),
        backlog_p95: backlog(95),
        over_target: over.count() as f64 * 100.0 / points.len().max(1) as f64,
    }
}
