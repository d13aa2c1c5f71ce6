//! What a caller asks to have read, and what it gets. Plain data, no I/O.

use std::fmt;
use std::time::Duration;

use taskqueue_scaling::{Backlog, PerType, Reading, TaskType, Time, TypeSlots};

use crate::call::{CallErrorKind, Method, WorkerStatus};
use crate::fault::Fault;

/// The Kubernetes object on whose behalf queues are read.
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
    /// The owner's own name for the queue; readings are asked for by it.
    pub queue: String,
    /// Temporal's name of the task queue.
    pub task_queue: String,
    /// The task types that count. Each costs one call per read. Empty means all. Once workers have
    /// been seen that serve some of them only, the others are read seldom as long as nothing comes.
    pub task_types: Vec<TaskType>,
    /// Which spec of the owner this is: with another one its workers may come to serve other task
    /// types than they have been seen to serve.
    pub generation: i64,
    /// Longest gap between readings while the queue has work, as far as the budget lasts.
    /// Shorter than the server's statistics cache (5 s) has no effect.
    pub polling_interval: Duration,
    /// Longest gap between readings of a queue without work.
    pub quiet_polling_interval: Duration,
    /// How long a task may wait. When the budget is short, the queue nearest to missing this is
    /// read first.
    pub queue_wait_target: Duration,
    /// Whether the queue's Deployment has or wants replicas. Such a queue counts as having work,
    /// and its workers are listed.
    pub has_replicas: bool,
}

/// The latest readings of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReading {
    /// The queue's statistics, per task type that was asked for.
    pub backlog: Reading<Backlog>,
    /// The workers that poll the queue, dead ones included, and the workers of their hosts on other
    /// task queues: join them with the live pods by [`crate::slots`]. Unknown with `NoHeartbeats`
    /// if the server knows of no worker in the whole Temporal namespace.
    pub workers: Reading<Vec<WorkerReport>>,
    /// Why the backlog is unknown, for people; stays word for word the same while the same
    /// failure lasts.
    pub backlog_failure: Option<CallFailure>,
    /// Why the workers are unknown.
    pub workers_failure: Option<CallFailure>,
}

/// A failed call, for conditions and logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// What kind of failure.
    pub kind: CallErrorKind,
    /// The call that failed.
    pub method: Method,
    /// One sentence: the call, the place and what was answered.
    pub message: String,
    /// Which setting is the cause, where that is known.
    pub fault: Option<Fault>,
}

/// What one worker process said about itself in its last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerReport {
    /// Unique per worker in the Temporal namespace.
    pub instance_key: String,
    /// The identity set by its client.
    pub identity: String,
    /// The name of its host: in Kubernetes the pod's name.
    pub host_name: String,
    /// The task queue it polls.
    pub task_queue: String,
    /// The status it reported.
    pub status: WorkerStatus,
    /// Which SDK it runs on, as `name version`.
    pub sdk: String,
    /// When its heartbeat was last seen to change, on the clock of the reader; `None` until one
    /// change has been seen. The worker's own clock is never compared with ours.
    pub heartbeat_changed_at: Option<Time>,
    /// The heartbeat was sent after this: the list that was begun then did not have it yet.
    pub heartbeat_sent_after: Option<Time>,
    /// How far apart its heartbeats are, by its own account; `None` until it has said so.
    pub heartbeat_interval: Option<Duration>,
    /// When it sent its last heartbeat, on the clock of its host, in nanoseconds since 1970.
    pub sent_at: Option<i128>,
    /// When it was started, on the same clock.
    pub started_at: Option<i128>,
    /// Its slots per task type; `None` for a type that it does not poll.
    pub slots: PerType<Option<TypeSlots>>,
}

impl WorkerReport {
    /// Whether the heartbeat had changed lately enough to be believed when the list was read:
    /// within two and a half of the worker's own intervals, and a little for the way. A living
    /// worker has sent one within its interval before any look, so it does not matter how far apart
    /// the looks are; and between two looks nobody can know more.
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

/// SDKs accept heartbeat intervals of 1 to 60 s; a worker that has not yet shown its own is
/// given the longest.
const LONGEST_HEARTBEAT_INTERVAL: Duration = Duration::from_mins(1);

/// A heartbeat may come late, and a list of many calls is read over some time.
const ALLOWANCE: Duration = Duration::from_secs(6);
