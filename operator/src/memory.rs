//! What the controller remembers about a fleet between passes. Plain data in memory: it starts
//! empty after a restart, and everything still works then, only more carefully.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::{Reason, TaskQueueWorkerStatus};
use taskqueue_scaling::{Decision, History, Observation, SampleId, Time};

use crate::fingerprint;
use crate::observe::drains::Draining;
use crate::problem::Problem;
use crate::tried::Tried;

/// Which worker version a queue's Deployment runs. There is one until versions are managed; the
/// key is here so that nothing has to be rekeyed then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The user's present template, whatever it is.
    #[default]
    Unversioned,
}

/// One queue in one version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// The queue's name in the fleet.
    pub queue: String,
    /// The version of its workers.
    pub version: Version,
}

impl QueueKey {
    /// The queue in its only version.
    pub fn unversioned(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            version: Version::Unversioned,
        }
    }
}

/// Everything remembered about one fleet.
#[derive(Debug, Default)]
pub struct FleetMemory {
    /// Per queue and version.
    pub queues: BTreeMap<QueueKey, QueueMemory>,
    /// The status that was written last, and the version of the object that it led to.
    pub status: Option<(String, TaskQueueWorkerStatus)>,
    /// What is known of the connection that the spec asks for.
    pub tried: Option<Tried>,
    /// Since when a Deployment whose queue has left the spec could not be deleted.
    pub unpruned: Option<Time>,
}

/// Everything remembered about one queue.
#[derive(Debug, Default)]
pub struct QueueMemory {
    /// What the decisions need.
    pub history: History,
    /// The Deployment as we left it.
    pub written: Option<Written>,
    /// What the API server refused last, if it has accepted nothing since.
    pub refused: Option<Refused>,
    /// Pods that drained when they were last seen.
    pub draining: BTreeMap<String, Drain>,
    /// The sample that was counted in the metrics last.
    pub counted: Option<SampleId>,
    /// When the backlog and the slots were last known.
    pub taken_at: (Option<Time>, Option<Time>),
    /// How many tasks waited when that was last known.
    pub backlog: Option<u64>,
    /// The task queue that this was read of.
    pub task_queue: Option<String>,
    /// The task queue that the workers still poll, though the spec names another one by now.
    pub left: Option<Left>,
    /// Since when the workers' slots have been unknown.
    pub slots_unknown_since: Option<Time>,
    /// The last decision that was made on a reading of its own, not on one that had been acted on.
    pub decided: Option<Decision>,
    /// What was advised, and about which generation of the spec.
    pub advised: BTreeMap<Reason, i64>,
    /// The present rendering or size is not what the API server holds.
    pub unapplied: Option<Unapplied>,
    /// When the queue was last meant to have no replicas, unless one was ready since.
    pub at_zero: Option<Time>,
}

/// Writes of a queue that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapplied {
    /// Since when none has succeeded.
    pub since: Time,
    /// Whether the last error may go by itself.
    pub passes: bool,
    /// The last error, as a condition says it.
    pub problem: Problem,
}

/// A task queue that workers leave for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Its name in Temporal.
    pub task_queue: String,
    /// How many tasks waited in it when that was last known.
    pub backlog: Option<u64>,
}

/// A pod that was told to stop, as it was when it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// What Kubernetes says about it.
    pub pod: Draining,
    /// Since when it is known that it was told.
    pub since: Time,
    /// The task slots that it had in use when that was last known.
    pub used: Option<u32>,
    /// How many tasks its worker had taken in its life, in the first heartbeat that it sent after it was told
    /// to stop and that says that it polls.
    pub taken: Option<u64>,
    /// How many more it has taken since.
    pub took: u64,
    /// It has been reported that tasks were cut off.
    pub told: bool,
}

/// A Deployment that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The hash of what we rendered.
    pub rendered: u64,
    /// When.
    pub at: Time,
    /// What it said.
    pub problem: Problem,
}

/// The Deployment as it was after our last write to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its uid.
    pub uid: String,
    /// Its version then.
    pub resource_version: String,
    /// Its generation then: the Deployment controller works on the template once it has observed this one.
    pub generation: Option<i64>,
    /// Its replicas then.
    pub replicas: u32,
    /// The hash of what we rendered.
    pub rendered: u64,
    /// The hash of what the server held.
    pub live: u64,
}

impl Written {
    /// Notes what the server holds after an apply of `rendered`.
    pub fn after_apply(held: &Deployment, rendered: &Deployment) -> Self {
        let replicas = held.spec.as_ref().and_then(|spec| spec.replicas);
        Self {
            uid: held.metadata.uid.clone().unwrap_or_default(),
            resource_version: held.metadata.resource_version.clone().unwrap_or_default(),
            generation: held.metadata.generation,
            replicas: replicas.map_or(1, |replicas| u32::try_from(replicas).unwrap_or(0)),
            rendered: fingerprint::rendered(rendered),
            live: fingerprint::live(held, rendered),
        }
    }

    /// Whether `cached` is from before this write: the watch has not caught up yet. Kubernetes
    /// promises since 1.35 that versions of one object can be compared as numbers, and every
    /// earlier server kept to it.
    pub fn is_newer_than(&self, cached: &Deployment) -> bool {
        let number = |text: &str| text.parse::<u64>().ok();
        let theirs = cached.metadata.resource_version.as_deref().and_then(number);
        cached.metadata.uid.as_deref() == Some(self.uid.as_str())
            && number(&self.resource_version)
                .zip(theirs)
                .is_some_and(|(ours, theirs)| ours > theirs)
    }
}

impl QueueMemory {
    /// Notes which task queue is read from now on. What was known of another one is kept until the workers have left it.
    pub fn reads(&mut self, task_queue: &str) {
        match self.task_queue.replace(task_queue.to_owned()) {
            Some(before) if before != task_queue => {
                let backlog = self.backlog.take();
                let left = self.left.take().unwrap_or(Left {
                    task_queue: before,
                    backlog,
                });
                // They never went.
                self.left = Some(left).filter(|left| left.task_queue != task_queue);
            }
            Some(_) | None => {}
        }
    }

    /// Keeps what outlives the reading it came with.
    pub fn note(&mut self, observation: &Observation, now: Time) {
        let (backlog, slots) = self.taken_at;
        self.taken_at = (
            observation.backlog.taken_at().or(backlog),
            observation.slots.taken_at().or(slots),
        );
        if observation.slots.known().is_some() {
            self.slots_unknown_since = None;
        } else {
            self.slots_unknown_since.get_or_insert(now);
        }
        if let Some(backlog) = observation.backlog.known() {
            let counts = backlog
                .types
                .iter()
                .filter_map(|(_, of_type)| of_type.as_ref());
            self.backlog = Some(counts.fold(0, |sum, of_type| of_type.count.saturating_add(sum)));
        }
    }
}

impl FleetMemory {
    /// The memory of a queue, made if there is none.
    pub fn queue(&mut self, key: QueueKey) -> &mut QueueMemory {
        self.queues.entry(key).or_default()
    }
}
