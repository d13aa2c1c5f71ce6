//! When tasks arrived within one stretch. Pure.
//!
//! A task that waits has arrived, whatever the rates say: where the backlog grows, that many tasks
//! arrive, and after the oldest one that waits. The rest comes from the add rate. In sum, as many
//! arrive as are dispatched, plus the change of the backlog.

use super::cells::{Cells, Floor, LEAST};
use super::readings::Reading;
use crate::rng::Rng;

/// What flowed through the task queue in one stretch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flow {
    cells: Cells,
    /// Tasks that arrive in each cell after the first reading.
    arrivals: Vec<f64>,
    /// Tasks that arrive, by the add rate and the growth of the backlog alone.
    pub(super) by_add_rate: f64,
    /// Tasks that are dispatched, and the change of the backlog; `None` if one is not known
    /// throughout.
    pub(super) balance: Option<Balance>,
}

/// What the arrivals must agree with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Balance {
    pub(super) dispatched: f64,
    pub(super) backlog_change: f64,
}

impl Flow {
    /// The flow between these readings.
    pub(super) fn new(readings: &[Reading]) -> Self {
        let times: Vec<i64> = readings.iter().map(|reading| reading.at).collect();
        let cells = Cells::new(&times);
        let (grown, shrunk) = floors(readings);
        let begin = cells.begin();
        let sum = |tasks: &[f64]| tasks[begin..].iter().sum::<f64>();
        let rates: Vec<Option<f64>> = readings.iter().map(|r| r.add_rate).collect();
        let mut arrivals = cells.undo(&rates, &grown);
        let by_add_rate = sum(&arrivals);
        let rates: Vec<Option<f64>> = readings.iter().map(|r| r.dispatch_rate).collect();
        let is_known = rates.iter().all(Option::is_some);
        let served = is_known.then(|| cells.undo(&rates, &shrunk));
        let balance = served.zip(backlog_change(readings));
        let balance = balance.map(|(served, backlog_change)| {
            let dispatched = sum(&served);
            if by_add_rate < LEAST {
                arrivals = served;
            }
            // What was dispatched covers every fall of the backlog, so this is no less than what
            // its growth asks for.
            let wanted = dispatched + backlog_change;
            scale(&cells, &mut arrivals, &grown, wanted);
            Balance {
                dispatched,
                backlog_change,
            }
        });
        Self {
            cells,
            arrivals,
            by_add_rate,
            balance,
        }
    }

    /// How many tasks arrive.
    pub(super) fn total(&self) -> f64 {
        self.arrivals[self.cells.begin()..].iter().sum()
    }

    /// The tasks that arrive in each cell, with the time at which it ends.
    pub(super) fn by_time(&self) -> impl Iterator<Item = (i64, f64)> {
        let cells = self.cells.begin()..self.cells.len();
        cells.map(|cell| (self.cells.bounds(cell).1, self.arrivals[cell]))
    }

    /// The times of the arrivals, in order: at random within each cell, as in a Poisson process.
    pub(super) fn times(&self, rng: &mut Rng) -> Vec<i64> {
        let mut times = Vec::new();
        let mut sum = 0.5;
        for cell in self.cells.begin()..self.cells.len() {
            let (begin, end) = self.cells.bounds(cell);
            sum += self.arrivals[cell];
            let from = times.len();
            while (times.len() + 1) as f64 <= sum {
                let length = (end - begin).max(1).unsigned_abs();
                times.push(end.saturating_sub_unsigned(rng.below(length as usize) as u64));
            }
            times[from..].sort_unstable();
        }
        times
    }
}

/// The fewest tasks that arrive, and that are dispatched, before each reading.
fn floors(readings: &[Reading]) -> (Vec<Floor>, Vec<Floor>) {
    let none = Floor {
        tasks: 0.0,
        since: i64::MIN,
    };
    let (mut grown, mut shrunk) = (vec![none], vec![none]);
    for pair in readings.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let floors = before.backlog.zip(after.backlog).map(|(earlier, backlog)| {
            let change = backlog - earlier;
            let oldest = after
                .backlog_age
                .map(|age| after.at - (age * 1000.0) as i64);
            let within = (before.at..after.at).contains(&oldest.unwrap_or(i64::MIN));
            // Everything that waits arrived after the oldest task that waits.
            let (arrived, since) = match oldest.filter(|_| within && backlog > 0.0) {
                Some(oldest) => (change.max(backlog), oldest),
                None => (change.max(0.0), before.at),
            };
            let dispatched = Floor {
                tasks: arrived - change,
                since: before.at,
            };
            let arrived = Floor {
                tasks: arrived,
                since,
            };
            (arrived, dispatched)
        });
        let (arrived, dispatched) = floors.unwrap_or((none, none));
        grown.push(arrived);
        shrunk.push(dispatched);
    }
    (grown, shrunk)
}

/// The change of the backlog from the first to the last reading; `None` if it is not known
/// throughout.
fn backlog_change(readings: &[Reading]) -> Option<f64> {
    let is_known = readings.iter().all(|reading| reading.backlog.is_some());
    let ends = readings.first()?.backlog.zip(readings.last()?.backlog);
    ends.filter(|_| is_known).map(|(first, last)| last - first)
}

/// Scales tasks to a sum: what exceeds the floors, or everything if nothing does.
fn scale(cells: &Cells, tasks: &mut [f64], floors: &[Floor], sum: f64) {
    let present: f64 = tasks[cells.begin()..].iter().sum();
    if present < LEAST {
        return;
    }
    let before = |reading: usize| tasks[cells.before(reading)].iter().sum::<f64>();
    // Per reading: what comes before it, and what of that exceeds its floor.
    let beyond = |before: f64, floor: &Floor| (before - floor.tasks).max(0.0);
    let floors = floors.iter().enumerate().skip(1);
    let parts: Vec<(usize, f64, &Floor)> = floors
        .map(|(reading, floor)| (reading, before(reading), floor))
        .collect();
    let least: f64 = parts.iter().map(|(.., floor)| floor.tasks).sum();
    let more: f64 = parts
        .iter()
        .map(|(_, tasks, floor)| beyond(*tasks, floor))
        .sum();
    for (reading, before, floor) in parts {
        let after = if more > LEAST && sum >= least {
            floor.tasks + beyond(before, floor) * (sum - least) / more
        } else {
            before * sum / present
        };
        let within = &mut tasks[cells.before(reading)];
        let even = 1.0 / within.len().max(1) as f64;
        for tasks in within {
            let share = if before > 0.0 { *tasks / before } else { even };
            *tasks = after * share;
        }
    }
}
