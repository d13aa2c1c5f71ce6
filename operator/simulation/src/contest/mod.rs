//! All policies over many loads and setups, each policy with one setting for all of them.
//! Deterministic, no I/O.

mod entrant;
mod loads;
mod report;
mod score;
mod shares;
mod targets;

pub use entrant::{Entrant, Kind, kinds};
pub use loads::{Load, Part, loads};
pub use report::{Contest, bounds, search};
pub use score::{Cell, Conditions, Entry, Scenario, enter, scenarios};
pub use shares::Shares;
pub use targets::Targets;
