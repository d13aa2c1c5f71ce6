//! The Kubernetes side of the operator.
//!
//! Data flows in one direction: `validate` (in `taskqueue-api`, pure) turns a resource into a
//! fleet, [`observe`] reads, [`planner`] decides (pure), [`apply`] writes the owned objects,
//! [`report`] says what was found and done. [`controller::reconcile`] is the table of contents;
//! [`run`] wires it up.

pub mod applied;
pub mod apply;
pub mod caches;
pub mod carry_over;
pub mod clock;
pub mod connection_check;
pub mod controller;
pub mod drift;
pub mod error;
pub mod fleet_state;
pub mod fleets;
pub mod hints;
pub mod http;
pub mod leading;
pub mod lease;
pub mod logs;
pub mod metrics;
pub mod not_ready;
pub mod observe;
pub mod owned;
pub mod plan;
pub mod planner;
pub mod protection;
pub mod recurring;
pub mod report;
pub mod run;
pub mod scrape;
pub mod settings;
pub mod worker_faults;

#[cfg(test)]
mod testing;
