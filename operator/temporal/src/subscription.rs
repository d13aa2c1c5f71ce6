//! What a caller asks to read, and what it gets. Plain data, no I/O.

use std::fmt;
use std::time::Duration;

use taskqueue_scaling::{Backlog, PerType, Reading, TaskType, Time, TypeSlots};

use crate::call::{CallError, CallErrorKind, Method, WorkerStatus};
use crate::fault::Fault;

/// The Kubernetes object for which queues are read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerKey {
    /// Kubernetes namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One queue of an owner: what to read and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueWatch {
    /// The owner's name for the queue; it identifies the reading.
    pub queue: String,
    /// Temporal's name of the task queue.
    pub task_queue: String,
    /// The task types that count. Each costs one call per read. Empty means all. Once workers are
    /// seen to serve only some of them, the others are read rarely while they are idle.
    pub task_types: Vec<TaskType>,
    /// The generation of the owner's spec. When it changes, the workers may serve other task types
    /// than those seen so far.
    pub generation: i64,
    /// Longest gap between readings while the queue has work, as far as the budget allows. Less
    /// than the server's statistics cache (5 s) has no effect.
    pub polling_interval: Duration,
    /// Longest gap between readings of a queue without work.
    pub quiet_polling_interval: Duration,
    /// How long a task may wait. When the budget is short, the queue that is closest to missing
    /// this is read first.
    pub queue_wait_target: Duration,
    /// Whether the queue's Deployment has or wants replicas. Such a queue counts as having work,
    /// and its workers are listed.
    pub has_replicas: bool,
}

/// The latest readings of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReading {
    /// The queue's statistics for each requested task type.
    pub backlog: Reading<Backlog>,
    /// The workers that poll the queue, dead ones included, and the workers on their hosts that
    /// poll other task queues: [`crate::slots`] joins them with the living pods. Unknown with
    /// `NoHeartbeats` if the server knows no worker in the whole Temporal namespace.
    pub workers: Reading<Vec<WorkerReport>>,
    /// Why the backlog is unknown, for people; stays the same, word for word, while the same
    /// failure lasts.
    pub backlog_failure: Option<CallFailure>,
    /// Why the workers are unknown.
    pub workers_failure: Option<CallFailure>,
}

/// A failed call, for conditions and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// The kind of failure.
    pub kind: CallErrorKind,
    /// The call that failed.
    pub method: Method,
    /// One sentence: the call, the server and Temporal namespace, and the error.
    pub message: String,
    /// The setting that causes the failure, if known.
    pub fault: Option<Fault>,
}

impl CallFailure {
    /// Describes a failed call to this server and Temporal namespace.
    pub(crate) fn new(error: &CallError, server_namespace: &str) -> Self {
        Self {
            kind: error.kind,
            method: error.method,
            message: format!(
                "{} at {server_namespace} failed with {}: {}",
                error.method.as_str(),
                error.code,
                error.message
            ),
            fault: error.fault,
        }
    }
}

/// What one worker reported in its last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Unique per worker in the Temporal namespace.
    pub instance_key: String,
    /// The identity set by its client.
    pub identity: String,
    /// The name of its host: in Kubernetes the pod's name.
    pub host_name: String,
    /// A key that it shares only with workers of the same process; `None` if its SDK sends none.
    pub process: Option<String>,
    /// The task queue it polls.
    pub task_queue: String,
    /// The status it reported.
    pub status: WorkerStatus,
    /// Which SDK it runs on, as `name version`.
    pub sdk: String,
    /// When its heartbeat was last seen to change, on the reader's clock; `None` until a change was
    /// seen. The worker's own clock is never compared with ours.
    pub heartbeat_changed_at: Option<Time>,
    /// The heartbeat was sent after this time: the list that began then did not contain it yet.
    pub heartbeat_sent_after: Option<Time>,
    /// The interval between its heartbeats, as it reports it; `None` until then.
    pub heartbeat_interval: Option<Duration>,
    /// When it sent its last heartbeat, on its host's clock, in nanoseconds since 1970.
    pub sent_at: Option<i128>,
    /// When it was started, on the same clock.
    pub started_at: Option<i128>,
    /// Its slots per task type; `None` for a type that it does not poll.
    pub slots: PerType<Option<TypeSlots>>,
}

impl WorkerReport {
    /// Whether the heartbeat had changed recently enough to count when the list was read: within
    /// two and a half of the worker's own intervals, plus an allowance for delays. A living worker
    /// has sent one within its interval before any look, so the time between looks does not matter;
    /// and between two looks nobody can know more.
    pub fn is_fresh(&self, looked_at: Time) -> bool {
        let interval = self
            .heartbeat_interval
            .unwrap_or(LONGEST_HEARTBEAT_INTERVAL);
        let window = interval
            .saturating_mul(5)
            .checked_div(2)
            .unwrap_or(interval);
        self.heartbeat_changed_at
            .is_some_and(|changed| looked_at.since(changed) <= window.saturating_add(ALLOWANCE))
    }
}

/// SDKs accept heartbeat intervals of 1 to 60 s. A worker whose interval is unknown yet gets the
/// longest.
const LONGEST_HEARTBEAT_INTERVAL: Duration = Duration::from_mins(1);

/// A heartbeat may be late, and a list of many calls takes some time to read.
const ALLOWANCE: Duration = Duration::from_secs(6);
