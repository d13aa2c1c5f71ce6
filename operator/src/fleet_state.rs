//! What the controller remembers about a fleet between passes. Plain data in memory: it starts
//! empty after a restart, and everything still works then, only more carefully.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use taskqueue_api::{Connection, Fleet, Queue, Reason, TaskQueueWorkerStatus, render};
use taskqueue_scaling::{Decision, History, Observation, SampleId, Time};

use crate::applied::{Writing, Written};
use crate::connection_check::ConnectionCheck;
use crate::drift;
use crate::not_ready::NotReady;
use crate::observe::drains::Draining;

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
pub struct FleetState {
    /// What the spec means, once it was accepted.
    pub accepted: Option<Accepted>,
    /// Per queue and version.
    pub queues: BTreeMap<QueueKey, QueueState>,
    /// The status that was written last, and the version of the object that it led to.
    pub status: Option<(String, TaskQueueWorkerStatus)>,
    /// Whether Temporal has answered over the connection that the spec asks for.
    pub connection_check: Option<ConnectionCheck>,
    /// Since when a Deployment whose queue has left the spec could not be deleted.
    pub unpruned: Option<Time>,
}

/// A spec that was accepted: parsed once, and its schedules evaluated once per edge of them.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The fleet, with the minimums of its schedules.
    pub fleet: Arc<Fleet>,
    from: Timestamp,
    /// When a schedule may ask for another minimum.
    pub until: Option<Timestamp>,
}

impl Accepted {
    /// The fleet as it is at a moment.
    pub fn at(fleet: Fleet, now: Timestamp) -> Self {
        let fleet = fleet.at(now);
        Self {
            until: fleet.next_scheduled_change(now),
            fleet: Arc::new(fleet),
            from: now,
        }
    }

    /// Whether it is about this generation of the spec, and holds at this moment.
    pub fn holds(&self, generation: Option<i64>, now: Timestamp) -> bool {
        generation == Some(self.fleet.generation)
            && now >= self.from
            && self.until.is_none_or(|until| now < until)
    }
}

/// Everything remembered about one queue.
#[derive(Debug, Default)]
pub struct QueueState {
    /// What the decisions need.
    pub history: History,
    /// The Deployment as it is to be.
    pub rendered: Option<Rendered>,
    /// The Deployment as we left it.
    pub written: Option<Written>,
    /// What is being written and was not answered when the last pass ended.
    pub writing: Option<Writing>,
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
    pub why: NotReady,
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
    /// How many tasks its worker had taken in its life, in the first heartbeat that it sent after
    /// it was told to stop and that says that it polls.
    pub taken: Option<u64>,
    /// How many more it has taken since.
    pub took: u64,
    /// It has been reported that tasks were cut off.
    pub told: bool,
}

/// A Deployment as it is to be, made once for a spec and a connection.
#[derive(Debug, Clone)]
pub struct Rendered {
    generation: i64,
    connection: Connection,
    /// The object, without replicas.
    pub object: Arc<Deployment>,
    /// Its hash.
    pub hash: u64,
    /// The version of the Deployment that was looked at last, and the hash of what concerns us in
    /// it.
    seen: Option<(String, u64)>,
}

impl Rendered {
    /// Renders it.
    pub fn new(fleet: &Fleet, queue: &Queue, connection: &Connection) -> Self {
        let object = render(fleet, queue, connection);
        Self {
            generation: fleet.generation,
            connection: connection.clone(),
            hash: drift::rendered(&object),
            object: Arc::new(object),
            seen: None,
        }
    }

    /// Whether it was made for this spec and connection.
    pub fn is_of(&self, fleet: &Fleet, connection: &Connection) -> bool {
        self.generation == fleet.generation && self.connection == *connection
    }

    /// Keeps the hash of what concerns us in the Deployment that is there.
    pub fn look_at(&mut self, existing: &Deployment) {
        let version = existing
            .metadata
            .resource_version
            .clone()
            .unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != version) {
            self.seen = Some((version, drift::live(existing, &self.object)));
        }
    }

    /// The hash of what concerns us in the Deployment that is there.
    pub fn live_of(&self, existing: &Deployment) -> u64 {
        let version = existing.metadata.resource_version.as_ref();
        let seen = self.seen.as_ref();
        let kept = seen.filter(|(seen, _)| version.is_some_and(|version| version == seen));
        kept.map_or_else(|| drift::live(existing, &self.object), |(_, live)| *live)
    }
}

/// A Deployment that the API server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The hash of what we rendered.
    pub rendered: u64,
    /// When.
    pub at: Time,
    /// How long it is not tried again.
    pub pause: Duration,
    /// How often just this was refused before.
    pub before: u32,
    /// What it said.
    pub why: NotReady,
}

impl Refused {
    /// How long it is still not tried again.
    pub fn remains(&self, now: Time) -> Duration {
        self.pause.saturating_sub(now.since(self.at))
    }
}

impl QueueState {
    /// Notes which task queue is read from now on. What was known of another one is kept until the
    /// workers have left it.
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

impl FleetState {
    /// Whether what was under way was carried out is not known: everything is written again, which
    /// changes nothing where it was.
    pub fn doubt(&mut self) {
        for state in self.queues.values_mut() {
            state.written = None;
            state.writing = None;
            state.refused = None;
        }
    }

    /// The state of a queue, made if there is none.
    pub fn queue(&mut self, key: QueueKey) -> &mut QueueState {
        self.queues.entry(key).or_default()
    }
}
