//! Facts about the objects that the operator owns: who owns an object, how many replicas a
//! Deployment has in its spec and who set them, whether its creation is finished. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use kube::core::ObjectMeta;
use taskqueue_api::{FleetKey, well_known};

/// The field manager of the replicas. [`well_known::MANAGER`] manages all other fields.
pub const REPLICAS_MANAGER: &str = "taskqueue-operator/scaling";
/// The annotation by which a ReplicaSet ranks its pods for removal.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// An annotation that a Deployment carries only while it is being created. Only the replicas
/// manager owns it, so it disappears when that manager gives up all fields but the replicas. A
/// Deployment that carries it has an interrupted creation, which must be finished.
pub const CREATING: &str = "taskqueue.dev/creating";

/// The replicas in the spec of a Deployment. The API server always fills them in.
pub fn spec_replicas(deployment: &Deployment) -> u32 {
    let replicas = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    u32::try_from(replicas).unwrap_or(0)
}

/// The field manager that set the replicas of a Deployment: ours if it is among those that set
/// them, else the latest one. The cache keeps managed fields of the replicas only.
pub fn replicas_set_by(deployment: &Deployment) -> Option<&str> {
    let managers = deployment.metadata.managed_fields.iter().flatten();
    let managers = managers.filter_map(|entry| Some((&entry.time, entry.manager.as_deref()?)));
    let last = managers
        .max_by_key(|(time, name)| (*name == REPLICAS_MANAGER, time.as_ref().map(|time| time.0)));
    last.map(|(_, name)| name)
}

/// Whether the fleet owns the object with this metadata. Compares uids, since a name can be reused.
pub fn owned_by(metadata: &ObjectMeta, fleet: &FleetKey) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == fleet.uid)
}

/// Whether the creation of a Deployment was started and not finished.
pub fn is_being_created(existing: &Deployment) -> bool {
    existing
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key == CREATING)
}

/// Whether a Deployment has a PodDisruptionBudget.
pub fn has_budget(existing: &Deployment) -> bool {
    let mut annotations = existing.metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == well_known::BUDGET_ANNOTATION)
}
