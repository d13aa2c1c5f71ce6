//! Facts from a Deployment and the pods of its queue together: replicas, rollout, trouble. Pure:
//! objects from the cache in, facts out.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use taskqueue_api::{Reason, render};
use taskqueue_scaling::{PodPhase, Replicas};

use crate::not_ready::NotReady;
use crate::observe::pods::Pods;
use crate::observe::targets::Target;
use crate::owned::spec_replicas;

/// The replicas of a queue, as input of a decision. `applying`: this pass changes the Deployment,
/// which may start a rollout.
pub fn replicas(
    requested: u32,
    deployment: Option<&Deployment>,
    pods: &Pods,
    applying: bool,
) -> Replicas {
    let count = |phase| {
        let number = pods.live.iter().filter(|pod| pod.phase == phase).count();
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let ready = count(PodPhase::Ready);
    let not_ready = [PodPhase::Pending, PodPhase::Starting, PodPhase::Unready].map(count);
    let starting = not_ready.into_iter().fold(0, u32::saturating_add);
    let to_be_made = requested.saturating_sub(ready.saturating_add(starting));
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let outdated = status.is_some_and(outdated);
    let counted = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
    let unseen = status.map_or(0, |status| {
        let of_ready = counted(status.ready_replicas).saturating_sub(ready);
        let of_all = counted(status.replicas).saturating_sub(ready.saturating_add(starting));
        of_ready.max(of_all)
    });
    Replicas {
        requested,
        ready,
        starting: starting.saturating_add(to_be_made),
        terminating: count(PodPhase::Terminating),
        unseen,
        rollout_in_progress: pods.replica_sets > 1
            || outdated
            || applying
            || drains_first(deployment, pods),
        by_ordinal: false,
        start_up: pods.start,
    }
}

/// The replicas of a workload that somebody else deploys, as input of a decision. Whether a rollout
/// is under way shows in its pods alone.
pub fn target_replicas(target: &Target, pods: &Pods) -> Replicas {
    let replicas = replicas(target.replicas, None, pods, false);
    let terminating = pods
        .live
        .iter()
        .filter(|pod| pod.phase == PodPhase::Terminating);
    // The status of a StatefulSet counts terminating pods too.
    let ended = if target.by_ordinal {
        0
    } else {
        terminating.count()
    };
    let seen = u32::try_from(pods.live.len().saturating_sub(ended)).unwrap_or(u32::MAX);
    Replicas {
        unseen: target.current.saturating_sub(seen),
        by_ordinal: target.by_ordinal,
        ..replicas
    }
}

/// The state of a Deployment's rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// All replicas have the current template, and all have been available.
    Complete,
    /// The first pods are starting.
    Starting,
    /// Pods of an earlier template are being replaced.
    Replacing,
    /// Pods of an earlier template remain, because somebody has paused the rollout.
    Paused,
}

/// The state of the rollout. `written` is the generation of the Deployment after our last write:
/// until the Deployment controller has observed it, the status describes the previous template.
pub fn rollout(deployment: Option<&Deployment>, pods: &Pods, written: Option<i64>) -> Rollout {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let observed = status.and_then(|status| status.observed_generation);
    let replaced = pods.replica_sets > 1
        || status.is_some_and(outdated)
        || observed
            .zip(written)
            .is_some_and(|(seen, ours)| seen < ours);
    if replaced || drains_first(deployment, pods) {
        let paused = deployment
            .and_then(|deployment| deployment.spec.as_ref()?.paused)
            .unwrap_or(false);
        return if paused {
            Rollout::Paused
        } else {
            Rollout::Replacing
        };
    }
    if status.is_some_and(underway) || (observed.is_none() && written.is_some()) {
        Rollout::Starting
    } else {
        Rollout::Complete
    }
}

/// Whether a rollout has begun and not ended. A change of the replicas after its end does not bring
/// these reasons back.
fn underway(status: &DeploymentStatus) -> bool {
    condition(status, "Progressing").is_some_and(|progressing| {
        progressing.status == "True"
            && matches!(
                progressing.reason.as_deref(),
                Some("NewReplicaSetCreated" | "FoundNewReplicaSet" | "ReplicaSetUpdated")
            )
    })
}

/// Whether a rollout that ends old pods before it starts new ones waits for old ones to drain. The
/// numbers in the status do not show that: draining pods are no longer counted, and the new ones do
/// not exist yet.
fn drains_first(deployment: Option<&Deployment>, pods: &Pods) -> bool {
    let Some(deployment) = deployment.filter(|_| pods.drains()) else {
        return false;
    };
    let strategy = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.strategy.as_ref());
    let surges = strategy.is_none_or(render::surges);
    let begun = || deployment.status.as_ref().is_some_and(underway);
    !surges && (begun() || asks_for_no_pod(deployment))
}

/// Whether the Deployment controller asks for no pod although there should be replicas. By the
/// strategy Recreate it reports a rollout only once the old pods are gone. Until then the
/// conditions are those of the rollout before.
fn asks_for_no_pod(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else {
        return false;
    };
    let none = |count: Option<i32>| count.unwrap_or(0) == 0;
    spec_replicas(deployment) > 0
        && status.observed_generation == deployment.metadata.generation
        && none(status.replicas)
        && none(status.unavailable_replicas)
}

/// Whether pods of an earlier template remain.
fn outdated(status: &DeploymentStatus) -> bool {
    status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0)
}

fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind)
}

/// Why pods cannot be created or a rollout is stuck, as the Deployment itself reports it.
/// `draining`: pods of the fleet are draining, and a quota counts them until they are gone.
pub fn trouble(deployment: &Deployment, draining: bool) -> Option<NotReady> {
    let status = deployment.status.as_ref()?;
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let refused = condition(status, "ReplicaFailure").filter(|failure| failure.status == "True");
    if let Some(failure) = refused {
        let message = failure.message.as_deref();
        let message = message.unwrap_or("no reason was given");
        // Cuts off the name of the pod that was never created.
        let message = message
            .split_once(" is forbidden: ")
            .map_or(message, |(_, message)| message);
        let remedy = if !message.contains("quota") {
            "change what the admission rule rejects"
        } else if draining {
            "draining pods of this fleet count until they are gone, so there may be room then; \
             raise the quota if new pods must not wait for that"
        } else {
            "raise the quota"
        };
        return Some(NotReady {
            reason: Reason::PodsRefused,
            message: format!(
                "Kubernetes refuses to create pods of Deployment {name}: {message}; {remedy}"
            ),
        });
    }
    let stalled = condition(status, "Progressing").filter(|progressing| {
        progressing.status == "False"
            && progressing.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    stalled.map(|_| NotReady {
        reason: Reason::RolloutStalled,
        message: format!(
            "the rollout of Deployment {name} makes no progress; see kubectl describe deployment \
             {name} and its new pods"
        ),
    })
}
