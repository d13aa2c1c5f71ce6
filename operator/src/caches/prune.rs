//! Drops the fields that nobody reads (managed fields, pod specs) before an object is cached: they
//! take most of the memory. Pure.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use kube::core::ObjectMeta;

use crate::observe::drains::is_hooked;

/// Keeps of a pod only what [`crate::observe`] reads.
pub fn prune_pod(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    pod.spec = pod.spec.take().map(|spec| PodSpec {
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        containers: spec.containers.into_iter().filter(is_hooked).collect(),
        ..PodSpec::default()
    });
    if let Some(status) = pod.status.as_mut() {
        // An init container that has succeeded, or a sidecar that runs, is no sign of trouble.
        if let Some(containers) = status.init_container_statuses.as_mut() {
            containers.retain(|container| !is_well(container));
        }
        status.ephemeral_container_statuses = None;
        status.pod_ips = None;
        status.host_ips = None;
    }
}

/// Whether a container has succeeded, or runs and has never been restarted.
fn is_well(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    let runs = state.is_some_and(|state| state.running.is_some());
    ended.is_some_and(|ended| ended.exit_code == 0) || (runs && container.restart_count == 0)
}

/// Keeps of an autoscaler only what it scales, and who owns it.
pub(super) fn prune_autoscaler(autoscaler: &mut HorizontalPodAutoscaler) {
    let metadata = &mut autoscaler.metadata;
    (metadata.managed_fields, metadata.annotations) = (None, None);
    let spec = &mut autoscaler.spec;
    (spec.behavior, spec.metrics) = (None, None);
    autoscaler.status = None;
}

/// Keeps of a Deployment's managed fields only who set its replicas, and when.
pub fn keep_owners_of_replicas(metadata: &mut ObjectMeta) {
    let Some(entries) = metadata.managed_fields.as_mut() else {
        return;
    };
    entries.retain_mut(|entry| {
        let fields = entry.fields_v1.take();
        fields.is_some_and(|fields| fields.0["f:spec"].get("f:replicas").is_some())
    });
    entries.shrink_to_fit();
}
