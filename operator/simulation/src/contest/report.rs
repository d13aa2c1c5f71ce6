//! The tables of the contest. Produces text.

use std::fmt::Write as _;

use crate::compare::smallest_fixed_fleet;
use crate::contest::entrant::{Entrant, Kind, kinds};
use crate::contest::loads::{Half, loads};
use crate::contest::score::{Conditions, Entry, Scenario, enter, scenarios};
use crate::time::Millis;
use crate::trace::Trace;

/// The intervals between heartbeats: the operator's advice, and the SDKs' default.
const HEARTBEATS: [Millis; 2] = [5_000, 60_000];

/// The results of ours and of every rival with its one setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Contest {
    conditions: Conditions,
    scenarios: Vec<Scenario>,
    /// Ours, with each interval between heartbeats.
    pub ours: Vec<Entry>,
    /// Two per kind of rival.
    pub rivals: Vec<Entry>,
}

impl Contest {
    /// Runs ours and the chosen rivals on a half.
    pub fn run(half: Half, conditions: &Conditions) -> Self {
        let ours = HEARTBEATS.map(|heartbeat| enter(&Entrant::ours(heartbeat), half, conditions));
        let chosen = kinds().into_iter().flat_map(|kind| kind.chosen);
        let rivals = chosen.map(|rival| enter(&rival, half, conditions));
        Self {
            conditions: conditions.clone(),
            scenarios: scenarios(half, conditions),
            ours: ours.into(),
            rivals: rivals.collect(),
        }
    }

    /// The tables.
    pub fn table(&self) -> String {
        let mut text = self.met_table();
        for ours in &self.ours {
            text.push('\n');
            text.push_str(&self.against(ours));
        }
        text
    }

    /// Targets met, by start-up and target.
    fn met_table(&self) -> String {
        let mut text = format!("{:<28}{:>9}", "targets met", "all");
        let mut groups = Vec::new();
        for start_up in &self.conditions.start_ups {
            for target in &self.conditions.targets {
                groups.push((*start_up, *target));
                let group = format!("{}/{} s", start_up / 1000, target / 1000);
                _ = write!(text, "{group:>10}");
            }
        }
        _ = writeln!(text, "{:>10}{:>7}{:>7}", "reversals", "known", "cut");
        for entry in self.ours.iter().chain(&self.rivals) {
            let all = format!("{}/{}", entry.met(), entry.cells.len());
            _ = write!(text, "{:<28}{all:>9}", entry.name);
            for (start_up, target) in &groups {
                let group = entry.only(&self.scenarios, |scenario| {
                    (scenario.start_up, scenario.target) == (*start_up, *target)
                });
                let met = format!("{}/{}", group.met(), group.cells.len());
                _ = write!(text, "{met:>10}");
            }
            let sum = |count: fn(&crate::contest::Cell) -> u32| -> u32 {
                entry.cells.iter().map(count).sum()
            };
            _ = writeln!(
                text,
                "{:>10}{:>7}{:>7}",
                entry.reversals(),
                sum(|cell| cell.known),
                sum(|cell| cell.cut)
            );
        }
        text
    }

    /// One of ours beside each rival, with the range over the seeds.
    fn against(&self, ours: &Entry) -> String {
        let mut text = format!(
            "{:<28}{:>20}{:>22}{:>24}\n",
            ours.name, "met by it, by ours", "our cost ÷ its cost", "over 5 % dearer: ours"
        );
        for rival in &self.rivals {
            let ratios = self.per_seed(|seed| {
                let of =
                    |entry: &Entry| entry.only(&self.scenarios, |scenario| scenario.seed == seed);
                of(ours).cost_ratio(&of(rival))
            });
            let (dearer, both) = ours.dearer(rival);
            let met = format!("{}, {}", rival.met(), ours.met());
            let ratio = format!(
                "{:.2} ({:.2} to {:.2})",
                ours.cost_ratio(rival),
                ratios.iter().copied().fold(f64::MAX, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            );
            let dearer = format!("{dearer} of {both}");
            _ = writeln!(text, "{:<28}{met:>20}{ratio:>22}{dearer:>24}", rival.name);
        }
        text
    }

    fn per_seed(&self, value: impl Fn(u64) -> f64) -> Vec<f64> {
        self.conditions
            .seeds
            .iter()
            .map(|seed| value(*seed))
            .collect()
    }
}

/// Searches the settings of every kind of rival: a line per setting, and the best one.
pub fn search(half: Half, conditions: &Conditions) -> (String, Vec<(Kind, Vec<Entry>)>) {
    let mut text = String::new();
    let mut found = Vec::new();
    for kind in kinds() {
        _ = writeln!(text, "{}", kind.name);
        let enter = |setting: &Entrant| enter(setting, half, conditions);
        let entries: Vec<Entry> = kind.settings.iter().map(enter).collect();
        let lowest = entries
            .iter()
            .map(Entry::penalised_cost)
            .fold(f64::MAX, f64::min);
        let most = entries.iter().map(Entry::met).max().unwrap_or(0);
        let of_most = entries.iter().filter(|entry| entry.met() == most);
        let cheapest = of_most.map(Entry::penalised_cost).fold(f64::MAX, f64::min);
        for entry in &entries {
            let cost = entry.penalised_cost();
            let mark = if cost <= lowest {
                "  cheapest"
            } else if entry.met() == most && cost <= cheapest {
                "  most targets"
            } else {
                ""
            };
            _ = writeln!(
                text,
                "  {:<28}{:>4} met{:>8.2}{mark}",
                entry.name,
                entry.met(),
                cost
            );
        }
        found.push((kind, entries));
    }
    (text, found)
}

/// What nobody can choose in advance: the best setting of any rival in each scenario, and the
/// smallest fixed fleet that meets the target. `entries` are those of a search on the same half.
pub fn bounds(ours: &Entry, entries: &[Entry], half: Half, conditions: &Conditions) -> String {
    let best = Entry::best_of("best setting at each place", entries);
    let fixed = fixed_fleets(half, conditions);
    let mut text = format!(
        "{:<28}{:>6}{:>22}\n",
        "bounds", "met", "our cost ÷ its cost"
    );
    for bound in [&best, &fixed] {
        let ratio = ours.cost_ratio(bound);
        _ = writeln!(text, "{:<28}{:>6}{ratio:>22.2}", bound.name, bound.met());
    }
    text
}

fn fixed_fleets(half: Half, conditions: &Conditions) -> Entry {
    let mut cells = Vec::new();
    for load in loads(half) {
        // A fixed fleet has no start-up.
        let mut one = Vec::new();
        for seed in &conditions.seeds {
            let trace = Trace::new(load.name, load.about, load.tasks(*seed));
            for target in &conditions.targets {
                let setup = load.setup(0, *target, *seed);
                let fleet = Entrant::Fixed(smallest_fixed_fleet(&trace, &setup));
                one.push(fleet.run(&trace, &setup));
            }
        }
        for _ in &conditions.start_ups {
            cells.extend_from_slice(&one);
        }
    }
    Entry {
        name: "smallest fixed fleet".to_owned(),
        cells,
    }
}
