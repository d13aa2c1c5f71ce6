//! The Kubernetes side of the operator.
//!
//! Data flows in one direction: `validate` (in `taskqueue-api`, pure) makes a fleet of a resource,
//! [`observe`] reads, [`plan`] decides (pure), [`apply`] writes what is owned, [`report`] says what
//! was found and done. [`controller::reconcile`] is the table of contents; [`run`] wires it up.
//!
//! Beside it stand the commands for people, which write to no cluster: [`simulate`], [`top`], [`explain`].

pub mod apply;
pub mod caches;
pub mod claims;
pub mod client;
pub mod clock;
pub mod controller;
pub mod error;
pub mod explain;
pub mod fingerprint;
pub mod hints;
pub mod http;
pub mod kubeconfig;
pub mod leading;
pub mod lease;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod problem;
pub mod report;
pub mod run;
pub mod scrape;
pub mod settings;
pub mod simulate;
pub mod top;
pub mod tried;

#[cfg(test)]
mod testing;
