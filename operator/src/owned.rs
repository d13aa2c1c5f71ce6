//! Facts about the objects that the operator owns: whose an object is, how many replicas a
//! Deployment asks for and who set them, whether its creation is finished. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use kube::core::ObjectMeta;
use taskqueue_api::{FleetKey, well_known};

/// The field manager of the replicas. That of everything else is [`well_known::MANAGER`].
pub const REPLICAS_MANAGER: &str = "taskqueue-operator/scaling";
/// The annotation by which a ReplicaSet ranks its pods when it removes some.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// An annotation that a Deployment carries only while it is being created: it is owned by the
/// manager of the replicas alone, and goes when that manager gives up everything but the replicas.
/// Where it is found, a creation was interrupted and has to be finished.
pub const CREATING: &str = "taskqueue.dev/creating";

/// The replicas that a Deployment asks for. The API server always fills them in.
pub fn spec_replicas(deployment: &Deployment) -> u32 {
    let replicas = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    u32::try_from(replicas).unwrap_or(0)
}

/// The field manager that set the replicas that a Deployment asks for: ours, if it is one of
/// several that set the same number. The cache keeps no other managed fields.
pub fn replicas_set_by(deployment: &Deployment) -> Option<&str> {
    let managers = deployment.metadata.managed_fields.iter().flatten();
    let managers = managers.filter_map(|entry| Some((&entry.time, entry.manager.as_deref()?)));
    let last = managers
        .max_by_key(|(time, name)| (*name == REPLICAS_MANAGER, time.as_ref().map(|time| time.0)));
    last.map(|(_, name)| name)
}

/// Whether the object with this metadata belongs to the fleet: by uid, since a name can be used
/// again.
pub fn owned_by(metadata: &ObjectMeta, fleet: &FleetKey) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == fleet.uid)
}

/// Whether the creation of a Deployment was begun and not finished.
pub fn is_being_created(existing: &Deployment) -> bool {
    existing
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, _)| key == CREATING)
}

/// Whether a Deployment has a PodDisruptionBudget beside it.
pub fn has_budget(existing: &Deployment) -> bool {
    let mut annotations = existing.metadata.annotations.iter().flatten();
    annotations.any(|(key, _)| key == well_known::BUDGET_ANNOTATION)
}
