//! The resources of the operator: types, schema, validation, and the objects rendered from them.
//!
//! Everything here is pure: no I/O, no clock. `validate` parses a resource into a [`Fleet`] that
//! cannot be invalid, and `render` turns that into Kubernetes objects and never fails.

pub mod cluster_connection;
pub mod connection;
mod crd;
pub mod cron;
pub mod deployment;
pub mod duration;
pub mod fleet;
mod guarded;
pub mod name;
pub mod reason;
pub mod render;
pub mod scaling;
pub mod schedule;
mod schema;
pub mod status;
pub mod validate;
pub mod well_known;
pub mod worker;
pub mod worker_fault;

pub use cluster_connection::{
    ClusterTemporalConnection, ClusterTemporalConnectionSpec, ConnectionKind, ConnectionReference,
};
pub use connection::{TemporalConnection, TemporalConnectionSpec, TemporalConnectionStatus};
pub use crd::{PrintError, crd_files, crds, crds_yaml};
pub use duration::{DurationString, duration_between};
pub use fleet::{Connection, ConnectionSource, Fleet, FleetKey, Invalid, Queue, ScaleTarget};
pub use guarded::{GuardedClusterConnection, GuardedConnection, GuardedFleet};
pub use reason::{ConditionType, Reason};
pub use render::render;
pub use status::TaskQueueWorkerStatus;
pub use validate::validate;
pub use worker::{TaskQueueWorker, TaskQueueWorkerSpec};
