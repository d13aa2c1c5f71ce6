//! The seam to Temporal: the calls that are made, their answers as plain data, their failures by
//! kind. No I/O here; [`crate::TemporalClient`] implements [`QueueStats`] with the network, tests
//! with a script.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use taskqueue_scaling::{PerType, TaskType, TypeBacklog, TypeSlots, UnknownReason};

use crate::connection::ResolvedConnection;
use crate::fault::Fault;

/// The calls to Temporal, by the name of their RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Opening the connection, with the SDK's `GetSystemInfo`.
    Connect,
    /// `DescribeTaskQueue` with statistics, for one task type.
    DescribeTaskQueue,
    /// `ListWorkers`, one page.
    ListWorkers,
    /// `DescribeWorker`, on servers that list workers without their slots.
    DescribeWorker,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Connect,
        Self::DescribeTaskQueue,
        Self::ListWorkers,
        Self::DescribeWorker,
    ];

    /// The name for metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::DescribeTaskQueue => "DescribeTaskQueue",
            Self::ListWorkers => "ListWorkers",
            Self::DescribeWorker => "DescribeWorker",
        }
    }
}

/// What kind of failure a call ended in; each asks for something else from the reader and from
/// people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallErrorKind {
    /// No connection, or the server says it cannot answer now.
    Unavailable,
    /// No answer within the deadline.
    Timeout,
    /// The server refused the call because of its rate limits.
    Throttled,
    /// The server refused the credential, or the credential may not do this.
    Denied,
    /// The Temporal namespace does not exist there.
    NamespaceNotFound,
    /// The server does not know this call or leaves out what we need.
    Unsupported,
    /// The server answered with another error, or with something that makes no sense.
    Failed,
}

impl CallErrorKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unavailable,
        Self::Timeout,
        Self::Throttled,
        Self::Denied,
        Self::NamespaceNotFound,
        Self::Unsupported,
        Self::Failed,
    ];

    /// The kind in one word, for metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "Unavailable",
            Self::Timeout => "Timeout",
            Self::Throttled => "Throttled",
            Self::Denied => "Denied",
            Self::NamespaceNotFound => "NamespaceNotFound",
            Self::Unsupported => "Unsupported",
            Self::Failed => "Failed",
        }
    }

    /// The reason that a reading carries for it.
    pub const fn unknown_reason(self) -> UnknownReason {
        match self {
            Self::Unavailable | Self::Timeout => UnknownReason::TemporalUnavailable,
            Self::Throttled => UnknownReason::Throttled,
            Self::Denied | Self::NamespaceNotFound => UnknownReason::TemporalAccessDenied,
            Self::Unsupported => UnknownReason::NotSupported,
            Self::Failed => UnknownReason::Malformed,
        }
    }
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What kind of failure.
    pub kind: CallErrorKind,
    /// The call that failed; a call that found no connection fails as [`Method::Connect`].
    pub method: Method,
    /// The gRPC code as its name, for metrics.
    pub code: &'static str,
    /// What was said about it, without secrets.
    pub message: String,
    /// Whether nothing can be had over this connection for now, as opposed to this one call
    /// having failed.
    pub connection_lost: bool,
    /// Which setting is the cause, where that is known.
    pub fault: Option<Fault>,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} failed with {}: {}",
            self.method.as_str(),
            self.code,
            self.message
        )
    }
}

impl std::error::Error for CallError {}

/// The answer to `DescribeTaskQueue` for one task type.
pub type Described = TypeBacklog;

/// One page of `ListWorkers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkersPage {
    /// Workers whose heartbeat came with the list.
    pub workers: Vec<Heartbeat>,
    /// Workers that were listed without their slots: each must be asked for on its own.
    pub without_slots: Vec<ListedWorker>,
    /// Where the next page begins; empty at the end.
    pub next_page_token: Vec<u8>,
}

/// A worker that was listed without its heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedWorker {
    /// What to ask `DescribeWorker` for.
    pub instance_key: String,
    /// The task queue it polls.
    pub task_queue: String,
}

/// A worker's heartbeat as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Unique per worker in the Temporal namespace.
    pub instance_key: String,
    /// The identity set by its client.
    pub identity: String,
    /// The name of its host.
    pub host_name: String,
    /// The task queue it polls.
    pub task_queue: String,
    /// The status it reported.
    pub status: WorkerStatus,
    /// Which SDK it runs on, as `name version`.
    pub sdk: String,
    /// The worker's own clock at the heartbeat, in nanoseconds since 1970. Only ever compared with
    /// another time of the same host.
    pub sent_at: Option<i128>,
    /// When the worker was started, on the same clock.
    pub started_at: Option<i128>,
    /// How long after the one before, by the worker's account.
    pub elapsed: Option<Duration>,
    /// Its slots per task type that it polls.
    pub slots: PerType<Option<TypeSlots>>,
}

/// A worker's status as it reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerStatus {
    /// It polls.
    Running,
    /// It stopped polling and finishes what it has. A worker that ended cleanly stays listed
    /// like this for up to six minutes.
    ShuttingDown,
    /// It has ended.
    Shutdown,
    /// The server said nothing or something newer than this code.
    Unspecified,
}

/// The reads that Temporal is asked for. One call each, except that the first over a connection
/// also opens it. An implementation keeps connections apart by place and credential, and bounds
/// every call in time.
pub trait QueueStats: Send + Sync + 'static {
    /// Statistics of one task queue and type. A queue that the server does not know has zeros.
    fn describe<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_type: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>>;

    /// Statistics of one task queue and several types as they are now, past the cache from which
    /// [`QueueStats::describe`] is answered. One call, but as dear to the server as one for each
    /// type, and behind a cache of its own that lasts as long. `pollers`, `routed`,
    /// `rate_limited` and `effective_limit_milli` are not told.
    fn describe_past_cache<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_types: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>>;

    /// One page of the workers of the Temporal namespace.
    fn list_workers<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        page_token: &'a [u8],
    ) -> BoxFuture<'a, Result<WorkersPage, CallError>>;

    /// One worker's heartbeat; `None` if the server no longer knows the worker.
    fn describe_worker<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        instance_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Heartbeat>, CallError>>;

    /// Nobody reads over this connection any more: close it.
    fn release(&self, connection: &ResolvedConnection);
}
