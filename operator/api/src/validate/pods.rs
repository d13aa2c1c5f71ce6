//! Checks the user's pod template and merges in what differs for one queue. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec};

use crate::fleet::WorkerPods;
use crate::validate::findings::Findings;
use crate::well_known::{
    OWN_PREFIX, RESERVED_VARIABLES, RESERVED_VOLUMES, SECRETS_FOLDER, WORKER_CONTAINER,
};
use crate::worker::QueueSpec;

/// Checks the template of the fleet and takes the container `worker` out of it. If there is none,
/// adds a finding and continues with an empty container, so that the other checks run.
pub(super) fn parse(template: &PodTemplateSpec, findings: &mut Findings) -> WorkerPods {
    let metadata = template.metadata.clone().unwrap_or_default();
    let labels = metadata.labels.unwrap_or_default();
    let annotations = metadata.annotations.unwrap_or_default();
    for (kind, map) in [("labels", &labels), ("annotations", &annotations)] {
        for key in map.keys().filter(|key| key.starts_with(OWN_PREFIX)) {
            findings.add(
                format!("spec.template.metadata.{kind}[{key}]"),
                format!("must not start with {OWN_PREFIX}, which is reserved for the operator"),
            );
        }
    }
    let mut pod = template.spec.clone().unwrap_or_default();
    check_pod(&pod, findings);
    let position = pod
        .containers
        .iter()
        .position(|container| container.name == WORKER_CONTAINER);
    let worker = if let Some(position) = position {
        pod.containers.remove(position)
    } else {
        findings.add(
            "spec.template.spec.containers",
            format!(
                "must have one named {WORKER_CONTAINER}, which receives the connection and \
                     the task queue"
            ),
        );
        Container {
            name: WORKER_CONTAINER.to_owned(),
            ..Container::default()
        }
    };
    check_worker(&worker, findings);
    WorkerPods {
        labels,
        annotations,
        worker,
        position: position.unwrap_or_default(),
        pod,
    }
}

fn check_pod(pod: &PodSpec, findings: &mut Findings) {
    let found_by_name = "must not be set: the operator finds the pod of a worker by its host name";
    let refused = [
        ("hostname", pod.hostname.is_some(), found_by_name),
        (
            "hostnameOverride",
            pod.hostname_override.is_some(),
            found_by_name,
        ),
        (
            "hostNetwork",
            pod.host_network == Some(true),
            "must not be true: the operator finds the pod of a worker by its host name",
        ),
        (
            "setHostnameAsFQDN",
            pod.set_hostname_as_fqdn == Some(true),
            "must not be true: the operator finds the pod of a worker by its host name",
        ),
        (
            "terminationGracePeriodSeconds",
            pod.termination_grace_period_seconds.is_some(),
            "must not be set: set drain.gracePeriod, which sets the grace period of both the pod \
             and the worker",
        ),
        (
            "activeDeadlineSeconds",
            pod.active_deadline_seconds.is_some(),
            "must not be set: a worker runs until the operator removes it",
        ),
        (
            "ephemeralContainers",
            pod.ephemeral_containers.is_some(),
            "must not be set: kubectl debug adds them to running pods",
        ),
        (
            "restartPolicy",
            pod.restart_policy
                .as_deref()
                .is_some_and(|policy| policy != "Always"),
            "must be Always or left out: a worker runs until the operator removes it",
        ),
    ];
    for (field, _, message) in refused.into_iter().filter(|(_, wrong, _)| *wrong) {
        findings.add(format!("spec.template.spec.{field}"), message);
    }
    for volume in pod.volumes.iter().flatten() {
        if RESERVED_VOLUMES.contains(&volume.name.as_str()) {
            findings.add(
                format!("spec.template.spec.volumes[{}].name", volume.name),
                "is reserved for a volume of the operator; choose another name",
            );
        }
    }
    let containers = pod
        .containers
        .iter()
        .chain(pod.init_containers.iter().flatten());
    for name in repeated(containers.map(|container| container.name.as_str())) {
        findings.add(
            format!("spec.template.spec.containers[{name}]"),
            "is used twice; names of containers and init containers must be unique",
        );
    }
}

fn check_worker(worker: &Container, findings: &mut Findings) {
    let path = format!("spec.template.spec.containers[{WORKER_CONTAINER}]");
    check_env(
        worker.env.as_deref().unwrap_or_default(),
        &format!("{path}.env"),
        findings,
    );
    for mount in worker.volume_mounts.iter().flatten() {
        let inside = mount.mount_path.trim_end_matches('/');
        if inside == SECRETS_FOLDER || inside.starts_with(&format!("{SECRETS_FOLDER}/")) {
            findings.add(
                format!("{path}.volumeMounts[{}].mountPath", mount.name),
                format!("must not be in {SECRETS_FOLDER}, where the operator mounts credentials"),
            );
        }
    }
}

/// Finds reserved and repeated variables. Of two with the same name the kubelet would silently take
/// the last.
fn check_env(env: &[EnvVar], path: &str, findings: &mut Findings) {
    for name in env.iter().map(|variable| variable.name.as_str()) {
        if RESERVED_VARIABLES.contains(&name) {
            findings.add(
                format!("{path}[{name}]"),
                format!(
                    "{name} is set by the operator from connection, taskQueue and \
                     drain.gracePeriod; remove it here"
                ),
            );
        }
    }
    for name in repeated(env.iter().map(|variable| variable.name.as_str())) {
        findings.add(
            format!("{path}[{name}]"),
            format!("{name} is set twice; keep one"),
        );
    }
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

/// The pods of one queue: the template with the queue's changes.
pub(super) fn for_queue(
    template: &WorkerPods,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> WorkerPods {
    check_env(
        &queue.env,
        &format!("spec.queues[{}].env", queue.name),
        findings,
    );
    let mut pods = template.clone();
    if queue.resources.is_some() {
        pods.worker.resources.clone_from(&queue.resources);
    }
    merge_env(&mut pods.worker, &queue.env);
    if !queue.node_selector.is_empty() {
        let mut selector = pods.pod.node_selector.take().unwrap_or_default();
        selector.extend(queue.node_selector.clone());
        pods.pod.node_selector = Some(selector);
    }
    if !queue.tolerations.is_empty() {
        let mut tolerations = pods.pod.tolerations.take().unwrap_or_default();
        tolerations.extend(queue.tolerations.clone());
        pods.pod.tolerations = Some(tolerations);
    }
    if queue.priority_class_name.is_some() {
        pods.pod
            .priority_class_name
            .clone_from(&queue.priority_class_name);
    }
    pods
}

/// Changes variables. One that the template has keeps its position, since others may refer to it.
fn merge_env(worker: &mut Container, changes: &[EnvVar]) {
    if changes.is_empty() {
        return;
    }
    let mut env = worker.env.take().unwrap_or_default();
    for change in changes {
        match env.iter_mut().find(|variable| variable.name == change.name) {
            Some(variable) => *variable = change.clone(),
            None => env.push(change.clone()),
        }
    }
    worker.env = Some(env);
}
