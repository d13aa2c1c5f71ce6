//! Converts Temporal's messages to plain data, and gRPC failures to kinds. Pure. A value that a
//! server leaves out becomes unknown, never zero.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use taskqueue_scaling::{PRIORITIES, PerType, TaskType, TypeSlots};
use temporalio_client::errors::ClientConnectError;
use temporalio_client::tonic::{Code, Status};
use temporalio_common::protos::temporal::api::deployment::v1::WorkerDeploymentVersion;
use temporalio_common::protos::temporal::api::enums::v1::{
    DescribeTaskQueueMode, TaskQueueType, WorkerStatus as Wire, WorkerVersioningMode,
};
use temporalio_common::protos::temporal::api::taskqueue::v1::{
    PollerInfo, TaskQueue, TaskQueueStats, TaskQueueVersionSelection,
};
use temporalio_common::protos::temporal::api::worker::v1::{
    WorkerHeartbeat, WorkerInfo, WorkerPollerInfo, WorkerSlotsInfo,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeTaskQueueResponse, ListWorkersResponse,
};

use crate::call::{
    CallError, CallErrorKind, Described, Heartbeat, ListedWorker, Method, WorkerStatus, WorkersPage,
};
use crate::connection::ResolvedConnection;
use crate::fault::{self, Fault};

/// The number of a task type in requests.
pub(crate) fn task_queue_type(task_type: TaskType) -> i32 {
    let wire = match task_type {
        TaskType::Workflow => TaskQueueType::Workflow,
        TaskType::Activity => TaskQueueType::Activity,
        TaskType::Nexus => TaskQueueType::Nexus,
    };
    wire.into()
}

/// The statistics in an answer. Servers that do not know `report_stats` leave them out.
pub(crate) fn described(answer: &DescribeTaskQueueResponse) -> Result<Described, CallError> {
    let Some(stats) = &answer.stats else {
        return Err(CallError {
            kind: CallErrorKind::Unsupported,
            method: Method::DescribeTaskQueue,
            code: "Ok",
            message: "the response has no statistics; use Temporal server 1.29 or newer, which \
             sends them"
                .to_owned(),
            connection_lost: false,
            fault: None,
        });
    };
    let limit = answer.effective_rate_limit.as_ref();
    Ok(Described {
        by_priority: by_priority(&answer.stats_by_priority_key),
        effective_limit_milli: limit.map(|limit| thousandths(limit.requests_per_second)),
        pollers: u32::try_from(answer.pollers.len()).ok(),
        routed: routed(answer),
        ..statistics(stats)
    })
}

/// Requests the statistics of several types in the enhanced mode of `DescribeTaskQueue`. That mode
/// is deprecated, but it is the only one that the cache of the ordinary mode (`dtq_default` in the
/// server's matching engine) does not answer; it has a cache of its own that nobody else fills.
#[expect(
    deprecated,
    reason = "the only read that does not meet the cache of the ordinary one"
)]
pub(crate) fn past_cache_request(
    connection: &ResolvedConnection,
    task_queue: &str,
    task_types: &[TaskType],
) -> DescribeTaskQueueRequest {
    DescribeTaskQueueRequest {
        namespace: connection.temporal_namespace().to_owned(),
        task_queue: Some(TaskQueue {
            name: task_queue.to_owned(),
            ..TaskQueue::default()
        }),
        api_mode: DescribeTaskQueueMode::Enhanced.into(),
        versions: Some(TaskQueueVersionSelection {
            build_ids: Vec::new(),
            unversioned: true,
            all_active: true,
        }),
        task_queue_types: task_types.iter().copied().map(task_queue_type).collect(),
        report_stats: true,
        ..DescribeTaskQueueRequest::default()
    }
}

/// The statistics in an enhanced answer, summed over versions as the ordinary mode sums them.
pub(crate) fn described_past_cache(
    answer: &DescribeTaskQueueResponse,
    task_types: &[TaskType],
) -> Result<Vec<(TaskType, Described)>, CallError> {
    let sum_of = |task_type: TaskType| {
        let number = task_queue_type(task_type);
        let per_version = answer.versions_info.values();
        let stats = per_version
            .filter_map(|version| version.types_info.get(&number))
            .filter_map(|info| info.stats.as_ref())
            .map(statistics);
        stats.reduce(|a, b| Described {
            count: a.count.saturating_add(b.count),
            age: a.age.max(b.age),
            add_rate_milli: a.add_rate_milli.saturating_add(b.add_rate_milli),
            dispatch_rate_milli: a.dispatch_rate_milli.saturating_add(b.dispatch_rate_milli),
            rate_limited: a.rate_limited || b.rate_limited,
            ..a
        })
    };
    let of_type = |task_type: &TaskType| {
        let sum = sum_of(*task_type).ok_or_else(|| CallError {
            kind: CallErrorKind::Unsupported,
            method: Method::DescribeTaskQueue,
            code: "Ok",
            message: "the enhanced response has no statistics".to_owned(),
            connection_lost: false,
            fault: None,
        })?;
        Ok((*task_type, sum))
    };
    task_types.iter().map(of_type).collect()
}

/// The waiting tasks by priority key. Keys below 1 do not exist; those beyond the last count as it.
fn by_priority(stats: &HashMap<i32, TaskQueueStats>) -> [u64; PRIORITIES] {
    let mut counts = [0; PRIORITIES];
    for (key, stats) in stats {
        let index = usize::try_from(key.saturating_sub(1)).unwrap_or_default();
        let waiting = u64::try_from(stats.approximate_backlog_count).unwrap_or(0);
        if let Some(count) = counts.get_mut(index.min(PRIORITIES - 1)) {
            *count = waiting.saturating_add(*count);
        }
    }
    counts
}

fn statistics(stats: &TaskQueueStats) -> Described {
    let age = stats
        .approximate_backlog_age
        .and_then(|age| Duration::try_from(age).ok());
    Described {
        count: u64::try_from(stats.approximate_backlog_count).unwrap_or(0),
        by_priority: [0; PRIORITIES],
        age: age.unwrap_or_default(),
        add_rate_milli: thousandths(stats.tasks_add_rate),
        dispatch_rate_milli: thousandths(stats.tasks_dispatch_rate),
        rate_limited: stats.rate_limiting_active,
        effective_limit_milli: None,
        pollers: None,
        routed: None,
    }
}

/// Whether any poller has a version to which the queue routes new tasks. Workers without versioning
/// have the version `None`; they get tasks if there is no current version, or while tasks ramp to
/// them.
fn routed(answer: &DescribeTaskQueueResponse) -> Option<bool> {
    fn name(version: &WorkerDeploymentVersion) -> (&str, &str) {
        (&version.deployment_name, &version.build_id)
    }
    let routing = answer.versioning_info.as_ref()?;
    let current = routing.current_deployment_version.as_ref().map(name);
    let ramping = routing.ramping_deployment_version.as_ref().map(name);
    let ramps = routing.ramping_version_percentage > 0.0;
    let gets_tasks = |poller: &PollerInfo| {
        let version = poller.deployment_options.as_ref().and_then(|options| {
            let versioned = options.worker_versioning_mode() == WorkerVersioningMode::Versioned;
            versioned.then_some((&*options.deployment_name, &*options.build_id))
        });
        version == current || ramps && version == ramping
    };
    (!answer.pollers.is_empty()).then(|| answer.pollers.iter().any(gets_tasks))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts from float saturate, NaN becomes zero, and negatives were cut off"
)]
fn thousandths(rate: f32) -> u64 {
    (f64::from(rate).max(0.0) * 1_000.0).round() as u64
}

/// One page of workers. Servers up to 1.30 fill only `workers_info`, which carries the slots; it is
/// deprecated, and a server that no longer fills it lists the workers without their slots.
#[expect(deprecated, reason = "the only form of the list that carries slots")]
pub(crate) fn page(answer: ListWorkersResponse) -> WorkersPage {
    let workers: Vec<_> = answer
        .workers_info
        .into_iter()
        .filter_map(heartbeat)
        .collect();
    let listed = answer.workers.into_iter().map(|worker| ListedWorker {
        instance_key: worker.worker_instance_key,
        task_queue: worker.task_queue,
    });
    let without_slots = if workers.is_empty() {
        listed.collect()
    } else {
        Vec::new()
    };
    WorkersPage {
        workers,
        without_slots,
        next_page_token: answer.next_page_token,
    }
}

/// The heartbeat in a message, if there is one.
pub(crate) fn heartbeat(info: WorkerInfo) -> Option<Heartbeat> {
    let heartbeat = info.worker_heartbeat?;
    let slots = PerType {
        workflow: type_slots(
            heartbeat.workflow_task_slots_info.as_ref(),
            &[
                heartbeat.workflow_poller_info.as_ref(),
                heartbeat.workflow_sticky_poller_info.as_ref(),
            ],
        ),
        activity: type_slots(
            heartbeat.activity_task_slots_info.as_ref(),
            &[heartbeat.activity_poller_info.as_ref()],
        ),
        nexus: type_slots(
            heartbeat.nexus_task_slots_info.as_ref(),
            &[heartbeat.nexus_poller_info.as_ref()],
        ),
    };
    let elapsed = heartbeat.elapsed_since_last_heartbeat;
    let status = status(&heartbeat);
    let host = heartbeat.host_info.unwrap_or_default();
    Some(Heartbeat {
        status,
        sdk: format!("{} {}", heartbeat.sdk_name, heartbeat.sdk_version),
        sent_at: heartbeat
            .heartbeat_time
            .map(|stamp| nanos(stamp.seconds, stamp.nanos)),
        started_at: heartbeat
            .start_time
            .map(|stamp| nanos(stamp.seconds, stamp.nanos)),
        elapsed: elapsed
            .and_then(|elapsed| Duration::try_from(elapsed).ok())
            .filter(|elapsed| !elapsed.is_zero()),
        slots,
        process: Some(host.worker_grouping_key).filter(|key| !key.is_empty()),
        host_name: host.host_name,
        instance_key: heartbeat.worker_instance_key,
        identity: heartbeat.worker_identity,
        task_queue: heartbeat.task_queue,
    })
}

fn nanos(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds).saturating_mul(1_000_000_000) + i128::from(nanos)
}

fn status(heartbeat: &WorkerHeartbeat) -> WorkerStatus {
    match heartbeat.status() {
        Wire::Running => WorkerStatus::Running,
        Wire::ShuttingDown => WorkerStatus::ShuttingDown,
        Wire::Shutdown => WorkerStatus::Shutdown,
        Wire::Unspecified => WorkerStatus::Unspecified,
    }
}

/// The slots of one task type. SDKs report slots for every type, even for types that the worker
/// does not poll; counting those would double a worker's capacity. A type counts if it polls, has
/// polled or has had tasks. If a worker reports nothing about the type's pollers, its slots count.
fn type_slots(
    slots: Option<&WorkerSlotsInfo>,
    pollers: &[Option<&WorkerPollerInfo>],
) -> Option<TypeSlots> {
    let slots = slots?;
    let silent = pollers.iter().all(Option::is_none);
    let polls = pollers
        .iter()
        .flatten()
        .any(|pollers| pollers.current_pollers > 0 || pollers.last_successful_poll_time.is_some());
    let works = slots.current_used_slots > 0 || slots.total_processed_tasks != 0;
    if !(silent || polls || works) {
        return None;
    }
    Some(TypeSlots {
        used: u32::try_from(slots.current_used_slots).ok()?,
        available: free_slots(slots),
        processed_total: processed(slots.total_processed_tasks),
    })
}

/// The tasks that a worker has processed. The count has 32 bits. Go's wraps around, so its bits are
/// read as unsigned: when they begin at 0 again, this looks like another worker. Core sends the
/// least number for every count that does not fit.
fn processed(total: i32) -> Option<u64> {
    (total != i32::MIN).then(|| u64::from(total.cast_unsigned()))
}

/// The free slots of a worker whose slot supplier has a bound. The message has -1 for "no bound",
/// but the SDKs send 0 instead: Go for every supplier that is not fixed, Core because such a
/// supplier never sets the number. A fixed supplier has at least one slot, so 0 free and 0 used
/// means that it has not counted yet.
fn free_slots(slots: &WorkerSlotsInfo) -> Option<u32> {
    const FIXED: &str = "Fixed";
    let free = u32::try_from(slots.current_available_slots).ok()?;
    let full = slots.slot_supplier_kind == FIXED && slots.current_used_slots > 0;
    (free > 0 || full).then_some(free)
}

/// Classifies a failed call.
pub(crate) fn call_error(method: Method, status: &Status) -> CallError {
    // Failures of the channel itself carry their cause; errors from the server do not.
    let source = status.source();
    let timed_out = status.message() == "Timeout expired";
    let connection_lost = source.is_some() && !timed_out;
    let kind = match status.code() {
        _ if connection_lost => CallErrorKind::Unavailable,
        _ if timed_out => CallErrorKind::Timeout,
        Code::Unavailable => CallErrorKind::Unavailable,
        Code::DeadlineExceeded | Code::Cancelled => CallErrorKind::Timeout,
        Code::ResourceExhausted => CallErrorKind::Throttled,
        Code::PermissionDenied | Code::Unauthenticated => CallErrorKind::Denied,
        Code::Unimplemented => CallErrorKind::Unsupported,
        Code::NotFound if is_namespace(status) => CallErrorKind::NamespaceNotFound,
        Code::Ok
        | Code::NotFound
        | Code::Unknown
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::DataLoss => CallErrorKind::Failed,
    };
    let (fault, message) = match source {
        Some(cause) => describe(fault::of(cause), cause),
        None if is_plain_http(status) => (
            Some(Fault::NotGrpc),
            format!("{} ({})", Fault::NotGrpc.sentence(), status.message()),
        ),
        None => (None, status.message().to_owned()),
    };
    CallError {
        kind,
        method,
        code: code(status.code()),
        message,
        connection_lost,
        fault,
    }
}

/// Whether the answer lacks the header that every gRPC answer has, and so is not from a gRPC
/// server. Ignores the codes that stand for HTTP 401, 403, 429 and 502 to 504: a proxy before a
/// gRPC server may use them itself, for a server that is down or a caller that is refused.
fn is_plain_http(status: &Status) -> bool {
    let by_a_server = matches!(
        status.code(),
        Code::Unimplemented | Code::Internal | Code::Unknown
    );
    by_a_server && status.message().starts_with("grpc-status header missing")
}

/// Describes an error: by the setting that causes it, or else in its own words.
fn describe(fault: Option<Fault>, error: &(dyn Error + 'static)) -> (Option<Fault>, String) {
    let Some(known) = fault else {
        return (None, chain(error));
    };
    let details = fault::causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    let message = match details {
        Some(details) if known.has_details() => format!("{} ({details})", known.sentence()),
        _ => known.sentence().to_owned(),
    };
    (fault, message)
}

/// Whether the Temporal namespace is missing: the server marks this with an error detail.
fn is_namespace(status: &Status) -> bool {
    const DETAIL: &[u8] = b"NamespaceNotFoundFailure";
    status
        .details()
        .windows(DETAIL.len())
        .any(|window| window == DETAIL)
}

/// Why connecting failed. A probe may have found out more than the error says.
pub(crate) fn connect_error(error: &ClientConnectError, probed: Option<Fault>) -> CallError {
    if let ClientConnectError::SystemInfoCallError(status) = error {
        let answered = call_error(Method::Connect, status);
        let connection_lost = answered.kind != CallErrorKind::Denied;
        return match probed {
            Some(known) => CallError {
                message: known.sentence().to_owned(),
                connection_lost,
                fault: probed,
                ..answered
            },
            None => CallError {
                connection_lost,
                ..answered
            },
        };
    }
    let (fault, message) = match error.source() {
        Some(cause) => describe(probed.or_else(|| fault::of(cause)), cause),
        None => (None, error.to_string()),
    };
    CallError {
        kind: CallErrorKind::Unavailable,
        method: Method::Connect,
        code: "Unavailable",
        message,
        connection_lost: true,
        fault,
    }
}

/// The messages of an error and its causes, without repetitions.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

/// The name of a gRPC code.
fn code(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests;
