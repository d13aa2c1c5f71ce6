//! What the operator adds to the pods: names of variables, volumes, labels. Plain constants.
//!
//! They are API towards worker images. One list serves the schema, the validation and the rendering.

/// The container that receives the environment.
pub const WORKER_CONTAINER: &str = "worker";

/// host:port of Temporal.
pub const ADDRESS: &str = "TEMPORAL_ADDRESS";
/// The namespace inside Temporal.
pub const TEMPORAL_NAMESPACE: &str = "TEMPORAL_NAMESPACE";
/// The task queue to poll.
pub const TASK_QUEUE: &str = "TEMPORAL_TASK_QUEUE";
/// What the worker may take to finish once it is told to stop, in seconds.
pub const DRAIN_GRACE_PERIOD_SECONDS: &str = "TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS";
/// `true` where TLS is used.
pub const TLS: &str = "TEMPORAL_TLS";
/// The name in the server's certificate.
pub const TLS_SERVER_NAME: &str = "TEMPORAL_TLS_SERVER_NAME";
/// The file with the certificate authority.
pub const TLS_SERVER_CA_CERT_PATH: &str = "TEMPORAL_TLS_SERVER_CA_CERT_PATH";
/// The file with the client certificate.
pub const TLS_CLIENT_CERT_PATH: &str = "TEMPORAL_TLS_CLIENT_CERT_PATH";
/// The file with the client certificate's private key.
pub const TLS_CLIENT_KEY_PATH: &str = "TEMPORAL_TLS_CLIENT_KEY_PATH";
/// The API key, for SDKs that read it once.
pub const API_KEY: &str = "TEMPORAL_API_KEY";
/// The file with the API key, for workers that reload it.
pub const API_KEY_FILE: &str = "TEMPORAL_API_KEY_FILE";

/// Variables that the operator sets, now or with another connection. Users may not set them in the
/// container `worker`: the worker would talk to another Temporal than the one that is measured.
pub const RESERVED_VARIABLES: [&str; 11] = [
    ADDRESS,
    TEMPORAL_NAMESPACE,
    TASK_QUEUE,
    DRAIN_GRACE_PERIOD_SECONDS,
    TLS,
    TLS_SERVER_NAME,
    TLS_SERVER_CA_CERT_PATH,
    TLS_CLIENT_CERT_PATH,
    TLS_CLIENT_KEY_PATH,
    API_KEY,
    API_KEY_FILE,
];

/// The volume with the certificates.
pub const TLS_VOLUME: &str = "taskqueue-tls";
/// The volume with the API key.
pub const API_KEY_VOLUME: &str = "taskqueue-api-key";
/// Names that users may not give to their volumes.
pub const RESERVED_VOLUMES: [&str; 2] = [TLS_VOLUME, API_KEY_VOLUME];
/// The folder under which the operator mounts files. Users may not mount anything in it.
pub const SECRETS_FOLDER: &str = "/var/run/secrets/taskqueue.dev";

/// Labels and annotations with this prefix are the operator's own.
pub const OWN_PREFIX: &str = "taskqueue.dev/";
/// The label with the name of the `TaskQueueWorker`; part of the selector, never changes.
pub const WORKER_LABEL: &str = "taskqueue.dev/worker";
/// The label with the name of the queue in the fleet; part of the selector, never changes.
pub const QUEUE_LABEL: &str = "taskqueue.dev/queue";
/// The annotation of a Deployment with the name of its task queue in Temporal (any text, so no label).
pub const TASK_QUEUE_ANNOTATION: &str = "taskqueue.dev/task-queue";

/// The annotation of a Deployment whose queue has a PodDisruptionBudget of the same name, with what it
/// says: a changed budget makes a changed Deployment, and both are applied together.
pub const BUDGET_ANNOTATION: &str = "taskqueue.dev/disruption-budget";

/// The value of `app.kubernetes.io/managed-by`, and the name under which objects are applied.
pub const MANAGER: &str = "taskqueue-operator";

/// What a pod gets on top of the drain grace period before it is killed: the worker's own shutdown
/// after the last task (closing connections, last metrics) takes part of it, the kubelet's delay the rest.
pub const TERMINATION_MARGIN_SECONDS: u32 = 15;
