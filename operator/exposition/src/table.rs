//! Names, labels and help of every metric, in one place. Plain data: the registry, the tests and
//! the documentation are built from this table.

pub mod process;

use crate::spec::{Kind, Spec, counter, gauge};

/// Labels of the metrics of one fleet.
const FLEET: [&str; 2] = ["namespace", "name"];
/// Labels of the metrics of one queue.
const QUEUE: [&str; 4] = ["namespace", "name", "queue", "task_queue"];

const PER_TYPE: &[&str] = &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "task_type"];

/// `build_info`.
pub const BUILD_INFO: Spec = gauge(
    "taskqueue_operator_build_info",
    &["version"],
    "Always 1; the version of the operator is in the label.",
);
/// `leader`.
pub const LEADER: Spec = gauge(
    "taskqueue_operator_leader",
    &[],
    "1 if this process reconciles, 0 if it is a standby.",
);
/// `caches_synced`.
pub const CACHES_SYNCED: Spec = gauge(
    "taskqueue_operator_caches_synced",
    &[],
    "1 once the watch caches of every scope that can be watched are filled, 0 before.",
);
/// `namespace_watched`.
pub const NAMESPACE_WATCHED: Spec = gauge(
    "taskqueue_operator_namespace_watched",
    &["watch_namespace"],
    "For each namespace of --watch-namespaces: 1 if it is watched, 0 if it cannot be, for example \
     because it was deleted.",
);
/// `watch_errors_total`.
pub const WATCH_ERRORS: Spec = counter(
    "taskqueue_operator_watch_errors_total",
    &["kind"],
    "Failures of watches on the Kubernetes API. Each is retried with a backoff.",
);
/// `reconcile_total`.
pub const RECONCILE: Spec = counter(
    "taskqueue_operator_reconcile_total",
    &["result"],
    "Completed reconciles, by result: ok or error.",
);
/// `reconcile_duration_seconds`.
pub const RECONCILE_DURATION: Spec = Spec {
    name: "taskqueue_operator_reconcile_duration_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Duration of a reconcile, including its writes.",
};
/// `reconciles_running`.
pub const RUNNING: Spec = gauge(
    "taskqueue_operator_reconciles_running",
    &[],
    "Reconciles that run now; at most --concurrency for each scope that is watched.",
);
/// `workqueue_depth`.
pub const QUEUE_DEPTH: Spec = gauge(
    "taskqueue_operator_workqueue_depth",
    &[],
    "Fleets that wait for a reconcile.",
);
/// `workqueue_longest_wait_seconds`.
pub const QUEUE_LONGEST: Spec = gauge(
    "taskqueue_operator_workqueue_longest_wait_seconds",
    &[],
    "The longest time that a fleet has been waiting for a reconcile; 0 if none is.",
);
/// `workqueue_queue_duration_seconds`.
pub const QUEUE_WAIT: Spec = Spec {
    name: "taskqueue_operator_workqueue_queue_duration_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "How long a fleet waited for a reconcile: from the first event that asked for it, or \
           from the time at which it was due, until it began.",
};
/// `reconcile_errors_total`.
pub const RECONCILE_ERRORS: Spec = counter(
    "taskqueue_operator_reconcile_errors_total",
    &["class", "reason"],
    "Errors of reconciles, by class (how the operator handles it) and reason. Class bug should \
     stay at 0.",
);
/// `writes_total`.
pub const WRITES: Spec = counter(
    "taskqueue_operator_writes_total",
    &["verb", "kind"],
    "Writes to the Kubernetes API. An unchanged fleet causes none.",
);
/// `fleet_condition`.
pub const CONDITION: Spec = gauge(
    "taskqueue_operator_fleet_condition",
    &[FLEET[0], FLEET[1], "type", "status", "reason"],
    "Always 1, for the current status (True, False, Unknown) and reason of each condition of a \
     fleet.",
);
/// `fleet_info`.
pub const FLEET_INFO: Spec = gauge(
    "taskqueue_operator_fleet_info",
    &[FLEET[0], FLEET[1], "temporal_address", "temporal_namespace"],
    "Always 1; the labels say where the fleet's task queues are. Absent while the connection \
     cannot be used.",
);
/// `certificate_expiry_timestamp_seconds`.
pub const CERTIFICATE_EXPIRY: Spec = gauge(
    "taskqueue_operator_certificate_expiry_timestamp_seconds",
    &[FLEET[0], FLEET[1], "certificate", "secret", "config_map"],
    "Unix time of the earliest expiry of the connection's certificates, by use (ca, client) and \
     Secret or ConfigMap (with its namespace, as namespace/name, if that is not the fleet's). \
     Absent without certificates.",
);
/// `desired_replicas`.
pub const DESIRED: Spec = gauge(
    "taskqueue_operator_desired_replicas",
    &QUEUE,
    "Replicas that the last decision requests.",
);
/// `current_replicas`.
pub const CURRENT: Spec = gauge(
    "taskqueue_operator_current_replicas",
    &QUEUE,
    "Replicas in the spec of the Deployment.",
);
/// `ready_replicas`.
pub const READY: Spec = gauge(
    "taskqueue_operator_ready_replicas",
    &QUEUE,
    "Ready pods of the queue.",
);
/// `terminating_replicas`.
pub const TERMINATING: Spec = gauge(
    "taskqueue_operator_terminating_replicas",
    &QUEUE,
    "Draining pods of the queue: pods that are being deleted and whose workers still run.",
);
/// `drain_overdue_replicas`.
pub const DRAIN_OVERDUE: Spec = gauge(
    "taskqueue_operator_drain_overdue_replicas",
    &QUEUE,
    "Draining pods of the queue whose workers still run after the drain grace period.",
);
/// `min_replicas`.
pub const MIN: Spec = gauge(
    "taskqueue_operator_min_replicas",
    &QUEUE,
    "The lower bound, replicas.min.",
);
/// `max_replicas`.
pub const MAX: Spec = gauge(
    "taskqueue_operator_max_replicas",
    &QUEUE,
    "The upper bound, replicas.max.",
);
/// `queue_wait_target_seconds`.
pub const WAIT_TARGET: Spec = gauge(
    "taskqueue_operator_queue_wait_target_seconds",
    &QUEUE,
    "How long a task may wait, scaling.queueWaitTarget.",
);
/// `backlog_tasks`.
pub const BACKLOG: Spec = gauge(
    "taskqueue_operator_backlog_tasks",
    PER_TYPE,
    "Waiting tasks, as last reported by Temporal (approximate_backlog_count). Absent while \
     unknown.",
);
/// `backlog_tasks_by_priority`.
pub const BACKLOG_BY_PRIORITY: Spec = gauge(
    "taskqueue_operator_backlog_tasks_by_priority",
    &[
        QUEUE[0],
        QUEUE[1],
        QUEUE[2],
        QUEUE[3],
        "task_type",
        "priority",
    ],
    "Waiting tasks by priority key, from 1, the highest, to 5, which includes lower ones. Absent \
     unless a task of another priority than the default, 3, waits.",
);
/// `backlog_age_seconds`.
pub const BACKLOG_AGE: Spec = gauge(
    "taskqueue_operator_backlog_age_seconds",
    PER_TYPE,
    "Age of the oldest waiting task, as last reported by Temporal. Absent while unknown.",
);
/// `tasks_add_rate`.
pub const ADD_RATE: Spec = gauge(
    "taskqueue_operator_tasks_add_rate",
    PER_TYPE,
    "Tasks that arrive per second, over Temporal's window of 30 s. Absent while unknown.",
);
/// `tasks_dispatch_rate`.
pub const DISPATCH_RATE: Spec = gauge(
    "taskqueue_operator_tasks_dispatch_rate",
    PER_TYPE,
    "Tasks handed to workers per second, over Temporal's window of 30 s. Absent while unknown.",
);
/// `rate_limited`.
pub const RATE_LIMITED: Spec = gauge(
    "taskqueue_operator_rate_limited",
    PER_TYPE,
    "1 if Temporal currently limits the dispatch rate of this task queue, so that more workers \
     would not help.",
);
/// `slots_used`.
pub const SLOTS_USED: Spec = gauge(
    "taskqueue_operator_slots_used",
    PER_TYPE,
    "Task slots in use, over all workers that report them by heartbeat or by their own metrics. \
     Absent while unknown.",
);
/// `slots_available`.
pub const SLOTS_AVAILABLE: Spec = gauge(
    "taskqueue_operator_slots_available",
    PER_TYPE,
    "Free task slots, over all workers that report them. Absent while unknown.",
);
/// `service_time_seconds`.
pub const SERVICE_TIME: Spec = gauge(
    "taskqueue_operator_service_time_seconds",
    PER_TYPE,
    "Mean time that a task occupies a slot, learned or assumed.",
);
/// `service_time_learned`.
pub const SERVICE_TIME_LEARNED: Spec = gauge(
    "taskqueue_operator_service_time_learned",
    PER_TYPE,
    "1 if the mean service time is learned from the workers, 0 while it is assumed.",
);
/// `blind_pods`.
pub const BLIND_PODS: Spec = gauge(
    "taskqueue_operator_blind_pods",
    &QUEUE,
    "Live pods without a fresh heartbeat, or without an answer to the last scrape. Each counts as \
     full. Absent while no slots are known.",
);
/// `held_pod`.
pub const HELD_POD: Spec = gauge(
    "taskqueue_operator_held_pod",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "pod", "why"],
    "Always 1, for a pod that keeps the queue from shrinking because its tasks are not known to \
     end within the drain grace period (BusyPods). The label why gives the reason: NotHeard, \
     JustStarted, Outlasts, LongestYet, NotLearned, Unproven, Behind, HighestBusy, Below.",
);
/// `pod_scrapes_total`.
pub const POD_SCRAPES: Spec = counter(
    "taskqueue_operator_pod_scrapes_total",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "result"],
    "Scrapes of the pods' own metrics (scaling.metricsPort), by result: ok, unreachable, timeout, \
     http_status, too_large, malformed, no_slots, panicked. Absent while heartbeats report the \
     slots.",
);
/// `demand_replicas`.
pub const DEMAND: Spec = gauge(
    "taskqueue_operator_demand_replicas",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "term"],
    "Replicas that each demand term asks for, before any limit. The largest counts.",
);
/// `reading_age_seconds`.
pub const READING_AGE: Spec = gauge(
    "taskqueue_operator_reading_age_seconds",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "source"],
    "Seconds since the last successful reading, by source: backlog or slots.",
);
/// `reading_unknown`.
pub const READING_UNKNOWN: Spec = gauge(
    "taskqueue_operator_reading_unknown",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "source", "reason"],
    "Always 1, for a source (backlog or slots) that is currently unknown. The label reason says \
     why.",
);
/// `finding`.
pub const FINDING: Spec = gauge(
    "taskqueue_operator_finding",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "finding"],
    "1 while the queue has the problem that the label finding names, which more replicas would \
     not solve; 0 otherwise.",
);
/// `worker_fault_since_timestamp_seconds`.
pub const WORKER_FAULT: Spec = gauge(
    "taskqueue_operator_worker_fault_since_timestamp_seconds",
    &[QUEUE[0], QUEUE[1], QUEUE[2], QUEUE[3], "fault", "pod"],
    "Unix time at which the workers of the queue were first seen to do what the label fault \
     names: HeartbeatsTooRare, SlotsNeverUsed, EndsBeforeItsTasks, PollsAfterStop, \
     WorksOnOtherQueues. The pod is the first that showed it. Absent if nothing is seen.",
);
/// `decisions_total`.
pub const DECISIONS: Spec = counter(
    "taskqueue_operator_decisions_total",
    &[
        QUEUE[0],
        QUEUE[1],
        QUEUE[2],
        QUEUE[3],
        "direction",
        "reason",
    ],
    "Decisions, one per new reading of the backlog, by direction (up, down, hold) and reason.",
);
/// `scale_changes_total`.
pub const CHANGES: Spec = counter(
    "taskqueue_operator_scale_changes_total",
    &[
        QUEUE[0],
        QUEUE[1],
        QUEUE[2],
        QUEUE[3],
        "direction",
        "reason",
    ],
    "Replica changes that were carried out, by direction (up, down) and reason.",
);
/// `kubernetes_requests_total`.
pub const KUBERNETES_REQUESTS: Spec = counter(
    "taskqueue_operator_kubernetes_requests_total",
    &["verb", "group", "resource", "code"],
    "Completed calls to the Kubernetes API, by verb (watch for the start of a watch), API group \
     (empty for the core group), resource with subresource, and HTTP status. Without an answer the \
     code is timeout, error, or abandoned if the operator stopped waiting earlier. A kind of \
     workload that the operator does not know is other, and a look-up of a kind is discovery.",
);
/// `kubernetes_request_duration_seconds`.
pub const KUBERNETES_DURATION: Spec = Spec {
    name: "taskqueue_operator_kubernetes_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["verb", "group", "resource"],
    help: "Duration of calls to the Kubernetes API. Of a watch, the time until it begins.",
};
/// `temporal_requests_total`.
pub const TEMPORAL_REQUESTS: Spec = counter(
    "taskqueue_operator_temporal_requests_total",
    &["temporal_address", "temporal_namespace", "method", "code"],
    "Completed calls to Temporal, by method and gRPC code.",
);
/// `temporal_request_duration_seconds`.
pub const TEMPORAL_DURATION: Spec = Spec {
    name: "taskqueue_operator_temporal_request_duration_seconds",
    kind: Kind::Histogram,
    labels: &["temporal_address", "temporal_namespace", "method"],
    help: "Duration of calls to Temporal.",
};
/// `temporal_budget_calls_per_second`.
pub const BUDGET_LIMIT: Spec = gauge(
    "taskqueue_operator_temporal_budget_calls_per_second",
    &["temporal_address", "temporal_namespace", "source"],
    "The current call budget of a Temporal namespace, by what is read: backlog (statistics) or \
     slots (the worker list). Temporal's answer ResourceExhausted halves that of its source.",
);
/// `temporal_budget_available_calls`.
pub const BUDGET_AVAILABLE: Spec = gauge(
    "taskqueue_operator_temporal_budget_available_calls",
    &["temporal_address", "temporal_namespace", "source"],
    "Calls that the budget allows right now, by source: backlog or slots. If it stays near zero, \
     reads are late.",
);
/// `temporal_reads_behind_seconds`.
pub const BUDGET_BEHIND: Spec = gauge(
    "taskqueue_operator_temporal_reads_behind_seconds",
    &["temporal_address", "temporal_namespace", "source"],
    "How long the most overdue read has been due, by source: backlog or slots. If it stays above \
     zero, the budget is too small.",
);

/// Every metric.
pub const ALL: &[Spec] = &[
    BUILD_INFO,
    LEADER,
    CACHES_SYNCED,
    NAMESPACE_WATCHED,
    WATCH_ERRORS,
    RECONCILE,
    RECONCILE_DURATION,
    RUNNING,
    QUEUE_DEPTH,
    QUEUE_LONGEST,
    QUEUE_WAIT,
    RECONCILE_ERRORS,
    WRITES,
    KUBERNETES_REQUESTS,
    KUBERNETES_DURATION,
    CONDITION,
    FLEET_INFO,
    CERTIFICATE_EXPIRY,
    DESIRED,
    CURRENT,
    READY,
    TERMINATING,
    DRAIN_OVERDUE,
    MIN,
    MAX,
    WAIT_TARGET,
    BACKLOG,
    BACKLOG_BY_PRIORITY,
    BACKLOG_AGE,
    ADD_RATE,
    DISPATCH_RATE,
    RATE_LIMITED,
    SLOTS_USED,
    SLOTS_AVAILABLE,
    SERVICE_TIME,
    SERVICE_TIME_LEARNED,
    BLIND_PODS,
    HELD_POD,
    POD_SCRAPES,
    DEMAND,
    READING_AGE,
    READING_UNKNOWN,
    FINDING,
    WORKER_FAULT,
    DECISIONS,
    CHANGES,
    TEMPORAL_REQUESTS,
    TEMPORAL_DURATION,
    BUDGET_LIMIT,
    BUDGET_AVAILABLE,
    BUDGET_BEHIND,
    process::CPU,
    process::RESIDENT,
    process::VIRTUAL,
    process::THREADS,
    process::OPEN_FILES,
    process::MAX_FILES,
    process::START,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        for spec in ALL {
            let ours = spec.name.starts_with("taskqueue_operator_");
            let common = process::ALL.contains(spec);
            assert!(ours != common, "{}", spec.name);
            assert_eq!(
                spec.kind == Kind::Counter,
                spec.name.ends_with("_total"),
                "{}",
                spec.name
            );
            assert!(spec.help.ends_with('.'), "{}", spec.name);
            let same = ALL.iter().filter(|other| other.name == spec.name).count();
            assert_eq!(same, 1, "{} is listed twice", spec.name);
        }
    }
}
