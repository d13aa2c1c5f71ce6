//! The interface to Temporal: the calls, their answers as plain data, their failures by kind. No
//! I/O here; [`crate::TemporalClient`] implements [`QueueStats`] over the network, tests with a
//! script.

use std::fmt;
use std::time::Duration;

use futures::future::BoxFuture;
use taskqueue_scaling::{PerType, TaskType, TypeBacklog, TypeSlots, UnknownReason};

use crate::connection::ResolvedConnection;
use crate::fault::Fault;

/// The calls to Temporal, named after their RPCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Opening the connection, with the SDK's `GetSystemInfo`.
    Connect,
    /// `DescribeTaskQueue` with statistics, for one task type.
    DescribeTaskQueue,
    /// `ListWorkers`, one page.
    ListWorkers,
    /// `DescribeWorker`, for servers that list workers without their slots.
    DescribeWorker,
}

impl Method {
    /// All methods.
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

/// The kind of failure of a call. Each kind asks for a different reaction from the reader and from
/// people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallErrorKind {
    /// No connection, or the server says that it cannot answer now.
    Unavailable,
    /// No answer within the deadline.
    Timeout,
    /// The server refused the call because of its rate limits.
    Throttled,
    /// The server refused the credential, or the credential lacks the permission.
    Denied,
    /// The server has no such Temporal namespace.
    NamespaceNotFound,
    /// The server does not know this call, or leaves out what we need.
    Unsupported,
    /// The server answered with another error, or with something that makes no sense.
    Failed,
}

impl CallErrorKind {
    /// All kinds.
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

    /// The reason of a reading that failed in this way.
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
    /// The kind of failure.
    pub kind: CallErrorKind,
    /// The call that failed; a call that found no connection fails as [`Method::Connect`].
    pub method: Method,
    /// The name of the gRPC code, for metrics.
    pub code: &'static str,
    /// What the error says, without secrets.
    pub message: String,
    /// Whether the whole connection is unusable for now, as opposed to this one call having failed.
    pub connection_lost: bool,
    /// The setting that causes the failure, if known.
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

impl CallError {
    /// Whether this error is reported in the place of the one before it. The first message of a
    /// failure stays, so that what is reported does not flicker, until an error of another kind
    /// comes, or one that names the fault: the first call over a lost connection does not.
    pub(crate) fn replaces(&self, before: &Self) -> bool {
        self.kind != before.kind || (self.fault.is_some() && before.fault.is_none())
    }
}

/// The answer to `DescribeTaskQueue` for one task type.
pub type Described = TypeBacklog;

/// One page of `ListWorkers`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkersPage {
    /// Workers whose heartbeat came with the list.
    pub workers: Vec<Heartbeat>,
    /// Workers that were listed without their slots: each needs a call of its own.
    pub without_slots: Vec<ListedWorker>,
    /// Where the next page begins; empty at the end.
    pub next_page_token: Vec<u8>,
}

/// A worker that was listed without its heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedWorker {
    /// The key to pass to `DescribeWorker`.
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
    /// A key that it shares only with workers of the same process; `None` if its SDK sends none.
    pub process: Option<String>,
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
    /// Time since the previous heartbeat, as the worker reports it.
    pub elapsed: Option<Duration>,
    /// Its slots for each task type that it polls.
    pub slots: PerType<Option<TypeSlots>>,
}

/// A worker's status as it reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkerStatus {
    /// It polls.
    Running,
    /// It stopped polling and finishes the tasks that it has. A worker that ended cleanly stays
    /// listed like this for up to six minutes.
    ShuttingDown,
    /// It has ended.
    Shutdown,
    /// The server sent no status, or one newer than this code.
    Unspecified,
}

/// The reads that we need from Temporal. One call each, except that the first over a connection
/// also opens it. An implementation keeps connections apart by server, Temporal namespace and
/// credential, and limits the duration of every call.
pub trait QueueStats: Send + Sync + 'static {
    /// Statistics of one task queue and type. A queue that the server does not know has zeros.
    fn describe<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_type: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>>;

    /// Current statistics of one task queue and several types, bypassing the cache that answers
    /// [`QueueStats::describe`]. One call, but it costs the server as much as one call for each
    /// type, and has a cache of its own that lasts as long. The answer lacks `pollers`, `routed`,
    /// `rate_limited` and `effective_limit_milli`.
    fn describe_past_cache<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_types: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>>;

    /// One page of the list of workers in the Temporal namespace.
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

    /// Closes the connection: nobody reads over it any more.
    fn release(&self, connection: &ResolvedConnection);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_of_a_kind_stays_until_one_names_the_fault() {
        let error = |kind, fault| CallError {
            kind,
            method: Method::DescribeTaskQueue,
            code: "Unavailable",
            message: String::new(),
            connection_lost: true,
            fault,
        };
        let away = error(CallErrorKind::Unavailable, None);
        let refused = error(CallErrorKind::Unavailable, Some(Fault::ProxyCredentials));
        let silent = error(CallErrorKind::Timeout, None);
        for (before, after, replaces) in [
            (&away, &away, false),
            (&away, &refused, true),
            (&refused, &away, false),
            (&refused, &refused, false),
            (&away, &silent, true),
            (&refused, &silent, true),
        ] {
            assert_eq!(after.replaces(before), replaces, "{before:?}, {after:?}");
        }
    }
}
