//! Names that the operator adds to the pods: variables, volumes, labels. Plain constants.
//!
//! They are an API for worker images. Schema, validation and rendering share this one list.

/// The container that gets the environment variables.
pub const WORKER_CONTAINER: &str = "worker";

/// Temporal's host:port.
pub const ADDRESS: &str = "TEMPORAL_ADDRESS";
/// The namespace inside Temporal.
pub const TEMPORAL_NAMESPACE: &str = "TEMPORAL_NAMESPACE";
/// The task queue to poll.
pub const TASK_QUEUE: &str = "TEMPORAL_TASK_QUEUE";
/// How long the worker may take to finish its tasks after it was asked to stop, in seconds.
pub const DRAIN_GRACE_PERIOD_SECONDS: &str = "TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS";
/// `true` if TLS is used.
pub const TLS: &str = "TEMPORAL_TLS";
/// The name in the server's certificate.
pub const TLS_SERVER_NAME: &str = "TEMPORAL_TLS_SERVER_NAME";
/// The file with the CA certificates.
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
/// container `worker`: the worker could then use another Temporal than the one that the operator
/// reads.
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

/// host:port of the HTTP proxy before Temporal.
pub const PROXY_ADDRESS: &str = "TASKQUEUE_PROXY_ADDRESS";
/// The user name for the proxy.
pub const PROXY_USERNAME: &str = "TASKQUEUE_PROXY_USERNAME";
/// The password for the proxy.
pub const PROXY_PASSWORD: &str = "TASKQUEUE_PROXY_PASSWORD";

/// Variables that the operator sets unless the user does. They are not reserved, since fleets may
/// have been valid with them before the operator knew them.
pub const PROXY_VARIABLES: [&str; 3] = [PROXY_ADDRESS, PROXY_USERNAME, PROXY_PASSWORD];

/// The volume with the certificates.
pub const TLS_VOLUME: &str = "taskqueue-tls";
/// The volume with the API key.
pub const API_KEY_VOLUME: &str = "taskqueue-api-key";
/// Names that users may not give to volumes.
pub const RESERVED_VOLUMES: [&str; 2] = [TLS_VOLUME, API_KEY_VOLUME];
/// The folder under which the operator mounts files. Users may not mount anything in it.
pub const SECRETS_FOLDER: &str = "/var/run/secrets/taskqueue.dev";

/// Labels and annotations with this prefix are the operator's own.
pub const OWN_PREFIX: &str = "taskqueue.dev/";
/// The annotation of a `TaskQueueWorker` that pauses it whatever its spec says, so that tools which
/// apply the spec do not end the pause. Any value but `false` pauses.
pub const PAUSED_ANNOTATION: &str = "taskqueue.dev/paused";
/// Annotations of a Deployment with this prefix are those of the Deployment controller.
pub const DEPLOYMENT_CONTROLLER_PREFIX: &str = "deployment.kubernetes.io/";
/// The label with the name of the `TaskQueueWorker`. Part of the selector, so it never changes.
pub const WORKER_LABEL: &str = "taskqueue.dev/worker";
/// The label with the name of the queue in the fleet. Part of the selector, so it never changes.
pub const QUEUE_LABEL: &str = "taskqueue.dev/queue";
/// The annotation of a Deployment with the name of its task queue in Temporal. Not a label, since
/// that name may be any text.
pub const TASK_QUEUE_ANNOTATION: &str = "taskqueue.dev/task-queue";

/// The annotation of a Deployment whose queue has a PodDisruptionBudget. Its value is the budget's
/// content, so a changed budget changes the Deployment, and both are applied together.
pub const BUDGET_ANNOTATION: &str = "taskqueue.dev/disruption-budget";

/// The annotation of a Deployment with the bursts that recur in the load of its queue, so that a
/// restart of the operator does not forget them. Less than 1 KB, because Kubernetes copies it to a
/// ReplicaSet.
pub const RECURRING_LOAD_ANNOTATION: &str = "taskqueue.dev/recurring-load";

/// The annotation of a pod whose node the operator asks others to spare. With it the operator
/// recognises, and later removes, its own [`SPARE_ANNOTATIONS`] only.
pub const PROTECTED_ANNOTATION: &str = "taskqueue.dev/protected";
/// The annotations by which cluster-autoscaler and Karpenter spare the node of a pod.
pub const SPARE_ANNOTATIONS: [(&str, &str); 2] = [
    ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    ("karpenter.sh/do-not-disrupt", "true"),
];

/// The value of `app.kubernetes.io/managed-by`, and the field manager that applies objects.
pub const MANAGER: &str = "taskqueue-operator";

/// Extra time before a pod is killed, on top of the drain grace period. The worker needs part of it
/// to shut down after the last task (close connections, report last metrics), and the kubelet's
/// delay takes the rest.
pub const TERMINATION_MARGIN_SECONDS: u32 = 15;

/// How long Kubernetes lets a rollout make no progress, unless a Deployment says otherwise.
pub const PROGRESS_DEADLINE_SECONDS: u32 = 600;
