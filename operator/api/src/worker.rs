//! `TaskQueueWorker`: a fleet of Temporal workers, one Deployment per task queue. Types and schema
//! only.
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, PodTemplateSpec, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster_connection::ConnectionReference;
use crate::connection::TemporalConnectionSpec;
use crate::deployment::DeploymentSettingsSpec;
use crate::duration::{DurationRange, DurationString};
use crate::scaling::ScalingSpec;
use crate::schema;
use crate::status::TaskQueueWorkerStatus;

/// A fleet of Temporal workers: one pod template, one Deployment per task queue.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "taskqueue.dev",
    version = "v1alpha1",
    kind = "TaskQueueWorker",
    plural = "taskqueueworkers",
    shortname = "tqw",
    category = "taskqueue",
    namespaced,
    selectable = ".spec.connectionRef.name",
    status = "TaskQueueWorkerStatus",
    derive = "PartialEq",
    doc = "A fleet of Temporal workers. The operator runs one Deployment per task queue and \
           scales each to its work.",
    printcolumn(
        name = "Queues",
        type_ = "integer",
        json_path = ".status.queueCount",
        description = "Task queues of this fleet",
    ),
    printcolumn(
        name = "Replicas",
        type_ = "string",
        json_path = ".status.replicas",
        description = "Ready and desired replicas over all queues",
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "The spec is accepted and applied, and every queue that should have \
                       workers has one available",
    ),
    printcolumn(
        name = "Scaling",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"ScalingActive\")].status",
        description = "The operator knows the demand and acts on it",
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.scaling.mode",
        description = "Whether the spec lets the operator scale (Active), only say what it would \
                       do (DryRun) or do nothing (Paused)",
    ),
    printcolumn(
        name = "Temporal-Namespace",
        type_ = "string",
        json_path = ".spec.connection.temporalNamespace",
        description = "The namespace inside Temporal, unless a TemporalConnection names it",
    ),
    printcolumn(
        name = "Connection",
        type_ = "string",
        json_path = ".spec.connectionRef.name",
        description = "The TemporalConnection or ClusterTemporalConnection to which the spec \
                       refers; it names the Temporal namespace",
        priority = 1,
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "The reason of the condition Ready",
        priority = 1,
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.metadata.name.size() <= 63 && \
                            self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be at most 63 lower-case letters, digits and hyphens, \
                  because it becomes a label of the pods")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.connection) != has(self.connectionRef)")
        .message("exactly one of connection and connectionRef must be set")
        .field_path(".connection"),
    validation = Rule::new("duration(self.scaling.cooldownPeriod) >= \
                            duration(self.scaling.pollingInterval)")
        .message("scaling.cooldownPeriod must not be shorter than scaling.pollingInterval")
        .field_path(".scaling.cooldownPeriod"),
    validation = Rule::new("duration(self.scaling.quietPollingInterval) >= \
                            duration(self.scaling.pollingInterval)")
        .message("scaling.quietPollingInterval must not be shorter than scaling.pollingInterval")
        .field_path(".scaling.quietPollingInterval"),
    validation = Rule::new("self.queues.all(q, !has(q.scaling) || \
                            duration(has(q.scaling.cooldownPeriod) ? q.scaling.cooldownPeriod : \
                            self.scaling.cooldownPeriod) >= \
                            duration(has(q.scaling.pollingInterval) ? q.scaling.pollingInterval : \
                            self.scaling.pollingInterval))")
        .message("queues[].scaling: cooldownPeriod must not be shorter than pollingInterval; a \
                  queue takes unset fields from spec.scaling")
        .field_path(".queues"),
    validation = Rule::new("self.queues.all(q, !has(q.scaling) || \
                            duration(has(q.scaling.quietPollingInterval) ? \
                            q.scaling.quietPollingInterval : self.scaling.quietPollingInterval) \
                            >= duration(has(q.scaling.pollingInterval) ? \
                            q.scaling.pollingInterval : self.scaling.pollingInterval))")
        .message("queues[].scaling: quietPollingInterval must not be shorter than \
                  pollingInterval; a queue takes unset fields from spec.scaling")
        .field_path(".queues"),
    validation = Rule::new("self.queues.all(a, self.queues.all(b, a.name >= b.name || \
                            (has(a.taskQueue) ? a.taskQueue : a.name) != (has(b.taskQueue) ? \
                            b.taskQueue : b.name) || (has(a.taskTypes) && has(b.taskTypes) && \
                            !a.taskTypes.exists(t, t in b.taskTypes))))")
        .message("queues[].taskQueue: two queues must not serve the same taskQueue and at least \
                  one of the same taskTypes, or the demand would be counted twice")
        .field_path(".queues"),
    validation = Rule::new("has(self.template) || self.queues.all(q, has(q.scaleTargetRef))")
        .message("template is needed by each queue without scaleTargetRef")
        .reason(Reason::FieldValueRequired)
        .field_path(".template"),
    validation = Rule::new("self.queues.all(a, self.queues.all(b, a.name >= b.name || \
                            !has(a.scaleTargetRef) || !has(b.scaleTargetRef) || \
                            a.scaleTargetRef.name != b.scaleTargetRef.name || \
                            a.scaleTargetRef.kind != b.scaleTargetRef.kind || \
                            a.scaleTargetRef.apiVersion != b.scaleTargetRef.apiVersion))")
        .message("queues[].scaleTargetRef: two queues must not scale the same workload, or each \
                  would undo what the other does")
        .field_path(".queues")
)]
pub struct TaskQueueWorkerSpec {
    /// How to reach Temporal. Exactly one of connection and connectionRef must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<TemporalConnectionSpec>,

    /// A TemporalConnection of this Kubernetes namespace, which several fleets can share, or a
    /// ClusterTemporalConnection, for fleets of several namespaces. Exactly one of connection and
    /// connectionRef must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionReference>,

    /// The pods of the workers, as in a Deployment. One container must be named worker: it receives
    /// the connection and the task queue as environment variables (TEMPORAL_ADDRESS,
    /// TEMPORAL_NAMESPACE, TEMPORAL_TASK_QUEUE and so on). The fields are those of a pod; kubectl
    /// explain deployment.spec.template describes them. Not allowed: hostname, hostNetwork,
    /// setHostnameAsFQDN (the operator finds the pod of a worker by its host name),
    /// terminationGracePeriodSeconds (set drain.gracePeriod), activeDeadlineSeconds, and any
    /// restartPolicy but Always. Required, unless every queue has a scaleTargetRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::pod_template")]
    pub template: Option<PodTemplateSpec>,

    /// The task queues of the fleet, each with a Deployment of its own. From 1 to 100; names are
    /// unique.
    #[schemars(length(min = 1, max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub queues: Vec<QueueSpec>,

    /// How the queues are scaled. A queue may override any field in its own scaling.
    #[serde(default)]
    pub scaling: ScalingSpec,

    /// How workers are stopped.
    #[serde(default)]
    pub drain: DrainSpec,

    /// How the Deployments of the queues replace their pods, and their own labels and annotations.
    /// A queue may override any field in its own deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentSettingsSpec>,

    /// A PodDisruptionBudget for the workers of each queue: how many of them may be missing when
    /// pods are evicted, for example by a node drain. It does not limit scaling and rollouts.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudgetSpec>,
}

/// How many workers of a queue may be missing, or must stay, when pods are evicted. Exactly one of
/// the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.maxUnavailable) != has(self.minAvailable)")
        .message("exactly one of maxUnavailable and minAvailable must be set")
)]
pub struct DisruptionBudgetSpec {
    /// How many workers of a queue may be missing: a number, or a percentage such as 25%, rounded
    /// up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub max_unavailable: Option<IntOrString>,

    /// How many workers of a queue must stay: a number, or a percentage such as 50%, rounded up. A
    /// number that is not less than the replicas blocks node drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::count_or_percent")]
    pub min_available: Option<IntOrString>,
}

/// One task queue and the workers that serve it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.scaleTargetRef) || !(has(self.template) || \
                            has(self.deployment) || has(self.resources) || has(self.env) || \
                            has(self.nodeSelector) || has(self.tolerations) || \
                            has(self.priorityClassName))")
        .message("a queue with scaleTargetRef must not set template, deployment, resources, env, \
                  nodeSelector, tolerations or priorityClassName: somebody else deploys its pods")
        .field_path(".scaleTargetRef")
)]
pub struct QueueSpec {
    /// The name of the queue in this fleet; it names the Deployment. Lower-case letters, digits and
    /// hyphens, at most 63, unique in the fleet. Renaming a queue replaces its Deployment.
    /// Required.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,

    /// The name of the task queue in Temporal: any text of at most 1000 bytes in UTF-8 that does
    /// not start with /_sys/, which Temporal reserves. Default: the value of name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    #[x_kube(
        validation = (
            "!self.startsWith('/_sys/')",
            "taskQueue must not start with /_sys/, which Temporal reserves"
        ),
        validation = (
            "size(bytes(self)) <= 1000",
            "taskQueue must have at most 1000 bytes in UTF-8, the most that Temporal takes"
        )
    )]
    pub task_queue: Option<String>,

    /// The bounds of the replicas. They apply whatever the demand. Required.
    pub replicas: ReplicasSpec,

    /// The types of tasks in this task queue that count towards its demand: Workflow, Activity,
    /// Nexus. Leave out the types that these workers do not execute. Default: all three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub task_types: Option<Vec<TaskType>>,

    /// A workload of this Kubernetes namespace that somebody else deploys and that serves the
    /// queue, instead of a Deployment made from the template: a Deployment, a StatefulSet, an Argo
    /// Rollout, or any other resource with a scale subresource. The operator sets its replicas and
    /// ranks its pods for removal, and changes nothing else. Its pods must reach Temporal by their
    /// own settings; connection, drain and disruptionBudget of the fleet do not reach them. The
    /// operator needs the right to each kind: the chart's value scaleTargets. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetReference>,

    /// A partial pod template for this queue, merged over spec.template: a field that is set here
    /// overrides that of spec.template, maps are merged by key, and lists as Kubernetes merges them
    /// strategically: containers, volumes and variables by name, ports and mounts by their keys,
    /// all others replaced as a whole. A variable, the source of a volume, and the action of a
    /// probe or a hook are replaced as a whole too. Nothing of spec.template can be removed. The
    /// fields resources, env, nodeSelector, tolerations and priorityClassName of the queue are
    /// applied after it. Not allowed is what spec.template does not allow. Default: spec.template
    /// as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::partial_pod_template")]
    pub template: Option<PodTemplateSpec>,

    /// How the Deployment of this queue replaces its pods, and its own labels and annotations, if
    /// they differ from spec.deployment. A field that is set here overrides that of
    /// spec.deployment; labels and annotations are added to those there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentSettingsSpec>,

    /// The resources of the container worker for this queue. It replaces the resources in the
    /// template as a whole. Default: those of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::resources")]
    pub resources: Option<ResourceRequirements>,

    /// Environment variables of the container worker for this queue. A variable that the template
    /// has too replaces it there; others are added at the end. At most 100; names are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::env")]
    pub env: Vec<EnvVar>,

    /// Node labels that the pods of this queue need, added to the nodeSelector of the template; if
    /// both name a label, this value wins. At most 50.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::node_selector")]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the pods of this queue tolerate, added to the tolerations of the template. At
    /// most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::tolerations")]
    pub tolerations: Vec<Toleration>,

    /// The PriorityClass of the pods of this queue. Default: that of the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub priority_class_name: Option<String>,

    /// How this queue is scaled, if it differs from spec.scaling. A field that is set here
    /// overrides that of spec.scaling; unset fields come from spec.scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingSpec>,
}

/// A workload with a scale subresource, in the Kubernetes namespace of the fleet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetReference {
    /// The API group and version of the workload, as in argoproj.io/v1alpha1. Default: apps/v1.
    #[serde(default = "default_target_api_version")]
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?v[a-z0-9]+$")
    )]
    pub api_version: String,

    /// The kind of the workload, such as Deployment, StatefulSet or Rollout. Default: Deployment.
    #[serde(default = "default_target_kind")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,

    /// The name of the workload. Required.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

fn default_target_api_version() -> String {
    "apps/v1".to_owned()
}

fn default_target_kind() -> String {
    "Deployment".to_owned()
}

/// The bounds of the replicas of one queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.min <= self.max")
        .message("replicas.min must not be greater than replicas.max")
        .field_path(".min")
)]
pub struct ReplicasSpec {
    /// The fewest replicas. 0 lets the queue go to zero when it is proven idle. From 0 to 1000.
    /// Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub min: u32,

    /// The most replicas. 0 keeps the queue stopped. Not less than min, at most 1000. Required.
    #[schemars(range(min = 0, max = 1000))]
    pub max: u32,
}

/// A kind of task in a task queue.
#[derive(
    JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[schemars(transform = schema::no_description)]
pub enum TaskType {
    /// Workflow tasks.
    Workflow,
    /// Activity tasks.
    Activity,
    /// Nexus tasks.
    Nexus,
}

/// Less than a second helps no task; more than a day would block a node drain for that long.
pub(crate) const GRACE_PERIOD: DurationRange = DurationRange::new("gracePeriod", 1_000, 86_400_000);

/// How workers are stopped.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainSpec {
    /// How long a worker may take to finish its tasks after SIGTERM. The worker receives it as
    /// TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS; the termination grace period of the pod is 15s longer.
    /// A task that runs longer is cancelled, which costs an attempt. From 1s to 24h. Default: 10m.
    /// Changing it starts a rollout.
    #[serde(default = "default_grace_period")]
    #[x_kube(validation = GRACE_PERIOD.rule())]
    pub grace_period: DurationString,

    /// Asks cluster-autoscaler and Karpenter to spare the nodes of pods that hold a task which has
    /// run for more than 60s, by the annotations cluster-autoscaler.kubernetes.io/safe-to-evict:
    /// "false" and karpenter.sh/do-not-disrupt: "true" of those pods. They are removed once the pod
    /// has held no such task for 5m. Costs a write per pod and change, at most 5 in a second.
    /// Default: false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect_busy_pods: bool,
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            grace_period: default_grace_period(),
            protect_busy_pods: false,
        }
    }
}

fn default_grace_period() -> DurationString {
    DurationString::from_secs(600)
}
