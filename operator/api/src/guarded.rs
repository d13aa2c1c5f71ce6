//! The resources as a list or a watch should read them: a malformed object is a value, so that it
//! cannot hide the others. Plain types.

use kube::core::DeserializeGuard;

use crate::cluster_connection::ClusterTemporalConnection;
use crate::connection::TemporalConnection;
use crate::worker::TaskQueueWorker;

/// A fleet, or why it is malformed.
pub type GuardedFleet = DeserializeGuard<TaskQueueWorker>;
/// A connection, or why it is malformed.
pub type GuardedConnection = DeserializeGuard<TemporalConnection>;
/// A connection of the cluster, or why it is malformed.
pub type GuardedClusterConnection = DeserializeGuard<ClusterTemporalConnection>;
