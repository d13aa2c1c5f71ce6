//! Checks the user's pod template and merges in what differs for one queue. Pure.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec};

use crate::fleet::WorkerPods;
use crate::validate::findings::Findings;
use crate::validate::template;
use crate::well_known::{
    OWN_PREFIX, RESERVED_VARIABLES, RESERVED_VOLUMES, SECRETS_FOLDER, WORKER_CONTAINER,
};
use crate::worker::QueueSpec;

/// Where the template of the fleet is.
const FLEET: &str = "spec.template";

/// Checks the template of the fleet and takes the container `worker` out of it. If there is none,
/// adds a finding and continues with an empty container, so that the other checks run.
pub(super) fn parse(template: &PodTemplateSpec, findings: &mut Findings) -> WorkerPods {
    check(template, FLEET, findings);
    let pods = split(template.clone());
    if pods.is_none() {
        findings.add(
            format!("{FLEET}.spec.containers"),
            format!(
                "must have one named {WORKER_CONTAINER}, which receives the connection and \
                     the task queue"
            ),
        );
    }
    let pods = pods.unwrap_or_default();
    refuse_repeated(repeated_names(&pods), FLEET, findings);
    pods
}

/// Takes the container `worker` out of a template that has one.
fn split(template: PodTemplateSpec) -> Option<WorkerPods> {
    let metadata = template.metadata.unwrap_or_default();
    let mut pod = template.spec.unwrap_or_default();
    let mut containers = pod.containers.iter();
    let position = containers.position(|container| container.name == WORKER_CONTAINER)?;
    Some(WorkerPods {
        labels: metadata.labels.unwrap_or_default(),
        annotations: metadata.annotations.unwrap_or_default(),
        worker: pod.containers.remove(position),
        position,
        pod,
    })
}

/// Checks what a template may not set, whether it is whole or the part of a queue.
fn check(template: &PodTemplateSpec, path: &str, findings: &mut Findings) {
    let metadata = template.metadata.as_ref();
    let labels = metadata.and_then(|metadata| metadata.labels.as_ref());
    let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
    for (kind, map) in [("labels", labels), ("annotations", annotations)] {
        check_keys(
            map.into_iter().flatten(),
            &format!("{path}.metadata.{kind}"),
            findings,
        );
    }
    let Some(pod) = &template.spec else { return };
    check_pod(pod, &format!("{path}.spec"), findings);
    for container in &pod.containers {
        if container.name == WORKER_CONTAINER {
            check_worker(
                container,
                &format!("{path}.spec.containers[worker]"),
                findings,
            );
        }
    }
}

/// Finds labels or annotations that belong to the operator.
pub(super) fn check_keys<'a>(
    map: impl Iterator<Item = (&'a String, &'a String)>,
    path: &str,
    findings: &mut Findings,
) {
    for (key, _) in map.filter(|(key, _)| key.starts_with(OWN_PREFIX)) {
        findings.add(
            format!("{path}[{key}]"),
            format!("must not start with {OWN_PREFIX}, which is reserved for the operator"),
        );
    }
}

fn check_pod(pod: &PodSpec, path: &str, findings: &mut Findings) {
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
        findings.add(format!("{path}.{field}"), message);
    }
    for volume in pod.volumes.iter().flatten() {
        if RESERVED_VOLUMES.contains(&volume.name.as_str()) {
            findings.add(
                format!("{path}.volumes[{}].name", volume.name),
                "is reserved for a volume of the operator; choose another name",
            );
        }
    }
}

/// The names that more than one of the containers and init containers has.
fn repeated_names(pods: &WorkerPods) -> BTreeSet<&str> {
    let containers = std::iter::once(&pods.worker)
        .chain(&pods.pod.containers)
        .chain(pods.pod.init_containers.iter().flatten());
    repeated(containers.map(|container| container.name.as_str()))
}

fn refuse_repeated<'a>(
    names: impl IntoIterator<Item = &'a str>,
    path: &str,
    findings: &mut Findings,
) {
    for name in names {
        findings.add(
            format!("{path}.spec.containers[{name}]"),
            "is used twice; names of containers and init containers must be unique",
        );
    }
}

/// Finds containers of a queue's template that are neither those of the fleet's nor whole, as with
/// a typo in the name.
fn check_images(
    template: &PodTemplateSpec,
    fleet: &PodTemplateSpec,
    path: &str,
    findings: &mut Findings,
) {
    let (Some(pod), Some(changes)) = (&fleet.spec, &template.spec) else {
        return;
    };
    let init = |pod: &PodSpec| pod.init_containers.clone().unwrap_or_default();
    for (list, known, changes) in [
        (
            "containers",
            pod.containers.clone(),
            changes.containers.clone(),
        ),
        ("initContainers", init(pod), init(changes)),
    ] {
        let known: BTreeSet<&str> = known
            .iter()
            .map(|container| container.name.as_str())
            .collect();
        for container in &changes {
            let name = container.name.as_str();
            if container.image.is_none() && !known.contains(name) {
                findings.add(
                    format!("{path}.spec.{list}[{name}]"),
                    format!(
                        "needs an image, because the {list} of {FLEET} have none of this \
                             name; correct the name, or set an image"
                    ),
                );
            }
        }
    }
}

fn check_worker(worker: &Container, path: &str, findings: &mut Findings) {
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

/// The pods of one queue: those of the fleet, with the queue's template merged over them, and then
/// the queue's other fields.
pub(super) fn for_queue(
    fleet: &PodTemplateSpec,
    of_fleet: &WorkerPods,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> WorkerPods {
    let mut pods = match &queue.template {
        None => of_fleet.clone(),
        Some(template) => {
            let path = format!("spec.queues[{}].template", queue.name);
            check(template, &path, findings);
            check_images(template, fleet, &path, findings);
            // Without a container `worker` the fleet is refused already.
            let merged = split(template::merge(fleet, template)).unwrap_or_default();
            let twice = repeated_names(&merged);
            let known = repeated_names(of_fleet);
            refuse_repeated(twice.difference(&known).copied(), &path, findings);
            merged
        }
    };
    check_env(
        &queue.env,
        &format!("spec.queues[{}].env", queue.name),
        findings,
    );
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
