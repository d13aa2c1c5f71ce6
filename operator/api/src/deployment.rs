//! How the Deployments of a fleet replace their pods, and what they carry. Types and schema only.
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// The settings of the Deployments of a fleet, or of one queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.minReadySeconds) || !has(self.progressDeadlineSeconds) || \
                            self.minReadySeconds < self.progressDeadlineSeconds")
        .message("progressDeadlineSeconds must be greater than minReadySeconds, or no rollout \
                  could ever end in time")
        .field_path(".progressDeadlineSeconds")
)]
pub struct DeploymentSettingsSpec {
    /// How pods of an old template are replaced. Default: RollingUpdate with maxSurge 25% and
    /// maxUnavailable 0, which starts new pods first and never has fewer ready than before. Where a
    /// pod more has no room (a quota, GPUs, a required anti-affinity), use RollingUpdate with
    /// maxSurge 0 and maxUnavailable 1, or Recreate. Busy pods drain within drain.gracePeriod
    /// whatever the strategy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,

    /// How long a pod must be ready, in seconds, before it counts as available and a rollout
    /// continues. From 0 to 3600. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub min_ready_seconds: Option<u32>,

    /// How long a rollout may make no progress, in seconds, before it is reported as
    /// RolloutStalled. Greater than minReadySeconds. From 1 to 172800 (two days). Default: 600;
    /// under a strategy that ends pods before it starts others, the termination grace period of the
    /// pods more, since new pods may have to wait until busy ones are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 172_800))]
    pub progress_deadline_seconds: Option<u32>,

    /// How many old ReplicaSets without pods are kept, for kubectl rollout undo. From 0 to 100.
    /// Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub revision_history_limit: Option<u32>,

    /// Labels of the Deployment itself, beside those of the operator. Its pods have theirs from the
    /// template. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::deployment_labels")]
    pub labels: BTreeMap<String, String>,

    /// Annotations of the Deployment itself, for tools that read them there. Its pods have theirs
    /// from the template. At most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::deployment_annotations")]
    pub annotations: BTreeMap<String, String>,
}

/// How pods of an old template are replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.rollingUpdate) || self.type == 'RollingUpdate'")
        .message("rollingUpdate must not be set with type Recreate, which ends all old pods first")
        .field_path(".rollingUpdate")
)]
pub struct StrategySpec {
    /// RollingUpdate replaces pods step by step. Recreate ends all old pods, waits until they are
    /// gone, busy ones after their drain, and then starts new ones; nobody serves the queue
    /// meanwhile. Default: RollingUpdate.
    #[serde(rename = "type", default)]
    pub kind: StrategyType,

    /// How many pods a RollingUpdate replaces at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolling_update: Option<RollingUpdateSpec>,
}

/// A way to replace pods.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = schema::no_description)]
pub enum StrategyType {
    /// Step by step.
    #[default]
    RollingUpdate,
    /// All old pods end before new ones start.
    Recreate,
}

/// How many pods are replaced at once.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    // Conversions to a string would cost more than Kubernetes 1.31 allows.
    validation = Rule::new("!has(self.maxSurge) || \
                            (self.maxSurge != 0 && self.maxSurge != '0%') || \
                            (has(self.maxUnavailable) && \
                            self.maxUnavailable != 0 && self.maxUnavailable != '0%')")
        .message("maxSurge 0 needs a maxUnavailable of at least 1, or no pod could ever be \
                  replaced")
        .field_path(".maxUnavailable")
)]
pub struct RollingUpdateSpec {
    /// How many pods may exist above the replicas: a number, or a percentage such as 25%, rounded
    /// up. With 0, a rollout needs no room for another pod, and maxUnavailable must be at least 1.
    /// Default: 25%.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub max_surge: Option<IntOrString>,

    /// How many of the replicas may be missing: a number, or a percentage such as 25%, rounded
    /// down. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub max_unavailable: Option<IntOrString>,
}
