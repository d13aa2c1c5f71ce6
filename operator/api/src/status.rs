//! The status of a `TaskQueueWorker`. Types and schema only.
//!
//! Nothing in it fluctuates: readings change every few seconds and are metrics. The status changes
//! only when the fleet does, so an unchanged fleet causes no write.
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TaskQueueWorkerStatus {
    /// The metadata.generation that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Progressing, ScalingActive, ScalingLimited, Reconciling, Stalled and, if the
    /// connection has certificates, CertificateExpiring. Each has a reason in one word and a
    /// message that says what to do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,

    /// How many task queues the fleet has.
    #[serde(default)]
    pub queue_count: u32,

    /// Ready and desired replicas over all queues, as in 3/7; unknown while the workload of a
    /// scaleTargetRef cannot be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub replicas: String,

    /// Replicas that should run, over all queues. Absent while a queue's are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<u32>,

    /// Replicas that exist, over all queues. Absent while a queue's are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<u32>,

    /// Replicas that are ready, over all queues. Absent while a queue's are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<u32>,

    /// The state of each queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub queues: Vec<QueueStatus>,
}

/// One queue of the fleet.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// The name of the queue in the fleet.
    pub name: String,

    /// The name of the task queue in Temporal.
    #[serde(default)]
    pub task_queue: String,

    /// The Deployment that serves the queue, or the workload that its scaleTargetRef names, in the
    /// namespace of the fleet.
    #[serde(default)]
    pub deployment_name: String,

    /// Replicas that should run. Absent while the workload of its scaleTargetRef cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,

    /// Replicas that exist. Absent while the workload of its scaleTargetRef cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,

    /// Replicas that are ready. Absent while the workload of its scaleTargetRef cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,

    /// The last decision that changed the replicas (with mode DryRun: that would have changed
    /// them), with its inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<DecisionStatus>,
}

/// One decision, as it was made.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// Why, in one word, such as Drain, SlotsInUse or MaxReplicas.
    pub reason: String,

    /// Why, in one sentence.
    pub message: String,

    /// When the decision was made.
    #[schemars(schema_with = "schema::time")]
    pub time: Time,

    /// Replicas that the Deployment asked for before the decision.
    pub from: u32,

    /// Replicas that the decision asks for.
    pub to: u32,

    /// What was known about the queue at that moment.
    #[serde(default)]
    pub inputs: DecisionInputs,

    /// How many replicas each kind of demand asked for. The largest one counts.
    // The API server takes an object of which an apply removes every field for a null, and refuses
    // it.
    #[serde(default, skip_serializing_if = "DecisionTerms::is_empty")]
    pub terms: DecisionTerms,

    /// The limits that then changed the number of replicas, in the order in which they were
    /// applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub limits: Vec<DecisionLimit>,
}

/// The inputs of a decision. Unknown values are absent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionInputs {
    /// Tasks waiting in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u64>,

    /// How long the oldest waiting task had waited, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_age_milliseconds: Option<u64>,

    /// Tasks that arrived, per 1000 seconds (4200 are 4.2 per second).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_added_per_1000_seconds: Option<u64>,

    /// Tasks that were handed to workers, per 1000 seconds (4200 are 4.2 per second).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_dispatched_per_1000_seconds: Option<u64>,

    /// Task slots in use over all workers of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_used: Option<u64>,

    /// Task slots that one replica has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_per_replica: Option<u64>,

    /// How long a task takes on average, in milliseconds, as learned or assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_time_milliseconds: Option<u64>,

    /// Replicas that were ready.
    #[serde(default)]
    pub ready: u32,

    /// Replicas that were starting.
    #[serde(default)]
    pub starting: u32,

    /// Replicas that were stopping.
    #[serde(default)]
    pub terminating: u32,
}

/// Replicas that each kind of demand asked for. A demand that could not be computed is absent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionTerms {
    /// Replicas for the running tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u32>,

    /// Replicas to execute new tasks and to clear the backlog within queueWaitTarget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<u32>,

    /// Replicas because the oldest task has waited longer than queueWaitTarget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u32>,

    /// Replicas by the tasks per second that one replica takes, if tasks have waited although slots
    /// were free, or the slots are unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u32>,

    /// Replicas by backlogPerReplica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
}

impl DecisionTerms {
    /// Whether no demand was computed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A limit that changed the number of replicas.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionLimit {
    /// Which limit, in one word, such as ScaleUpPolicy or MaxReplicas.
    pub name: String,

    /// Replicas before the limit.
    pub from: u32,

    /// Replicas after the limit.
    pub to: u32,
}
