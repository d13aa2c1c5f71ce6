//! The policies that are compared. Each sees the world only through [`Cluster`].

mod fixed;
mod hpa;
mod keda;
mod rate_based;
mod taskqueue;

pub use fixed::Fixed;
pub use hpa::Hpa;
pub use keda::Keda;
pub use rate_based::RateBased;
pub use taskqueue::TaskQueue;

use crate::{Action, Cluster, Millis};

/// The grace that Kubernetes gives a pod unless somebody says otherwise.
pub const DEFAULT_GRACE: Millis = 30_000;

/// A policy.
pub trait Scaler {
    /// Its name in the table.
    fn name(&self) -> &str;

    /// The replicas it starts with.
    fn initial_replicas(&self) -> u32;

    /// The termination grace of its pods. Only a tool that wires it gives more than Kubernetes'.
    fn grace(&self) -> Millis {
        DEFAULT_GRACE
    }

    /// Whether it is this project's.
    fn is_ours(&self) -> bool {
        false
    }

    /// It is time to look, and perhaps to act.
    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action;

    /// The process restarts: what is in memory is lost.
    fn restart(&mut self) {}
}
