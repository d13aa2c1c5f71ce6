//! Runs an entrant over the loads of a part, and compares two entrants cell by cell.

use std::cmp::Ordering::Equal;

use crate::contest::entrant::Entrant;
use crate::contest::loads::{Load, Part, loads};
use crate::engine::run;
use crate::time::Millis;
use crate::trace::{Setup, Trace};

/// The setups of a contest, in every combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    /// From the request for a replica to its first poll.
    pub start_ups: Vec<Millis>,
    /// The queue-wait targets.
    pub targets: Vec<Millis>,
    /// The seeds of the arrivals.
    pub seeds: Vec<u64>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            start_ups: vec![3_000, 30_000, 120_000],
            targets: vec![5_000, 30_000],
            seeds: vec![1, 2, 3],
        }
    }
}

/// Where a result was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    /// The load.
    pub load: &'static str,
    /// The start-up.
    pub start_up: Millis,
    /// The target.
    pub target: Millis,
    /// The seed.
    pub seed: u64,
}

/// The scenarios of a part, in order.
pub fn scenarios(part: Part, conditions: &Conditions) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for load in loads(part) {
        for start_up in &conditions.start_ups {
            for seed in &conditions.seeds {
                for target in &conditions.targets {
                    scenarios.push(Scenario {
                        load: load.name,
                        start_up: *start_up,
                        target: *target,
                        seed: *seed,
                    });
                }
            }
        }
    }
    scenarios
}

/// The result of one entrant in one scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The 99th percentile of the wait.
    pub p99: Millis,
    /// Whether it is within the target.
    pub met: bool,
    /// Worker-seconds ÷ ideal.
    pub cost: f64,
    /// Changes of direction.
    pub reversals: u32,
    /// Tasks cut off that could have been known.
    pub known: u32,
    /// Tasks cut off.
    pub cut: u32,
}

/// The results of one entrant, in the order of [`scenarios`].
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The entrant's name.
    pub name: String,
    /// Its results.
    pub cells: Vec<Cell>,
}

/// Runs an entrant everywhere.
pub fn enter(entrant: &Entrant, part: Part, conditions: &Conditions) -> Entry {
    let mut cells = Vec::new();
    for load in loads(part) {
        for start_up in &conditions.start_ups {
            for seed in &conditions.seeds {
                let trace = Trace::new(load.name, load.about, load.tasks(*seed));
                let mut last: Option<Cell> = None;
                for target in &conditions.targets {
                    let setup = load.setup(*start_up, *target, *seed);
                    let reused = last.filter(|_| !entrant.knows_target());
                    let cell = reused.map_or_else(
                        || entrant.run(&trace, &setup),
                        |cell| Cell {
                            met: cell.p99 <= *target,
                            ..cell
                        },
                    );
                    last = Some(cell);
                    cells.push(cell);
                }
            }
        }
    }
    Entry {
        name: entrant.name(),
        cells,
    }
}

impl Load {
    /// The setup of this load. A queue whose pods take half a minute to start keeps one.
    pub(crate) fn setup(&self, start_up: Millis, target: Millis, seed: u64) -> Setup {
        Setup {
            slots: self.slots,
            start_delay: start_up,
            target,
            min: u32::from(start_up >= 30_000),
            seed,
            ..Setup::default()
        }
    }
}

impl Entrant {
    /// Runs it on one trace in one setup.
    pub(crate) fn run(&self, trace: &Trace, setup: &Setup) -> Cell {
        let mut setup = setup.clone();
        let mut scaler = self.scaler(&mut setup);
        let summary = run(trace, &setup, scaler.as_mut()).summary;
        Cell {
            p99: summary.p99,
            met: summary.p99 <= setup.target,
            cost: summary.cost,
            reversals: summary.reversals,
            known: summary.cut.known,
            cut: summary.cut.total(),
        }
    }
}

impl Entry {
    /// The number of scenarios in which the target is met.
    pub fn met(&self) -> usize {
        self.cells.iter().filter(|cell| cell.met).count()
    }

    /// The geometric mean of the cost, relative to another entry, over the scenarios that both
    /// meet.
    pub fn cost_ratio(&self, other: &Self) -> f64 {
        let logs: Vec<f64> = self
            .both(other)
            .map(|(a, b)| (a.cost / b.cost).ln())
            .collect();
        (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp()
    }

    /// The scenarios in which this entry is over 5 % dearer, and the scenarios that both meet.
    pub fn dearer(&self, other: &Self) -> (usize, usize) {
        let both: Vec<_> = self.both(other).collect();
        let dearer = both.iter().filter(|(a, b)| a.cost > b.cost * 1.05).count();
        (dearer, both.len())
    }

    /// The sum of all changes of direction.
    pub fn reversals(&self) -> u32 {
        self.cells.iter().map(|cell| cell.reversals).sum()
    }

    /// The geometric mean of the cost over all scenarios, where a missed target counts as twice the
    /// cost: the measure of the search.
    pub fn penalised_cost(&self) -> f64 {
        let cost = |cell: &Cell| (cell.cost * if cell.met { 1.0 } else { 2.0 }).ln();
        let sum: f64 = self.cells.iter().map(cost).sum();
        (sum / self.cells.len().max(1) as f64).exp()
    }

    /// The same entry in the scenarios that `keep` selects.
    #[must_use]
    pub fn only(&self, scenarios: &[Scenario], keep: impl Fn(&Scenario) -> bool) -> Self {
        let kept = scenarios
            .iter()
            .zip(&self.cells)
            .filter(|(scenario, _)| keep(scenario));
        Self {
            name: self.name.clone(),
            cells: kept.map(|(_, cell)| *cell).collect(),
        }
    }

    /// In each scenario the cheapest entry that meets the target, or else the cheapest.
    pub fn best_of(name: &str, entries: &[Self]) -> Self {
        let scenarios = entries.first().map_or(0, |first| first.cells.len());
        let best = |scenario: usize| {
            let cells = entries.iter().map(|entry| entry.cells[scenario]);
            cells.min_by(|a, b| {
                (!a.met, a.cost)
                    .partial_cmp(&(!b.met, b.cost))
                    .unwrap_or(Equal)
            })
        };
        Self {
            name: name.to_owned(),
            cells: (0..scenarios).filter_map(best).collect(),
        }
    }

    fn both<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Cell, &'a Cell)> {
        let pairs = self.cells.iter().zip(&other.cells);
        pairs.filter(|(a, b)| a.met && b.met)
    }
}
