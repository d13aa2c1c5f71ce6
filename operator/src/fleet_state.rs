//! What the controller remembers about a fleet between passes. Plain data in memory: it is empty
//! after a restart, and then everything still works, only more carefully.

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
use crate::protection::{LongTasks, WriteTimes};
use crate::recurring::Recurring;
use crate::worker_faults::WorkerFaults;

/// The version of the workers that a queue's Deployment runs. There is only one until versions are
/// managed; the key exists so that nothing needs another key then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// The user's current template.
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
    /// The spec, once it was accepted.
    pub accepted: Option<Accepted>,
    /// The state of each queue and version.
    pub queues: BTreeMap<QueueKey, QueueState>,
    /// The status that was written last.
    pub status: Option<WrittenStatus>,
    /// Whether Temporal has answered over the connection in the spec.
    pub connection_check: Option<ConnectionCheck>,
    /// When annotations that protect pods were written last.
    pub protected_at: WriteTimes,
    /// Since when a Deployment could not be deleted although its queue has left the spec.
    pub unpruned: Option<Time>,
}

/// A status as it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenStatus {
    /// The version of the object after the write.
    pub version: String,
    /// The status.
    pub status: TaskQueueWorkerStatus,
}

/// A spec that was accepted. It is parsed once per generation, pause and edge of its schedules.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The fleet, with the minimums that its schedules ask for.
    pub fleet: Arc<Fleet>,
    from: Timestamp,
    /// When a schedule may next ask for another minimum.
    pub until: Option<Timestamp>,
}

impl Accepted {
    /// Accepts a fleet, with what its schedules ask for at `now`.
    pub fn at(fleet: Fleet, now: Timestamp) -> Self {
        let fleet = fleet.at(now);
        Self {
            until: fleet.next_scheduled_change(now),
            fleet: Arc::new(fleet),
            from: now,
        }
    }

    /// Whether this generation of the spec was accepted, with or without this pause, and its
    /// schedules still ask for the same.
    pub fn holds(&self, generation: Option<i64>, paused: bool, now: Timestamp) -> bool {
        generation == Some(self.fleet.generation)
            && paused == self.fleet.paused
            && now >= self.from
            && self.until.is_none_or(|until| now < until)
    }
}

/// Everything remembered about one queue.
#[derive(Debug, Default)]
pub struct QueueState {
    /// What the decisions need.
    pub history: History,
    /// The Deployment as it should be.
    pub rendered: Option<Rendered>,
    /// The Deployment as we left it.
    pub written: Option<Written>,
    /// The write that was not answered when the last pass ended.
    pub writing: Option<Writing>,
    /// What the API server refused last, if it has accepted nothing since.
    pub refused: Option<Refused>,
    /// The pods that drained when they were last seen, by name.
    pub draining: BTreeMap<String, Drain>,
    /// The sample that the metrics counted last.
    pub counted: Option<SampleId>,
    /// When the last known backlog was read.
    pub backlog_read_at: Option<Time>,
    /// When the last known slots were read.
    pub slots_read_at: Option<Time>,
    /// The last known number of waiting tasks.
    pub backlog: Option<u64>,
    /// The task queue that `backlog` was read from.
    pub task_queue: Option<String>,
    /// The task queue that the workers still poll although the spec now names another one.
    pub former_task_queue: Option<FormerTaskQueue>,
    /// Since when the workers' slots have been unknown.
    pub slots_unknown_since: Option<Time>,
    /// The last decision on a new reading, not on one that had already been acted on.
    pub decided: Option<Decision>,
    /// What the workers are seen to do wrong.
    pub worker_faults: WorkerFaults,
    /// When its pods were last seen with long tasks.
    pub long_tasks: LongTasks,
    /// The bursts that recur in its load.
    pub recurring: Recurring,
    /// The advice that was given, and the generation of the spec that it was about.
    pub advised: BTreeMap<Reason, i64>,
    /// Set while the API server does not hold the current rendering or size.
    pub unapplied: Option<Unapplied>,
    /// When the Deployment last asked for no replicas; `None` once a replica is ready.
    pub at_zero: Option<Time>,
}

/// The failing writes of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapplied {
    /// Since when no write has succeeded.
    pub since: Time,
    /// Whether the last error is transient: it may pass by itself.
    pub transient: bool,
    /// The last error, as a condition shows it.
    pub why: NotReady,
}

/// A task queue that the workers are leaving for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerTaskQueue {
    /// Its name in Temporal.
    pub task_queue: String,
    /// The last known number of tasks that waited in it.
    pub backlog: Option<u64>,
}

/// A draining pod, as it was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// What Kubernetes says about it.
    pub pod: Draining,
    /// Since when it is known to drain.
    pub since: Time,
    /// The last known number of its task slots in use.
    pub used: Option<u32>,
    /// How many tasks its worker had taken in its life, according to the first heartbeat that it
    /// sent while draining and still polling.
    pub taken: Option<u64>,
    /// How many tasks it has taken since.
    pub took: u64,
    /// Whether it has been reported that tasks were cut off.
    pub reported: bool,
}

/// A rendered Deployment, made once per spec and connection.
#[derive(Debug, Clone)]
pub struct Rendered {
    generation: i64,
    connection: Connection,
    /// The object, without replicas.
    pub object: Arc<Deployment>,
    /// The hash of the object.
    pub hash: u64,
    /// The version of the existing Deployment that was last hashed, and the hash of what concerns
    /// us in it.
    seen: Option<(String, u64)>,
}

impl Rendered {
    /// Renders the Deployment of a queue.
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

    /// Whether it was rendered for this spec and connection.
    pub fn is_of(&self, fleet: &Fleet, connection: &Connection) -> bool {
        self.generation == fleet.generation && self.connection == *connection
    }

    /// Keeps the hash of what concerns us in the existing Deployment, for its version.
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

    /// The hash of what concerns us in the existing Deployment, computed if it was not kept.
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
    /// When it was refused.
    pub at: Time,
    /// The pause before it is sent again.
    pub pause: Duration,
    /// How many times in a row the same object was refused before.
    pub before: u32,
    /// The error, as a condition shows it.
    pub why: NotReady,
}

impl Refused {
    /// The rest of the pause.
    pub fn remains(&self, now: Time) -> Duration {
        self.pause.saturating_sub(now.since(self.at))
    }
}

impl QueueState {
    /// Records which task queue is read from now on. What was known about another one is kept until
    /// the workers have left it.
    pub fn reads(&mut self, task_queue: &str) {
        match self.task_queue.replace(task_queue.to_owned()) {
            Some(before) if before != task_queue => {
                let backlog = self.backlog.take();
                let former = self.former_task_queue.take().unwrap_or(FormerTaskQueue {
                    task_queue: before,
                    backlog,
                });
                // If the spec returns to it, the workers never left.
                self.former_task_queue =
                    Some(former).filter(|former| former.task_queue != task_queue);
            }
            Some(_) | None => {}
        }
    }

    /// Keeps what outlives the reading that it came with.
    pub fn note(&mut self, observation: &Observation, now: Time) {
        self.backlog_read_at = observation.backlog.taken_at().or(self.backlog_read_at);
        self.slots_read_at = observation.slots.taken_at().or(self.slots_read_at);
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
    /// Forgets all writes, because those in progress may or may not have taken effect. Everything
    /// is written again, which changes nothing that did take effect.
    pub fn forget_writes(&mut self) {
        for state in self.queues.values_mut() {
            state.written = None;
            state.writing = None;
            state.refused = None;
        }
    }

    /// The state of a queue; created if there is none.
    pub fn queue(&mut self, key: QueueKey) -> &mut QueueState {
        self.queues.entry(key).or_default()
    }
}
