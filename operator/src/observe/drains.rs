//! Draining pods as Kubernetes reports them, and how their workers ended. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, Pod};
use taskqueue_api::well_known;

/// The part of a pod's termination grace period that is added to its drain grace period.
const MARGIN: Duration = Duration::from_secs(well_known::TERMINATION_MARGIN_SECONDS as u64);

/// A draining pod. Times are by the clocks of the API server and the pod's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draining {
    /// The pod's name.
    pub pod: String,
    /// How long its worker has to finish: the drain grace period, or the grace period of the
    /// deletion if that is shorter.
    pub grace: Duration,
    /// When that time is over.
    pub ends: Timestamp,
    /// The grace period of the deletion, if it is shorter than the drain grace period: from
    /// `kubectl delete --grace-period`, or from an eviction that sets one.
    pub shortened_to: Option<Duration>,
    /// Whether a preStop hook runs before the worker gets SIGTERM.
    pub hooked: bool,
    /// How its worker ended, if it has.
    pub end: Option<WorkerEnd>,
}

/// How the container of a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerEnd {
    /// When it ended; `None` if the kubelet does not report it.
    pub at: Option<Timestamp>,
    /// Why it was killed, if it was.
    pub killed: Option<Killed>,
    /// Whether it exited with code 0 and does not wait for a restart.
    pub succeeded: bool,
}

/// Why a worker was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Killed {
    /// It exceeded its memory limit.
    OutOfMemory,
    /// It had not ended by itself.
    Other,
}

impl Draining {
    /// The facts of a draining pod; `None` if the pod is not being deleted.
    pub fn of(pod: &Pod) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        // The time at which its containers are killed.
        let mut deadline = pod.metadata.deletion_timestamp.as_ref()?.0;
        let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let spec = pod.spec.as_ref();
        let own = spec
            .and_then(|spec| spec.termination_grace_period_seconds)
            .map(seconds);
        let mut deletion = pod.metadata.deletion_grace_period_seconds.map(seconds);
        let end = WorkerEnd::of(pod);
        // The kubelet removes a pod that has ended with a grace period of zero, which moves the
        // deadline back to the time of the first deletion.
        if let (Some(own), Some(Duration::ZERO), Some(_)) = (own, deletion, end) {
            let allowed = SignedDuration::try_from(own).unwrap_or(SignedDuration::ZERO);
            deadline = deadline.checked_add(allowed).unwrap_or(deadline);
            deletion = Some(own);
        }
        let full = own.or(deletion).unwrap_or(MARGIN);
        let full = full.saturating_sub(MARGIN);
        let shortened_to = deletion.filter(|deletion| *deletion < full);
        let grace = shortened_to.unwrap_or(full);
        // The time from the end of `grace` to the deadline; the margin, if the grace period of the
        // deletion is unknown.
        let left = deletion.map_or(MARGIN, |deletion| deletion.saturating_sub(grace));
        let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO);
        Some(Self {
            pod: name,
            grace,
            ends: deadline.checked_sub(left).unwrap_or(deadline),
            shortened_to,
            hooked: spec.is_some_and(|spec| spec.containers.iter().any(is_hooked)),
            end,
        })
    }

    /// Whether its worker is known to have finished its tasks: it exited with code 0 before its
    /// time was over.
    pub fn has_drained(&self) -> bool {
        self.end.is_some_and(|end| {
            let in_time = end.at.is_some_and(|at| at < self.ends);
            end.succeeded && in_time
        })
    }
}

/// Whether this is the worker's container and has a preStop hook.
pub fn is_hooked(container: &Container) -> bool {
    let lifecycle = container.lifecycle.as_ref();
    container.name == well_known::WORKER_CONTAINER
        && lifecycle.is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
}

impl WorkerEnd {
    /// How the worker in a pod ended; `None` while it runs, or if nothing is known about it.
    /// Containers of a pod that is being deleted are not restarted, so a worker that waits for a
    /// restart has ended.
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
            // A worker that waits for a restart ended before its pod was deleted.
            succeeded: state.terminated.is_some() && ended.exit_code == 0,
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

#[cfg(test)]
mod tests;
