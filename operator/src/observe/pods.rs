//! What the pods of a queue say. Pure: objects from the cache in, facts out.

mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use taskqueue_api::Reason;
use taskqueue_scaling::{PodPhase, Replicas};
use taskqueue_temporal::LivePod;

use crate::not_ready::NotReady;
use crate::observe::drains::{Draining, WorkerEnd};

/// The label that the Deployment controller puts on pods: one value per ReplicaSet.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// The pods of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pods {
    /// Those that exist and have not ended.
    pub live: Vec<LivePod>,
    /// How many ReplicaSets the pods that are not terminating belong to.
    pub replica_sets: usize,
    /// Pods that were told to stop and are still there.
    pub draining: Vec<Draining>,
    /// Those that have gone since the last pass, as far as it is known how their workers ended.
    pub gone: Vec<Draining>,
    /// Why pods cannot start, if some cannot: the worst of the newest template, or else of the ones before it.
    pub trouble: Option<NotReady>,
    /// Ready pods with a container that keeps ending and was started again a moment ago.
    pub relapsing: u32,
    /// The annotation that ranks pods for removal, of those that carry it.
    pub costs: Vec<(String, String)>,
    /// Where the pods can be reached, of those that have an address yet.
    pub addresses: BTreeMap<String, IpAddr>,
    /// How long the quickest of the ready pods took to become ready, in whole seconds.
    pub start: Option<Duration>,
}

/// Reads the pods of one queue, whose worker is the container of that name.
pub fn read(pods: &[Arc<Pod>], worker: &str, now: Timestamp) -> Pods {
    let newest = newest_replica_set(pods);
    let mut troubles: Vec<(bool, NotReady)> = Vec::new();
    let mut live: Vec<LivePod> = Vec::new();
    let mut replica_sets = BTreeSet::new();
    let mut facts = Pods::default();
    for pod in pods {
        let Some(name) = &pod.metadata.name else {
            continue;
        };
        facts.draining.extend(Draining::of(pod));
        let Some(phase) = phase(pod, worker) else {
            continue;
        };
        live.push(LivePod {
            name: name.clone(),
            phase,
        });
        facts
            .addresses
            .extend(address(pod).map(|address| (name.clone(), address)));
        if phase == PodPhase::Terminating {
            continue;
        }
        // A pod without it is of no ReplicaSet: somebody has made it by hand.
        replica_sets.extend(label(pod, TEMPLATE_HASH));
        if let Some(cost) = annotation(pod, DELETION_COST) {
            facts.costs.push((name.clone(), cost.to_owned()));
        }
        if phase == PodPhase::Ready {
            facts.start = facts.start.into_iter().chain(start(pod)).min();
        }
        let trouble = trouble::of(pod, phase, now);
        if phase == PodPhase::Ready && trouble.is_some() {
            facts.relapsing = facts.relapsing.saturating_add(1);
        }
        // A rollout replaces the pods of an earlier template: what is wrong with them was answered by it.
        let replaced = label(pod, TEMPLATE_HASH) != newest;
        troubles.extend(trouble.map(|trouble| (replaced, trouble)));
    }
    let worst = troubles
        .into_iter()
        .min_by(|(a_replaced, a), (b_replaced, b)| {
            a_replaced
                .cmp(b_replaced)
                .then_with(|| trouble::order(a, b))
        });
    facts.trouble = worst.map(|(_, trouble)| trouble);
    live.sort_by(|a, b| a.name.cmp(&b.name));
    facts.costs.sort();
    Pods {
        live,
        replica_sets: replica_sets.len(),
        ..facts
    }
}

/// The template hash of the pod that was created last.
fn newest_replica_set(pods: &[Arc<Pod>]) -> Option<&str> {
    let created = pods.iter().filter_map(|pod| {
        let at = pod.metadata.creation_timestamp.as_ref()?.0;
        Some((at, label(pod, TEMPLATE_HASH)?))
    });
    created.max().map(|(_, hash)| hash)
}

/// The annotation by which a ReplicaSet ranks its pods when it removes some.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The replicas of a queue, for a decision. `applying` says that this pass changes the Deployment,
/// which may start a rollout.
pub fn replicas(
    asked: u32,
    deployment: Option<&Deployment>,
    pods: &Pods,
    applying: bool,
) -> Replicas {
    let count = |phase| {
        let number = pods.live.iter().filter(|pod| pod.phase == phase).count();
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let ready = count(PodPhase::Ready);
    let starting = count(PodPhase::Starting).saturating_add(count(PodPhase::Unready));
    let to_be_made = asked.saturating_sub(ready.saturating_add(starting));
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let outdated = status.is_some_and(outdated);
    let counted = |number: Option<i32>| u32::try_from(number.unwrap_or(0)).unwrap_or(0);
    let unseen = status.map_or(0, |status| {
        let of_ready = counted(status.ready_replicas).saturating_sub(ready);
        let of_all = counted(status.replicas).saturating_sub(ready.saturating_add(starting));
        of_ready.max(of_all)
    });
    Replicas {
        asked,
        ready,
        starting: starting.saturating_add(to_be_made),
        terminating: count(PodPhase::Terminating),
        unseen,
        rollout_in_progress: pods.replica_sets > 1 || outdated || applying,
    }
}

/// Where the rollout of a Deployment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// Every replica is of the present template, and all of them have been available.
    Complete,
    /// The first pods are on their way.
    Starting,
    /// Pods of an earlier template are being replaced.
    Replacing,
    /// Pods of an earlier template stay, because somebody has paused the rollout.
    Paused,
}

/// Where the rollout is. `written` is the generation of the Deployment after our last write to it: until
/// the Deployment controller has seen that one, its numbers are about the template before.
pub fn rollout(deployment: Option<&Deployment>, pods: &Pods, written: Option<i64>) -> Rollout {
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let observed = status.and_then(|status| status.observed_generation);
    let replaced = pods.replica_sets > 1
        || status.is_some_and(outdated)
        || observed
            .zip(written)
            .is_some_and(|(seen, ours)| seen < ours);
    if replaced {
        let paused = deployment
            .and_then(|deployment| deployment.spec.as_ref()?.paused)
            .unwrap_or(false);
        return if paused {
            Rollout::Paused
        } else {
            Rollout::Replacing
        };
    }
    // Once a rollout has ended, a change of the replicas leaves this reason alone.
    let underway = status
        .and_then(|status| deployment_condition(status, "Progressing"))
        .is_some_and(|progressing| {
            progressing.status == "True"
                && matches!(
                    progressing.reason.as_deref(),
                    Some("NewReplicaSetCreated" | "FoundNewReplicaSet" | "ReplicaSetUpdated")
                )
        });
    if underway || (observed.is_none() && written.is_some()) {
        Rollout::Starting
    } else {
        Rollout::Complete
    }
}

/// Whether pods of an earlier template are left.
fn outdated(status: &DeploymentStatus) -> bool {
    status.updated_replicas.unwrap_or(0) < status.replicas.unwrap_or(0)
}

fn deployment_condition<'a>(
    status: &'a DeploymentStatus,
    kind: &str,
) -> Option<&'a DeploymentCondition> {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind)
}

/// What the Deployment itself says about pods that cannot be made, or a rollout that is stuck.
/// `draining` says that pods of the fleet are on their way out, which a quota counts until they are gone.
pub fn deployment_trouble(deployment: &Deployment, draining: bool) -> Option<NotReady> {
    let status = deployment.status.as_ref()?;
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let refused =
        deployment_condition(status, "ReplicaFailure").filter(|failure| failure.status == "True");
    if let Some(failure) = refused {
        let said = failure.message.as_deref();
        let said = said.unwrap_or("no reason was given");
        // Before that stands the name of a pod that was never made.
        let said = said
            .split_once(" is forbidden: ")
            .map_or(said, |(_, said)| said);
        let way_out = if !said.contains("quota") {
            "change what the admission rule objects to"
        } else if draining {
            "pods of this fleet that drain count until they are gone, and then there may be room; raise the quota if new pods should not wait for that"
        } else {
            "raise the quota"
        };
        return Some(NotReady {
            reason: Reason::PodsRefused,
            message: format!(
                "Kubernetes refuses to create pods of Deployment {name}: {said}; {way_out}"
            ),
        });
    }
    let stalled = deployment_condition(status, "Progressing").filter(|progressing| {
        progressing.status == "False"
            && progressing.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    stalled.map(|_| NotReady {
        reason: Reason::RolloutStalled,
        message: format!(
            "the rollout of Deployment {name} makes no progress; kubectl describe deployment {name} and its new pods say why"
        ),
    })
}

/// Where a pod is in its life; `None` once it has ended. A sidecar that outlives the worker of a pod that was
/// told to stop works on no task.
fn phase(pod: &Pod, worker: &str) -> Option<PodPhase> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let ended = WorkerEnd::of(pod).is_some();
        return (!ended).then_some(PodPhase::Terminating);
    }
    let ready = condition(pod, "Ready");
    Some(if ready.is_some_and(|ready| ready.status == "True") {
        PodPhase::Ready
    } else if ready.is_some_and(|ready| was_ready(pod, worker, ready)) {
        PodPhase::Unready
    } else {
        PodPhase::Starting
    })
}

/// Whether a pod that is not ready was so since the worker in it was started. The kubelet says that a
/// pod is not ready before it starts any container, and leaves the time of that alone until the pod has
/// been ready: a later time is the end of a readiness. A worker that was started after it is new.
fn was_ready(pod: &Pod, worker: &str, ready: &PodCondition) -> bool {
    let mut containers = pod
        .status
        .iter()
        .filter_map(|status| status.container_statuses.as_ref())
        .flatten();
    let worker = containers.find(|container| container.name == worker);
    let running = worker.and_then(|worker| worker.state.as_ref()?.running.as_ref());
    let started = running.and_then(|running| running.started_at.as_ref());
    started
        .zip(ready.last_transition_time.as_ref())
        .is_some_and(|(started, changed)| changed.0 > started.0)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|condition| condition.type_ == kind)
}

/// How long a ready pod took to become ready. One that has restarted, or took too long for a start,
/// became ready again, and says nothing about it.
fn start(pod: &Pod) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_mins(5);
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    if containers.any(|container| container.restart_count > 0) {
        return None;
    }
    let made = pod.metadata.creation_timestamp.as_ref()?.0;
    let ready = condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
    let took = Duration::try_from(ready.duration_since(made)).ok()?;
    (took <= LONGEST).then_some(took)
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

#[cfg(test)]
mod tests;
