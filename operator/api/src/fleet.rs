//! A parsed `TaskQueueWorker`: types that cannot be invalid. Plain data, no I/O.
//!
//! Only `validate` creates them. Each field documents its guarantees; whatever is built from them
//! (see `render`) cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use taskqueue_scaling::{Policy, TaskType};

use crate::cluster_connection::ConnectionReference;
use crate::connection::host_port;
use crate::duration::DurationString;
use crate::schedule::{self, Window};
use crate::worker::ScaleTargetReference;

/// A fleet of workers: one accepted `TaskQueueWorker`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The `TaskQueueWorker` that it is.
    pub key: FleetKey,
    /// The `metadata.generation` that was parsed.
    pub generation: i64,
    /// How to reach Temporal.
    pub connection: ConnectionSource,
    /// Its queues, at least one, in the order of the spec, with distinct names.
    pub queues: Vec<Queue>,
    /// How long a worker may take to finish its tasks, in whole seconds, at least 1.
    pub drain_grace_seconds: u32,
    /// How many workers of each queue may be missing when pods are evicted.
    pub disruption_budget: Option<DisruptionBudget>,
    /// Whether autoscalers of nodes are asked to spare pods with long tasks.
    pub protect_busy_pods: bool,
    /// Whether an annotation pauses the fleet; the mode of every queue is `Paused` then.
    pub paused: bool,
}

/// How many workers of a queue may be missing when pods are evicted: a number from 0, or a
/// percentage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisruptionBudget {
    /// At most this many may be missing.
    MaxUnavailable(IntOrString),
    /// At least this many must stay.
    MinAvailable(IntOrString),
}

impl Fleet {
    /// The fleet at a moment: with the minimums that its schedules require then.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        for queue in &mut self.queues {
            queue.policy.scheduled_min = schedule::minimum(&queue.schedule, now);
        }
        self
    }

    /// When a schedule may next change a minimum; `None` without schedules.
    pub fn next_scheduled_change(&self, now: Timestamp) -> Option<Timestamp> {
        let changes = self
            .queues
            .iter()
            .map(|queue| schedule::next_change(&queue.schedule, now));
        changes.flatten().min()
    }
}

/// Identifies a `TaskQueueWorker`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FleetKey {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name, a DNS label.
    pub name: String,
    /// Its uid: a resource that was recreated under the same name is another one.
    pub uid: String,
}

/// Where the connection is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionSource {
    /// In the `TaskQueueWorker` itself.
    Inline(Box<Connection>),
    /// In the object that the fleet refers to.
    Reference(ConnectionReference),
}

/// How to reach Temporal, checked. Names Secrets and ConfigMaps, but does not contain their values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// host:port, as the user writes it; see [`Connection::server`].
    pub address: String,
    /// The namespace inside Temporal.
    pub temporal_namespace: String,
    /// TLS, if it is used.
    pub tls: Option<Tls>,
    /// The API key. Only with TLS.
    pub api_key: Option<SecretKey>,
    /// The HTTP proxy before Temporal; `None` also if the address is excluded from it.
    pub proxy: Option<Proxy>,
    /// What the operator presents; `None` = what the workers do. Only with TLS, unless empty.
    pub operator_credentials: Option<OperatorCredentials>,
}

/// What the operator itself presents to Temporal. The workers get nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OperatorCredentials {
    /// The client certificate: a Secret with `tls.crt` and `tls.key`.
    pub client_certificate: Option<String>,
    /// The API key.
    pub api_key: Option<SecretKey>,
}

/// An HTTP proxy that connects to Temporal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proxy {
    /// host:port.
    pub address: String,
    /// The user name and the password: a Secret with `username` and `password`.
    pub credentials: Option<String>,
}

/// TLS towards Temporal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tls {
    /// The name in the server's certificate, if it differs from the host of the address.
    pub server_name: Option<String>,
    /// The CA certificates; `None` = the public ones.
    pub ca: Option<ObjectKey>,
    /// The client certificate of the workers.
    pub client_certificate: Option<ClientCertificate>,
}

/// Where workers find their client certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientCertificate {
    /// In the Secret of this name, with `tls.crt` and `tls.key`.
    Secret(String),
    /// In files that something else puts into the container `worker`. Only if the connection has
    /// `operator_credentials`.
    Files {
        /// The absolute path of the certificate.
        certificate: String,
        /// The absolute path of its private key.
        private_key: String,
    },
}

/// The kinds of objects that hold parts of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A Secret.
    Secret,
    /// A ConfigMap, for what is not secret.
    ConfigMap,
}

impl ObjectKind {
    /// The name of the resource in the API, as rights name it.
    pub const fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        })
    }
}

/// One key of a Secret or a ConfigMap in the namespace of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The name of the object.
    pub name: String,
    /// The key in it.
    pub key: String,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// The name of the Secret.
    pub secret: String,
    /// The key in it.
    pub key: String,
}

impl Connection {
    /// host:port of Temporal, without `dns:///`.
    pub fn server(&self) -> &str {
        host_port(&self.address)
    }

    /// The Secret with the client certificate that the operator presents, if it does.
    pub fn operator_client_certificate(&self) -> Option<&str> {
        if let Some(own) = &self.operator_credentials {
            return own.client_certificate.as_deref();
        }
        match self.tls.as_ref()?.client_certificate.as_ref()? {
            ClientCertificate::Secret(secret) => Some(secret),
            ClientCertificate::Files { .. } => None,
        }
    }

    /// The API key that the operator presents, if it does.
    pub fn operator_api_key(&self) -> Option<&SecretKey> {
        match &self.operator_credentials {
            Some(own) => own.api_key.as_ref(),
            None => self.api_key.as_ref(),
        }
    }

    /// The connection without what the operator reads in the namespace of a fleet: what of a
    /// `ClusterTemporalConnection` is the same for all fleets.
    #[must_use]
    pub fn without_objects_of_fleets(mut self) -> Self {
        if self.operator_credentials.is_some() {
            return self;
        }
        if let Some(tls) = &mut self.tls {
            (tls.ca, tls.client_certificate) = (None, None);
        }
        if let Some(proxy) = &mut self.proxy {
            proxy.credentials = None;
        }
        self.api_key = None;
        self
    }
}

/// The key of the certificate in a Secret of type kubernetes.io/tls.
pub const TLS_CERTIFICATE_KEY: &str = "tls.crt";

/// The key of the private key in a Secret of type kubernetes.io/tls.
pub const TLS_PRIVATE_KEY_KEY: &str = "tls.key";

/// The key of the user name in a Secret of type kubernetes.io/basic-auth.
pub const USERNAME_KEY: &str = "username";

/// The key of the password in a Secret of type kubernetes.io/basic-auth.
pub const PASSWORD_KEY: &str = "password";

/// One queue of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Its name in the fleet, a DNS label.
    pub name: String,
    /// The name of the task queue in Temporal.
    pub task_queue: String,
    /// The kinds of tasks that count, at least one.
    pub task_types: BTreeSet<TaskType>,
    /// How it is scaled, with fleet, override and defaults resolved. [`Fleet::at`] fills in its
    /// `scheduled_min`.
    pub policy: Policy,
    /// Its minimums by time window.
    pub schedule: Vec<Window>,
    /// The time zone of its forecast; `None` = no forecast.
    pub forecast: Option<TimeZone>,
    /// The port on which the pods serve their SDK's metrics, above zero; `None` = not configured.
    pub metrics_port: Option<u16>,
    /// The name of its workload. Of a Deployment: at most 46 characters, unique for each pair of
    /// fleet and queue. If the queue has a target, the name of that.
    pub workload_name: String,
    /// How its Deployment replaces pods, and what it carries. Unused if the queue has a target.
    pub deployment: DeploymentSettings,
    /// The user's pods, with the queue's changes merged in; empty if the queue has a target.
    pub pods: WorkerPods,
    /// The workload that somebody else deploys for the queue; `None` = the operator makes a
    /// Deployment. Its name is also `workload_name`.
    pub target: Option<ScaleTarget>,
}

/// A workload that somebody else deploys, in the namespace of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScaleTarget {
    /// Its API group; empty for the core group.
    pub group: String,
    /// Its API version without the group.
    pub version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl ScaleTarget {
    /// Whether two targets are one workload: every version of an API shows the same objects.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.group, &self.kind, &self.name) == (&other.group, &other.kind, &other.name)
    }

    /// Whether it is a Deployment of Kubernetes.
    pub fn is_deployment(&self) -> bool {
        self.group == "apps" && self.kind == "Deployment"
    }
}

impl From<&ScaleTargetReference> for ScaleTarget {
    fn from(reference: &ScaleTargetReference) -> Self {
        let version = reference.api_version.as_str();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
        }
    }
}

impl std::fmt::Display for ScaleTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

impl Queue {
    /// The workload of the queue by kind and name, as a message names it.
    pub fn workload(&self) -> String {
        self.target.as_ref().map_or_else(
            || format!("Deployment {}", self.workload_name),
            ToString::to_string,
        )
    }

    /// The name of the queue's Deployment; `None` if its workload is of another kind.
    pub fn deployment(&self) -> Option<&str> {
        let other = self
            .target
            .as_ref()
            .filter(|target| !target.is_deployment());
        other.is_none().then_some(&self.workload_name)
    }
}

/// How a Deployment replaces its pods, and the user's labels and annotations of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentSettings {
    /// How pods of an old template are replaced.
    pub strategy: Strategy,
    /// How long a pod must be ready before it counts as available, in seconds; `None` = 0.
    pub min_ready_seconds: Option<i32>,
    /// How long a rollout may make no progress, in seconds, longer than `min_ready_seconds`; `None`
    /// = the default of Kubernetes.
    pub progress_deadline_seconds: Option<i32>,
    /// How many old ReplicaSets are kept; `None` = the default of Kubernetes.
    pub revision_history_limit: Option<i32>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The user's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// How pods of an old template are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Step by step. A number from 0 or a percentage each; not both zero.
    RollingUpdate {
        /// How many pods may exist above the replicas.
        max_surge: IntOrString,
        /// How many of the replicas may be missing.
        max_unavailable: IntOrString,
    },
    /// All old pods end before new ones start.
    Recreate,
}

impl Strategy {
    /// How many pods may exist above the replicas, unless the user says otherwise.
    pub(crate) fn default_surge() -> IntOrString {
        IntOrString::String("25%".to_owned())
    }

    /// Whether new pods start before old ones end, so that a rollout needs room for more pods.
    pub fn surges(&self) -> bool {
        match self {
            Self::RollingUpdate { max_surge, .. } => !is_zero(max_surge),
            Self::Recreate => false,
        }
    }
}

impl Default for Strategy {
    /// New pods start before old ones stop, so that a rollout never reduces capacity.
    fn default() -> Self {
        Self::RollingUpdate {
            max_surge: Self::default_surge(),
            max_unavailable: IntOrString::Int(0),
        }
    }
}

/// Whether a number or a percentage is zero.
pub(crate) fn is_zero(count: &IntOrString) -> bool {
    match count {
        IntOrString::Int(count) => *count == 0,
        IntOrString::String(percent) => percent == "0%",
    }
}

/// A pod template that always has a container `worker`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerPods {
    /// The user's labels of the pods.
    pub labels: BTreeMap<String, String>,
    /// The user's annotations of the pods.
    pub annotations: BTreeMap<String, String>,
    /// The container `worker`.
    pub worker: Container,
    /// Its position among the containers.
    pub position: usize,
    /// The rest of the pod; its `containers` are the ones other than `worker`.
    pub pod: PodSpec,
}

/// Something in a resource that the operator cannot accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Invalid {
    /// The field, as in `spec.template.spec.containers[worker].env`.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub message: String,
}

/// Seconds of a drain grace period, rounded up and at least 1.
pub(crate) fn grace_seconds(period: DurationString) -> u32 {
    u32::try_from(period.as_secs_ceil())
        .unwrap_or(u32::MAX)
        .max(1)
}
