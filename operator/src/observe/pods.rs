//! Facts from the pods of a queue. Pure: objects from the cache in, facts out.

mod fields;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateRunning, Pod, PodCondition};
use taskqueue_api::well_known;
use taskqueue_scaling::PodPhase;
use taskqueue_temporal::LivePod;

use crate::not_ready::NotReady;
use crate::observe::drains::{Draining, WorkerEnd};
use crate::owned::DELETION_COST;

use fields::{address, annotation, condition, label};

/// The labels by which controllers tell pods of different templates apart: those of Deployments,
/// Argo Rollouts and StatefulSets. A pod has at most one of them.
const REVISION_LABELS: [&str; 3] = [
    "pod-template-hash",
    "rollouts-pod-template-hash",
    "controller-revision-hash",
];

/// The pods of one queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pods {
    /// Pods that exist and have not ended.
    pub live: Vec<LivePod>,
    /// Number of ReplicaSets with pods that are not terminating.
    pub replica_sets: usize,
    /// Draining pods that still exist.
    pub draining: Vec<Draining>,
    /// Pods that have disappeared since the last pass, if it is known how their workers ended.
    pub gone: Vec<Draining>,
    /// Why pods cannot start, if some cannot: the worst trouble of the newest template, or else of
    /// earlier ones.
    pub trouble: Option<NotReady>,
    /// Ready pods with a crash-looping container that was restarted a moment ago.
    pub relapsing: u32,
    /// Pods with the annotation that ranks them for removal, and its value.
    pub costs: Vec<(String, String)>,
    /// Pods that carry our annotations against the removal of their node.
    pub protected: BTreeSet<String>,
    /// Pods on which somebody else has set such an annotation, so that we leave them alone.
    pub spared_by_others: BTreeSet<String>,
    /// The addresses of the pods, without those that have none yet.
    pub addresses: BTreeMap<String, IpAddr>,
    /// The template of the pod that was created last, as the hash of its ReplicaSet; `None` without
    /// pods.
    pub template: Option<String>,
    /// The live pods with another template, such as those that a rollout replaces.
    pub replaced: BTreeSet<String>,
    /// How long the fastest of the ready pods took to become ready, in whole seconds.
    pub start: Option<Duration>,
}

impl Pods {
    /// Whether some of them are draining. A pod needs its room until it is gone, although its
    /// worker may have ended before.
    pub fn drains(&self) -> bool {
        !self.draining.is_empty()
    }

    /// The draining pods, those that have disappeared since the last pass included, whose workers
    /// are known to have finished their tasks.
    pub fn drained(&self) -> Vec<String> {
        let all = self.draining.iter().chain(&self.gone);
        let drained = all.filter(|pod| pod.has_drained());
        drained.map(|pod| pod.pod.clone()).collect()
    }
}

/// Summarizes the pods of one queue. `worker` is the name of the worker's container.
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
        let replaced = revision(pod) != newest;
        if replaced {
            facts.replaced.insert(name.clone());
        }
        facts
            .addresses
            .extend(address(pod).map(|address| (name.clone(), address)));
        if phase == PodPhase::Terminating {
            continue;
        }
        // A pod without this label belongs to no ReplicaSet: somebody has created it by hand.
        replica_sets.extend(revision(pod));
        if let Some(cost) = annotation(pod, DELETION_COST) {
            facts.costs.push((name.clone(), cost.to_owned()));
        }
        let spared = |(key, _): &(&str, &str)| annotation(pod, key).is_some();
        if annotation(pod, well_known::PROTECTED_ANNOTATION).is_some() {
            facts.protected.insert(name.clone());
        } else if well_known::SPARE_ANNOTATIONS.iter().any(spared) {
            facts.spared_by_others.insert(name.clone());
        }
        if phase == PodPhase::Ready {
            facts.start = facts.start.into_iter().chain(start(pod)).min();
        }
        let trouble = trouble::of(pod, phase, now);
        if phase == PodPhase::Ready && trouble.is_some() {
            facts.relapsing = facts.relapsing.saturating_add(1);
        }
        // A rollout already responds to the trouble of the pods that it replaces.
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
        template: newest.map(str::to_owned),
        ..facts
    }
}

/// Which template a pod was made from.
fn revision(pod: &Pod) -> Option<&str> {
    REVISION_LABELS.into_iter().find_map(|key| label(pod, key))
}

/// The template hash of the pod that was created last.
fn newest_replica_set(pods: &[Arc<Pod>]) -> Option<&str> {
    let created = pods.iter().filter_map(|pod| {
        let at = pod.metadata.creation_timestamp.as_ref()?.0;
        Some((at, revision(pod)?))
    });
    created.max().map(|(_, hash)| hash)
}

/// The phase of a pod; `None` once it has ended. A draining pod has ended when its worker has: a
/// sidecar that outlives the worker works on no task.
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
    if ready.is_some_and(|ready| ready.status == "True") {
        return Some(PodPhase::Ready);
    }
    let Some(running) = running(pod, worker) else {
        return Some(PodPhase::Pending);
    };
    Some(if ready.is_some_and(|ready| was_ready(running, ready)) {
        PodPhase::Unready
    } else {
        PodPhase::Starting
    })
}

/// The worker's container, if it runs.
fn running<'a>(pod: &'a Pod, worker: &str) -> Option<&'a ContainerStateRunning> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    let worker = containers.find(|container| container.name == worker)?;
    worker.state.as_ref()?.running.as_ref()
}

/// Whether an unready pod has been ready since its worker was started. The kubelet reports a pod as
/// not ready before it starts any container, and keeps the time of that until the pod has been
/// ready. A later time therefore marks the end of a readiness. A worker that was started after that
/// time is new.
fn was_ready(running: &ContainerStateRunning, ready: &PodCondition) -> bool {
    running
        .started_at
        .as_ref()
        .zip(ready.last_transition_time.as_ref())
        .is_some_and(|(started, changed)| changed.0 > started.0)
}

/// How long a ready pod took to become ready. `None` if a container has restarted, or if it took
/// longer than `LONGEST`: then the pod has become ready again, which says nothing about its start.
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

#[cfg(test)]
mod tests;
