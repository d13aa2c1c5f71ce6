//! The policies under comparison. Each sees the cluster only through [`Cluster`](crate::Cluster).

mod fixed;
mod hpa;
mod keda;
mod rate_based;
mod recorded;
mod taskqueue;

pub use fixed::Fixed;
pub use hpa::{Hpa, HpaSettings};
pub use keda::{Keda, KedaSettings};
pub use rate_based::RateBased;
pub use recorded::Recorded;
pub use taskqueue::TaskQueue;
