//! What a longer wait target saves: this project's policy on the large loads, at several targets.
//! Produces text.

use std::fmt::Write as _;

use crate::contest::entrant::Entrant;
use crate::contest::loads::{Load, Part, loads};
use crate::contest::score::{Conditions, Entry, Scenario, enter, scenarios};
use crate::time::Millis;

/// A load is large if it keeps at least this many slots in use on average.
const LARGE: f64 = 10.0;
/// The interval between heartbeats: the operator's advice.
const HEARTBEAT: Millis = 5_000;

/// The results of this project's policy on the large loads of a part, per target.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// The targets, the shortest first, each with its results.
    pub entries: Vec<(Millis, Entry)>,
    scenarios: Vec<Scenario>,
}

impl Targets {
    /// Runs the policy with pods that start within 3 s.
    pub fn run(part: Part, seeds: &[u64]) -> Self {
        let targets = vec![5_000, 30_000, 600_000];
        let conditions = Conditions {
            start_ups: vec![3_000],
            targets: targets.clone(),
            seeds: seeds.to_vec(),
        };
        let all = enter(&Entrant::ours(HEARTBEAT), part, &conditions);
        let list = scenarios(part, &conditions);
        let names: Vec<&str> = large(part, seeds).iter().map(|load| load.name).collect();
        let of_large = |scenario: &Scenario| names.contains(&scenario.load);
        let entries = targets.into_iter().map(|target| {
            let entry = all.only(&list, |at| at.target == target && of_large(at));
            (target, entry)
        });
        Self {
            entries: entries.collect(),
            scenarios: list
                .iter()
                .filter(|at| at.target == 5_000 && of_large(at))
                .copied()
                .collect(),
        }
    }

    /// The geometric mean of the cost with this target, relative to the shortest target.
    pub fn ratio(&self, target: Millis) -> f64 {
        let short = self.entries.first();
        let long = self.entries.iter().find(|(at, _)| *at == target);
        short
            .zip(long)
            .map_or(f64::NAN, |((_, short), (_, long))| long.cost_ratio(short))
    }

    /// A line per load and seed with the cost at each target, and the geometric means.
    pub fn table(&self) -> String {
        let mut text = format!("{:<16}{:>6}", "cost", "seed");
        for (target, _) in &self.entries {
            _ = write!(text, "{:>10}", format!("{} s", target / 1000));
        }
        text.push('\n');
        for (row, scenario) in self.scenarios.iter().enumerate() {
            _ = write!(text, "{:<16}{:>6}", scenario.load, scenario.seed);
            for (_, entry) in &self.entries {
                let cell = entry.cells[row];
                let missed = if cell.met { "" } else { "!" };
                _ = write!(text, "{:>10}", format!("{:.2}{missed}", cell.cost));
            }
            text.push('\n');
        }
        _ = write!(text, "{:<22}", "geometric mean ÷ 5 s");
        for (target, _) in &self.entries {
            _ = write!(text, "{:>10.2}", self.ratio(*target));
        }
        text.push('\n');
        text
    }
}

/// The loads of a part that keep many slots in use.
fn large(part: Part, seeds: &[u64]) -> Vec<Load> {
    let first = seeds.first().copied().unwrap_or(1);
    let busy = |load: &Load| {
        let tasks = load.tasks(first);
        let work: Millis = tasks.iter().map(|task| task.takes).sum();
        let until = tasks.last().map_or(1, |task| task.arrives.max(1));
        work as f64 / until as f64
    };
    let mut all = loads(part);
    all.retain(|load| busy(load) >= LARGE);
    all
}
