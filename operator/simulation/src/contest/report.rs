//! The tables of the contest. Produces text.

use std::fmt::Write as _;

use crate::compare::smallest_fixed_fleet;
use crate::contest::entrant::{Entrant, Kind, kinds};
use crate::contest::loads::{Part, loads};
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
    /// Runs ours and the chosen rivals on a part.
    pub fn run(part: Part, conditions: &Conditions) -> Self {
        let ours = HEARTBEATS.map(|heartbeat| enter(&Entrant::ours(heartbeat), part, conditions));
        let chosen = kinds().into_iter().flat_map(|kind| kind.chosen);
        let rivals = chosen.map(|rival| enter(&rival, part, conditions));
        Self {
            conditions: conditions.clone(),
            scenarios: scenarios(part, conditions),
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
        let mut text = format!("{:<28}{:>9}{:>12}", "targets met", "all", "by seed");
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
            let by_seed: Vec<String> = self
                .conditions
                .seeds
                .iter()
                .map(|seed| {
                    let group = entry.only(&self.scenarios, |scenario| scenario.seed == *seed);
                    group.met().to_string()
                })
                .collect();
            _ = write!(text, "{:<28}{all:>9}{:>12}", entry.name, by_seed.join(" "));
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

/// A setting can be chosen for the targets that it meets if it costs at most this many times as
/// much as the cheapest of all: with enough replicas, every target is met.
const AFFORDABLE: f64 = 3.0;

/// Searches the settings of every kind of rival: a line per setting, and the two that are chosen.
pub fn search(part: Part, conditions: &Conditions) -> (String, Vec<(Kind, Vec<Entry>)>) {
    let enter_all = |kind: Kind| {
        let entries = kind.settings.iter();
        let entries = entries.map(|setting| enter(setting, part, conditions));
        let entries = entries.collect();
        (kind, entries)
    };
    let found: Vec<(Kind, Vec<Entry>)> = kinds().into_iter().map(enter_all).collect();
    let lowest = |entries: &mut dyn Iterator<Item = &Entry>| {
        entries.map(Entry::penalised_cost).fold(f64::MAX, f64::min)
    };
    let limit = AFFORDABLE * lowest(&mut found.iter().flat_map(|(_, entries)| entries));
    let mut text = String::new();
    for (kind, entries) in &found {
        _ = writeln!(text, "{}", kind.name);
        let affordable = || {
            entries
                .iter()
                .filter(|entry| entry.penalised_cost() <= limit)
        };
        let most = affordable().map(Entry::met).max();
        let of_most = |entry: &&Entry| Some(entry.met()) == most;
        let cheapest = lowest(&mut entries.iter());
        let cheapest_of_most = lowest(&mut affordable().filter(of_most));
        for entry in entries {
            let cost = entry.penalised_cost();
            let mark = if cost <= cheapest {
                "  cheapest"
            } else if of_most(&entry) && cost <= cheapest_of_most {
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
    }
    (text, found)
}

/// What nobody can choose in advance: the best setting of any rival in each scenario, and the
/// smallest fixed fleet that meets the target. `entries` are those of a search on the same part.
pub fn bounds(ours: &Entry, entries: &[Entry], part: Part, conditions: &Conditions) -> String {
    let best = Entry::best_of("best setting at each place", entries);
    let fixed = fixed_fleets(part, conditions);
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

fn fixed_fleets(part: Part, conditions: &Conditions) -> Entry {
    let mut cells = Vec::new();
    for load in loads(part) {
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
