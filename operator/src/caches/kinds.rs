//! The watched kinds of objects. Plain types.

use std::fmt::Debug;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use serde::de::DeserializeOwned;
use taskqueue_api::{GuardedClusterConnection, GuardedConnection, GuardedFleet};

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
