//! What else scales the workload of a queue: an autoscaler or another fleet. Pure: reads caches.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Resource as _;
use kube::runtime::reflector::ObjectRef;
use taskqueue_api::{Fleet, GuardedFleet, Queue, ScaleTarget, well_known};

use crate::caches::Caches;

/// What else scales the workload of a queue, by kind and name. Of two fleets that name the same
/// workload, the newer one gives way; `created` is when the object of this fleet was created.
pub fn competing_scaler(
    caches: &Caches,
    fleet: &Fleet,
    queue: &Queue,
    created: Timestamp,
) -> Option<String> {
    let own = || ScaleTarget {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: queue.workload_name.clone(),
    };
    let workload = queue.target.clone().unwrap_or_else(own);
    let namespace = &fleet.key.namespace;
    let scaler = caches
        .autoscalers
        .find(|autoscaler| {
            autoscaler.metadata.namespace.as_ref() == Some(namespace)
                && scales(autoscaler, &workload)
        })
        .map(|autoscaler| name_of(&autoscaler));
    if queue.target.is_none() {
        return scaler;
    }
    scaler
        .or_else(|| owning_fleet(caches, namespace, &workload))
        .or_else(|| older_fleet_with_target(caches, fleet, &workload, created))
}

/// Whether an autoscaler scales a workload.
fn scales(autoscaler: &HorizontalPodAutoscaler, workload: &ScaleTarget) -> bool {
    let named = &autoscaler.spec.scale_target_ref;
    let version = named.api_version.as_deref().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    named.name == workload.name && named.kind == workload.kind && group == workload.group
}

/// An autoscaler by kind and name. That of KEDA belongs to a ScaledObject, which would create it
/// again.
fn name_of(autoscaler: &HorizontalPodAutoscaler) -> String {
    let mut owners = autoscaler.metadata.owner_references.iter().flatten();
    if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
        return format!("{} {}", owner.kind, owner.name);
    }
    let name = autoscaler.metadata.name.as_deref().unwrap_or_default();
    format!("HorizontalPodAutoscaler {name}")
}

/// The fleet that made a Deployment.
fn owning_fleet(caches: &Caches, namespace: &str, workload: &ScaleTarget) -> Option<String> {
    if !workload.is_deployment() {
        return None;
    }
    let made = caches
        .deployments
        .get(&ObjectRef::new(&workload.name).within(namespace))?;
    let fleet = made
        .metadata
        .labels
        .as_ref()?
        .get(well_known::WORKER_LABEL)?;
    Some(format!("TaskQueueWorker {fleet}"))
}

/// An older fleet that names the same workload; of equally old ones, the first by name.
fn older_fleet_with_target(
    caches: &Caches,
    fleet: &Fleet,
    workload: &ScaleTarget,
    created: Timestamp,
) -> Option<String> {
    let key = &fleet.key;
    let names = |other: &GuardedFleet| {
        other.0.as_ref().is_ok_and(|other| {
            let mut targets = other.spec.queues.iter().flat_map(|q| &q.scale_target_ref);
            targets.any(|target| ScaleTarget::from(target).is_same(workload))
        })
    };
    let age = |other: &GuardedFleet| {
        let metadata = other.meta();
        let created = metadata.creation_timestamp.as_ref();
        let created = created.map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let name = metadata.name.clone().unwrap_or_default();
        let here = metadata.namespace.as_ref() == Some(&key.namespace);
        (here && name != key.name).then_some((created, name))
    };
    let mine = (created, key.name.clone());
    let others = caches.fleets.state_filter(names);
    let oldest = others.iter().filter_map(|other| age(other)).min();
    let oldest = oldest.filter(|oldest| *oldest < mine);
    oldest.map(|(_, name)| format!("TaskQueueWorker {name}"))
}
