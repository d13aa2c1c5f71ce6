//! Parses a `TaskQueueWorker` into a [`Fleet`] that cannot be invalid, or reports everything that
//! is wrong. Pure.
//!
//! The schema and its rules refuse most mistakes at `kubectl apply`. This module repeats what
//! matters and adds what they cannot check, because a definition may be older than the operator,
//! and because rendering must not fail.

mod connection;
mod counts;
mod deployment;
mod findings;
pub mod no_proxy;
mod pods;
mod policy;
mod schedule;
mod target;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use taskqueue_scaling as scaling;

pub use connection::connection;

use crate::fleet::{
    ConnectionSource, DisruptionBudget, Fleet, FleetKey, Invalid, Queue, WorkerPods, grace_seconds,
};
use crate::name::{deployment_name, is_dns_label};
use crate::validate::findings::Findings;
use crate::well_known::PAUSED_ANNOTATION;
use crate::worker::{
    DisruptionBudgetSpec, GRACE_PERIOD, QueueSpec, TaskQueueWorker, TaskQueueWorkerSpec, TaskType,
};

/// The most queues of a fleet.
const MAX_QUEUES: usize = 100;
/// The longest name of a task queue that Temporal takes, in bytes.
const MAX_TASK_QUEUE: usize = 1000;

/// Parses a resource. The fleet is complete: every default filled in, every override applied.
pub fn validate(worker: &TaskQueueWorker) -> Result<Fleet, Vec<Invalid>> {
    let mut findings = Findings::default();
    let key = key(worker, &mut findings);
    let spec = &worker.spec;
    let connection = source(spec, &mut findings);
    if !GRACE_PERIOD.contains(spec.drain.grace_period) {
        findings.add("spec.drain.gracePeriod", GRACE_PERIOD.message());
    }
    let template = fleet_pods(spec, &mut findings);
    check_queues(&spec.queues, &mut findings);
    target::check_distinct(&spec.queues, &mut findings);
    deployment::check(spec, &mut findings);
    let paused = is_paused(&worker.metadata);
    let drain_grace_seconds = grace_seconds(spec.drain.grace_period);
    let queues: Vec<Queue> = spec
        .queues
        .iter()
        .map(|queue| Queue {
            name: queue.name.clone(),
            task_queue: task_queue(queue).to_owned(),
            task_types: task_types(queue),
            policy: policy(spec, queue, paused, &mut findings),
            schedule: schedule::windows(spec, queue, &mut findings),
            forecast: schedule::forecast(spec, queue, &mut findings),
            metrics_port: policy::metrics_port(spec, queue, &mut findings),
            workload_name: match &queue.scale_target_ref {
                Some(target) => target.name.clone(),
                None => deployment_name(&key.name, &queue.name),
            },
            deployment: deployment::resolve(spec, queue, drain_grace_seconds, &mut findings),
            pods: match (&queue.scale_target_ref, &spec.template) {
                (None, Some(whole)) => pods::for_queue(whole, &template, queue, &mut findings),
                _ => WorkerPods::default(),
            },
            target: target::parse(queue, &mut findings),
        })
        .collect();
    let disruption_budget = spec
        .disruption_budget
        .as_ref()
        .and_then(|budget| disruption_budget(budget, &mut findings));
    match connection {
        Some(connection) if findings.0.is_empty() => Ok(Fleet {
            key,
            generation: worker.metadata.generation.unwrap_or_default(),
            connection,
            queues,
            drain_grace_seconds,
            disruption_budget,
            protect_busy_pods: spec.drain.protect_busy_pods,
            paused,
        }),
        _ => Err(findings.0),
    }
}

/// The pod template of the fleet, which only queues without a target need.
fn fleet_pods(spec: &TaskQueueWorkerSpec, findings: &mut Findings) -> WorkerPods {
    if let Some(template) = &spec.template {
        return pods::parse(template, findings);
    }
    if spec
        .queues
        .iter()
        .any(|queue| queue.scale_target_ref.is_none())
    {
        findings.add(
            "spec.template",
            "is needed by each queue without scaleTargetRef",
        );
    }
    WorkerPods::default()
}

fn policy(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    paused: bool,
    findings: &mut Findings,
) -> scaling::Policy {
    let policy = policy::resolve(spec, queue, findings);
    let mode = if paused {
        scaling::Mode::Paused
    } else {
        policy.mode
    };
    scaling::Policy { mode, ..policy }
}

/// Whether an annotation pauses the fleet with this metadata.
pub fn is_paused(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(PAUSED_ANNOTATION))
        .is_some_and(|value| value != "false")
}

fn disruption_budget(
    spec: &DisruptionBudgetSpec,
    findings: &mut Findings,
) -> Option<DisruptionBudget> {
    const PATH: &str = "spec.disruptionBudget";
    let (field, value, budget): (_, _, fn(IntOrString) -> DisruptionBudget) =
        match (&spec.max_unavailable, &spec.min_available) {
            (Some(value), None) => ("maxUnavailable", value, DisruptionBudget::MaxUnavailable),
            (None, Some(value)) => ("minAvailable", value, DisruptionBudget::MinAvailable),
            (Some(_), Some(_)) | (None, None) => {
                findings.add(
                    PATH,
                    "exactly one of maxUnavailable and minAvailable must be set",
                );
                return None;
            }
        };
    counts::check(value, format!("{PATH}.{field}"), findings);
    Some(budget(value.clone()))
}

fn key(worker: &TaskQueueWorker, findings: &mut Findings) -> FleetKey {
    let key = FleetKey {
        namespace: worker.namespace().unwrap_or_default(),
        name: worker.name_any(),
        uid: worker.uid().unwrap_or_default(),
    };
    if !is_dns_label(&key.name) {
        findings.add(
            "metadata.name",
            "must be at most 63 lower-case letters, digits and hyphens, because it becomes a \
             label of the pods",
        );
    }
    for (field, value) in [
        ("metadata.namespace", &key.namespace),
        ("metadata.uid", &key.uid),
    ] {
        if value.is_empty() {
            findings.add(
                field,
                "is missing: this resource was not read from the API server",
            );
        }
    }
    key
}

fn source(spec: &TaskQueueWorkerSpec, findings: &mut Findings) -> Option<ConnectionSource> {
    match (&spec.connection, &spec.connection_ref) {
        (Some(inline), None) => match connection(inline, "spec.connection") {
            Ok(connection) => Some(ConnectionSource::Inline(Box::new(connection))),
            Err(invalid) => {
                findings.0.extend(invalid);
                None
            }
        },
        (None, Some(reference)) => Some(ConnectionSource::Reference(reference.clone())),
        (Some(_), Some(_)) | (None, None) => {
            findings.add(
                "spec.connection",
                "exactly one of connection and connectionRef must be set",
            );
            None
        }
    }
}

/// The name of a queue's task queue in Temporal.
fn task_queue(queue: &QueueSpec) -> &str {
    queue.task_queue.as_deref().unwrap_or(&queue.name)
}

fn task_types(queue: &QueueSpec) -> BTreeSet<scaling::TaskType> {
    match &queue.task_types {
        None => scaling::TaskType::ALL.into_iter().collect(),
        Some(types) => types
            .iter()
            .map(|task_type| match task_type {
                TaskType::Workflow => scaling::TaskType::Workflow,
                TaskType::Activity => scaling::TaskType::Activity,
                TaskType::Nexus => scaling::TaskType::Nexus,
            })
            .collect(),
    }
}

/// Checks the names of the queues, and the queues against each other.
fn check_queues(queues: &[QueueSpec], findings: &mut Findings) {
    if queues.is_empty() || queues.len() > MAX_QUEUES {
        findings.add(
            "spec.queues",
            format!("must have from 1 to {MAX_QUEUES} items"),
        );
    }
    let mut names = BTreeSet::new();
    let mut served: BTreeMap<(&str, scaling::TaskType), &str> = BTreeMap::new();
    for queue in queues {
        let path = format!("spec.queues[{}]", queue.name);
        if !is_dns_label(&queue.name) {
            findings.add(
                format!("{path}.name"),
                "must be at most 63 lower-case letters, digits and hyphens, with a letter or \
                 digit at both ends",
            );
        }
        if !names.insert(&queue.name) {
            findings.add(
                format!("{path}.name"),
                "is used twice; names must be unique in the fleet",
            );
            continue;
        }
        check_task_queue(&path, task_queue(queue), findings);
        let types = task_types(queue);
        if types.is_empty() {
            findings.add(
                format!("{path}.taskTypes"),
                "must name at least one of Workflow, Activity and Nexus, or be left out for all \
                 three",
            );
        }
        let clash = types
            .into_iter()
            .find_map(|task_type| served.insert((task_queue(queue), task_type), &queue.name));
        if let Some(other) = clash {
            findings.add(
                format!("{path}.taskQueue"),
                format!(
                    "queue {other} serves the same taskQueue and at least one of the same \
                     taskTypes, so the demand would be counted twice"
                ),
            );
        }
    }
}

fn check_task_queue(path: &str, task_queue: &str, findings: &mut Findings) {
    let message = if task_queue.is_empty() || task_queue.len() > MAX_TASK_QUEUE {
        Some(format!(
            "must have from 1 to {MAX_TASK_QUEUE} bytes in UTF-8"
        ))
    } else if task_queue.starts_with("/_sys/") {
        Some("must not start with /_sys/, which Temporal reserves".to_owned())
    } else if task_queue.contains('\0') {
        Some(
            "must not contain the character NUL, which an environment variable cannot hold"
                .to_owned(),
        )
    } else {
        None
    };
    if let Some(message) = message {
        findings.add(format!("{path}.taskQueue"), message);
    }
}

#[cfg(test)]
mod tests;
