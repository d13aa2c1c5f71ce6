//! What Kubernetes says about pods that were told to stop, and how their workers ended. Pure, but
//! for [`LastWords`], which keeps the end of pods that are gone until a pass asks for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod};
use parking_lot::Mutex;
use taskqueue_api::well_known;

/// What a pod gets on top of its drain grace period.
const MARGIN: Duration = Duration::from_secs(well_known::TERMINATION_MARGIN_SECONDS as u64);

/// A pod that was told to stop. The times are those of the API server and the pod's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// The pod's name.
    pub pod: String,
    /// How long its worker has to finish: the drain grace period, or less if it was deleted with
    /// less.
    pub grace: Duration,
    /// When that is over.
    pub ends: Timestamp,
    /// The grace that it was deleted with, where the drain grace period does not fit into it:
    /// `kubectl delete --grace-period`, or an eviction that names one.
    pub shortened_to: Option<Duration>,
    /// A preStop hook runs before the worker gets its SIGTERM.
    pub hooked: bool,
    /// How its worker ended, if it has.
    pub end: Option<WorkerEnd>,
}

/// How the container of a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerEnd {
    /// When; `None` if the kubelet does not say.
    pub at: Option<Timestamp>,
    /// Whether it was killed, and why.
    pub killed: Option<Killed>,
}

/// Why a worker was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It used more memory than its limit.
    OutOfMemory,
    /// It had not ended by itself.
    Other,
}

impl Draining {
    /// What a pod says; `None` if it was not told to stop.
    pub fn of(pod: &Pod) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        // When its containers are killed.
        let deadline = pod.metadata.deletion_timestamp.as_ref()?.0;
        let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let spec = pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let deletion = pod.metadata.deletion_grace_period_seconds.map(seconds);
        let full = own.map(seconds).or(deletion).unwrap_or(MARGIN);
        let full = full.saturating_sub(MARGIN);
        let shortened_to = deletion.filter(|deletion| *deletion < full);
        let grace = shortened_to.unwrap_or(full);
        // From the SIGTERM to the end of the grace period; without it, a margin before the
        // deadline.
        let left = deletion.map_or(MARGIN, |deletion| deletion.saturating_sub(grace));
        let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO);
        Some(Self {
            pod: name,
            grace,
            ends: deadline.checked_sub(left).unwrap_or(deadline),
            shortened_to,
            hooked: spec.is_some_and(|spec| spec.containers.iter().any(is_hooked)),
            end: WorkerEnd::of(pod),
        })
    }
}

/// Whether it is the worker's container, and a preStop hook runs in it.
pub fn is_hooked(container: &Container) -> bool {
    let lifecycle = container.lifecycle.as_ref();
    container.name == well_known::WORKER_CONTAINER
        && lifecycle.is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
}

impl WorkerEnd {
    /// How the worker in a pod ended; `None` while it runs, or if nothing is known of it. In a pod
    /// that is being deleted no container is started again.
    pub fn of(pod: &Pod) -> Option<Self> {
        let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
        let worker = statuses
            .iter()
            .find(|container| container.name == well_known::WORKER_CONTAINER)?;
        let state = worker.state.as_ref()?;
        let crashed = worker
            .last_state
            .as_ref()
            .filter(|_| state.waiting.is_some());
        let ended = state
            .terminated
            .as_ref()
            .or_else(|| crashed?.terminated.as_ref())?;
        Some(Self {
            at: ended.finished_at.as_ref().map(|time| time.0),
            killed: killed(ended),
        })
    }
}

fn killed(ended: &ContainerStateTerminated) -> Option<Killed> {
    const SIGKILL: i32 = 9;
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Some(Killed::OutOfMemory);
    }
    let killed = ended.signal == Some(SIGKILL) || ended.exit_code == 128 + SIGKILL;
    killed.then_some(Killed::Other)
}

/// How pods ended that are gone. The kubelet says how their containers ended just before it lets go
/// of them: often only the event of their deletion has it.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Arc<Mutex<VecDeque<LastWord>>>);

#[derive(Debug)]
struct LastWord {
    namespace: Option<String>,
    fleet: String,
    queue: String,
    draining: Draining,
}

impl LastWords {
    /// More are kept only by fleets that are gone themselves: nobody asks for their pods.
    const MOST: usize = 1000;

    /// Keeps how the worker of a pod ended, if it was told to stop and has.
    pub fn keep(&self, pod: &Pod) {
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key).cloned();
        let word = Draining::of(pod)
            .filter(|draining| draining.end.is_some())
            .and_then(|draining| {
                Some(LastWord {
                    namespace: pod.metadata.namespace.clone(),
                    fleet: label(well_known::WORKER_LABEL)?,
                    queue: label(well_known::QUEUE_LABEL)?,
                    draining,
                })
            });
        let Some(word) = word else { return };
        let mut words = self.0.lock();
        words.retain(|before| {
            before.namespace != word.namespace || before.draining.pod != word.draining.pod
        });
        words.push_back(word);
        while words.len() > Self::MOST {
            words.pop_front();
        }
    }

    /// Takes out what is kept about the pods of a fleet, by queue.
    pub fn take(&self, namespace: &str, fleet: &str) -> Vec<(String, Draining)> {
        let mut words = self.0.lock();
        let (mine, others) = std::mem::take(&mut *words)
            .into_iter()
            .partition::<VecDeque<_>, _>(|word| {
                word.fleet == fleet && word.namespace.as_deref() == Some(namespace)
            });
        *words = others;
        mine.into_iter()
            .map(|word| (word.queue, word.draining))
            .collect()
    }
}

#[cfg(test)]
mod tests;
