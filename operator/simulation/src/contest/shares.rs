//! What the rule for the size is worth: this project's policy with the rule that follows from the
//! wait target, beside the same policy with a share of the slots that stays free. Produces text.

use std::fmt::Write as _;

use crate::contest::entrant::Entrant;
use crate::contest::loads::Part;
use crate::contest::score::{Conditions, Entry, Scenario, enter, scenarios};
use crate::time::Millis;

/// The utilizations that are tried, in percent.
const SHARES: [u32; 8] = [50, 60, 70, 75, 80, 85, 90, 95];
/// The interval between heartbeats: the operator's advice.
const HEARTBEAT: Millis = 5_000;

/// The results of this project's policy with the rule, and with each share.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// With the rule.
    pub rule: Entry,
    /// With one share in all scenarios.
    pub shares: Vec<Entry>,
    /// With the best of these shares for each start-up and target, found on the same scenarios: a
    /// utilization that knows both, at its best.
    pub best: Entry,
}

impl Shares {
    /// Runs all of them on a part.
    pub fn run(part: Part, conditions: &Conditions) -> Self {
        let share = |percent| Entrant::Ours {
            heartbeat: HEARTBEAT,
            utilization: Some(percent),
        };
        let shares = SHARES.map(|percent| enter(&share(percent), part, conditions));
        Self {
            rule: enter(&Entrant::ours(HEARTBEAT), part, conditions),
            best: best(&shares, &scenarios(part, conditions)),
            shares: shares.into(),
        }
    }

    /// The geometric mean of an entry's cost over all scenarios relative to that of the rule, where
    /// a missed target counts as twice the cost.
    pub fn penalised_ratio(&self, entry: &Entry) -> f64 {
        entry.penalised_cost() / self.rule.penalised_cost()
    }

    /// A line per entry.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<36}{:>9}{:>18}\n",
            "slots that stay free", "met", "penalised ÷ rule"
        );
        let all = std::iter::once(&self.rule).chain(&self.shares);
        for entry in all.chain(std::iter::once(&self.best)) {
            let met = format!("{}/{}", entry.met(), entry.cells.len());
            let ratio = self.penalised_ratio(entry);
            _ = writeln!(text, "{:<36}{met:>9}{ratio:>18.2}", entry.name);
        }
        text
    }
}

/// For each start-up and target the share with the lowest penalised cost.
fn best(shares: &[Entry], scenarios: &[Scenario]) -> Entry {
    let best_at = |at: &Scenario| {
        let same = |other: &Scenario| (other.start_up, other.target) == (at.start_up, at.target);
        let cost = |entry: &&Entry| entry.only(scenarios, same).penalised_cost();
        shares.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))
    };
    let cells = scenarios.iter().enumerate();
    let cells = cells.filter_map(|(index, at)| best_at(at)?.cells.get(index).copied());
    Entry {
        name: "best share for start-up and target".to_owned(),
        cells: cells.collect(),
    }
}
