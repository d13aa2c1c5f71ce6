//! The watched kinds of objects. Plain types.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::core::DeserializeGuard;
use serde::de::DeserializeOwned;
use taskqueue_api::{ClusterTemporalConnection, TaskQueueWorker, TemporalConnection};

/// A watched fleet. A malformed one is a value, so that it cannot stop the watch.
pub type GuardedFleet = DeserializeGuard<TaskQueueWorker>;
/// A watched connection, or why it is malformed.
pub type GuardedConnection = DeserializeGuard<TemporalConnection>;
/// A watched connection of the cluster, or why it is malformed.
pub type GuardedClusterConnection = DeserializeGuard<ClusterTemporalConnection>;

/// A kind of which the caches hold objects.
pub(super) trait Watched:
    Resource + DeserializeOwned + Clone + Debug + Send + 'static
{
    /// How metrics and logs name it.
    const KIND: &'static str;
}

impl Watched for GuardedFleet {
    const KIND: &'static str = "TaskQueueWorker";
}

impl Watched for GuardedConnection {
    const KIND: &'static str = "TemporalConnection";
}

impl Watched for GuardedClusterConnection {
    const KIND: &'static str = "ClusterTemporalConnection";
}

impl Watched for Deployment {
    const KIND: &'static str = "Deployment";
}

impl Watched for Pod {
    const KIND: &'static str = "Pod";
}

impl Watched for HorizontalPodAutoscaler {
    const KIND: &'static str = "HorizontalPodAutoscaler";
}

/// The watched kinds without which no fleet can be reconciled.
pub(super) const KINDS: [&str; 4] = [
    GuardedFleet::KIND,
    GuardedConnection::KIND,
    Deployment::KIND,
    Pod::KIND,
];
