//! Readings as plain data. A reading is known or unknown; unknown is never zero.

use std::time::Duration;

use crate::time::Time;

/// The window over which the server averages its rates.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(30);
/// It counts in buckets of this length, and the last one is not over yet.
pub(crate) const RATE_BUCKET: Duration = Duration::from_secs(5);

/// The three kinds of tasks of a Temporal task queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskType {
    /// Workflow tasks.
    Workflow,
    /// Activity tasks.
    Activity,
    /// Nexus tasks.
    Nexus,
}

impl TaskType {
    /// All types, in the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::Activity, Self::Nexus];

    /// The name that Temporal's users write, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "workflow",
            Self::Activity => "activity",
            Self::Nexus => "nexus",
        }
    }
}

/// One value per task type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerType<T> {
    /// For workflow tasks.
    pub workflow: T,
    /// For activity tasks.
    pub activity: T,
    /// For nexus tasks.
    pub nexus: T,
}

impl<T> PerType<T> {
    /// The value of one type.
    pub const fn get(&self, task_type: TaskType) -> &T {
        match task_type {
            TaskType::Workflow => &self.workflow,
            TaskType::Activity => &self.activity,
            TaskType::Nexus => &self.nexus,
        }
    }

    /// The value of one type, mutable.
    pub const fn get_mut(&mut self, task_type: TaskType) -> &mut T {
        match task_type {
            TaskType::Workflow => &mut self.workflow,
            TaskType::Activity => &mut self.activity,
            TaskType::Nexus => &mut self.nexus,
        }
    }

    /// The value of every type, in the order of [`TaskType::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (TaskType, &T)> + Clone {
        TaskType::ALL
            .into_iter()
            .map(|task_type| (task_type, self.get(task_type)))
    }

    /// Creates a value for every type.
    pub fn from_fn(mut make: impl FnMut(TaskType) -> T) -> Self {
        Self {
            workflow: make(TaskType::Workflow),
            activity: make(TaskType::Activity),
            nexus: make(TaskType::Nexus),
        }
    }
}

/// A value that was read, or why it could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value, and when it was taken.
    Known {
        /// What was read.
        value: T,
        /// When it was read.
        taken_at: Time,
    },
    /// No value. Never treat it as zero.
    Unknown {
        /// Why there is no value.
        reason: UnknownReason,
        /// Since when the value has been unknown.
        since: Time,
        /// The number of failed attempts in a row; 0 before the first attempt.
        failures: u32,
    },
}

impl<T> Reading<T> {
    /// The value, if it is known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// When the value was taken, if it is known.
    pub const fn taken_at(&self) -> Option<Time> {
        match self {
            Self::Known { taken_at, .. } => Some(*taken_at),
            Self::Unknown { .. } => None,
        }
    }

    /// Why the value is unknown, if it is.
    pub const fn unknown(&self) -> Option<UnknownReason> {
        match self {
            Self::Known { .. } => None,
            Self::Unknown { reason, .. } => Some(*reason),
        }
    }

    /// Returns the reading if it is not too old at `now`; otherwise an unknown one, since the time
    /// when it became too old. A reading stays in place while nobody reads again, because the call
    /// budget is short or the reader has stopped. A stale reading must not drive decisions for
    /// ever.
    #[must_use]
    pub fn unless_older_than(self, allowed: Duration, now: Time) -> Self {
        match self {
            Self::Known { taken_at, .. } if now.since(taken_at) > allowed => Self::Unknown {
                reason: UnknownReason::Stale,
                since: taken_at.plus(allowed),
                failures: 0,
            },
            Self::Known { .. } | Self::Unknown { .. } => self,
        }
    }
}

/// Why a value is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// No attempt has finished yet.
    NotReadYet,
    /// Temporal did not answer, or not in time.
    TemporalUnavailable,
    /// Temporal refused the credential, or the Temporal namespace does not exist.
    TemporalAccessDenied,
    /// Temporal refused the call because of its rate limits.
    Throttled,
    /// The server does not offer this call. This lasts until the server changes, unless the answer
    /// came from a proxy, or from an older server during a rolling upgrade.
    NotSupported,
    /// Temporal answered, and no worker of this queue has a heartbeat. Old SDKs never send any, and
    /// after a restart the server has none for up to one heartbeat interval. Never treat it as
    /// idle.
    NoHeartbeats,
    /// The slots come from the pods' metrics, and no pod's could be read. Never treat it as idle.
    ScrapeFailed,
    /// Kubernetes counts more pods than the watch on pods shows: see [`Replicas::unseen`].
    PodsUnseen,
    /// The last reading is too old to act on: see [`Reading::unless_older_than`].
    Stale,
    /// The server answered with another error, or the answer could not be interpreted.
    Malformed,
}

impl UnknownReason {
    /// Whether the workers could be asked about their slots and reported nothing. With every other
    /// reason they could not be asked, which is not silence.
    pub const fn is_silence(self) -> bool {
        match self {
            Self::NotSupported | Self::NoHeartbeats | Self::ScrapeFailed => true,
            Self::NotReadYet
            | Self::TemporalUnavailable
            | Self::TemporalAccessDenied
            | Self::Throttled
            | Self::PodsUnseen
            | Self::Stale
            | Self::Malformed => false,
        }
    }

    /// Every reason, for tables in the docs.
    pub const ALL: [Self; 10] = [
        Self::NotReadYet,
        Self::TemporalUnavailable,
        Self::TemporalAccessDenied,
        Self::Throttled,
        Self::NotSupported,
        Self::NoHeartbeats,
        Self::ScrapeFailed,
        Self::PodsUnseen,
        Self::Stale,
        Self::Malformed,
    ];

    /// The reason as one word, for conditions, Events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotReadYet => "NotReadYet",
            Self::TemporalUnavailable => "TemporalUnavailable",
            Self::TemporalAccessDenied => "TemporalAccessDenied",
            Self::Throttled => "Throttled",
            Self::NotSupported => "NotSupported",
            Self::NoHeartbeats => "NoHeartbeats",
            Self::ScrapeFailed => "ScrapeFailed",
            Self::PodsUnseen => "PodsUnseen",
            Self::Stale => "Stale",
            Self::Malformed => "Malformed",
        }
    }

    /// The reason as a clause.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotReadYet => "it has not been read yet",
            Self::TemporalUnavailable => "Temporal does not answer",
            Self::TemporalAccessDenied => "Temporal denies access",
            Self::Throttled => "Temporal throttles the reads",
            Self::NotSupported => "the server does not support it",
            Self::NoHeartbeats => "no worker has sent a heartbeat",
            Self::ScrapeFailed => "no pod's metrics can be read",
            Self::PodsUnseen => "Kubernetes counts more pods than its watch shows",
            Self::Stale => "the last reading is too old",
            Self::Malformed => "the response was malformed",
        }
    }
}

/// The inputs of one decision besides the policy and the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What Kubernetes reports about the Deployment.
    pub replicas: Replicas,
    /// What Temporal reports about the queue.
    pub backlog: Reading<Backlog>,
    /// What the workers report about themselves, joined with the pods.
    pub slots: Reading<Slots>,
    /// The draining pods whose workers are known to have finished their tasks: they ended by
    /// themselves, without an error, before their grace period was over. A pod is named no later
    /// than `slots` first comes without it, and may be named once only.
    pub drained: Vec<String>,
}

/// The Deployment's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicas {
    /// `spec.replicas`: the number last requested.
    pub requested: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that exist or are still to be created, neither ready nor terminating.
    pub starting: u32,
    /// Terminating pods (they drain and take no new tasks).
    pub terminating: u32,
    /// Pods that the Deployment's status counts but the watch does not show, because the watch lags
    /// behind or has stalled. What they do is unknown.
    pub unseen: u32,
    /// A rollout is under way: pods of more than one ReplicaSet, or not all updated.
    pub rollout_in_progress: bool,
    /// The pods are removed from the highest ordinal down, as a StatefulSet does, instead of by
    /// their deletion cost.
    pub by_ordinal: bool,
    /// How long the fastest of the ready pods took to become ready; `None` = unknown.
    pub start_up: Option<Duration>,
}

impl Replicas {
    /// Whether the fleet has no pod that could take a task, and none is requested.
    pub const fn is_zero(&self) -> bool {
        self.requested == 0 && self.ready == 0 && self.starting == 0
    }

    /// The pods that may have tasks. A starting one may be a working one that is not ready now.
    pub(crate) const fn with_tasks(&self) -> u32 {
        let live = self.ready.saturating_add(self.starting);
        live.saturating_add(self.terminating)
    }
}

/// One reading of a queue's statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Increases with every reading of this queue. Two observations with the same sequence carry
    /// the same reading, which is acted on once.
    pub sequence: u64,
    /// The statistics per task type; `None` = this type does not count for this queue.
    pub types: PerType<Option<TypeBacklog>>,
}

/// The priority keys that Temporal servers have by default. A task without one has the middle one.
pub const PRIORITIES: usize = 5;

/// The statistics of one task type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeBacklog {
    /// `approximate_backlog_count`: tasks that wait.
    pub count: u64,
    /// The tasks that wait, by priority key: of 1, the highest, first; the last also has those of
    /// any lower priority. All 0 if the server does not report them.
    pub by_priority: [u64; PRIORITIES],
    /// `approximate_backlog_age`: how long the head of the backlog has waited.
    pub age: Duration,
    /// `tasks_add_rate` over the last 30 s, in thousandths of a task per second.
    pub add_rate_milli: u64,
    /// `tasks_dispatch_rate` over the last 30 s, in thousandths of a task per second.
    pub dispatch_rate_milli: u64,
    /// `rate_limiting_active`: more workers would not help.
    pub rate_limited: bool,
    /// `effective_rate_limit.requests_per_second`, in thousandths, if the server reports one.
    pub effective_limit_milli: Option<u64>,
    /// The number of pollers seen by the server in about the last 5 min, if it was asked.
    pub pollers: Option<u32>,
    /// Whether one of the pollers belongs to the Worker Deployment version to which the queue sends
    /// new tasks: the current or the ramping one, or no version if none is current. `None` if there
    /// is no poller, the server was not asked, or it does not support versions.
    pub routed: Option<bool>,
}

/// The fleet's pods with their workers' reports. Contains every pod of the Deployment once, with or
/// without a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// The pods.
    pub pods: Vec<PodSlots>,
    /// Where the numbers come from.
    pub source: SlotSource,
}

/// The source of the slots of a queue's workers. All pods of the queue have the same source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlotSource {
    /// The heartbeats that the workers send to Temporal. A worker that sends one reaches Temporal.
    #[default]
    Heartbeats,
    /// The metrics that the pods serve. They do not show whether the worker reaches Temporal.
    Scraped,
}

/// One pod and the last report of its worker for this queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSlots {
    /// The pod's name.
    pub pod: String,
    /// The phase of the pod's life.
    pub phase: PodPhase,
    /// Whether a worker of the pod is known at all, however old its heartbeat. A listed worker has
    /// a past, even if no change of its heartbeat has been seen yet.
    pub listed: bool,
    /// Whether the heartbeat has changed recently (within about 3 of its intervals), or the last
    /// scrape succeeded. A live pod without fresh information counts as full.
    pub fresh: bool,
    /// When the heartbeat was last seen to change, or the last scrape succeeded, on the caller's
    /// clock; `None` = never.
    pub reported_at: Option<Time>,
    /// The report was made after this time. Heartbeats are seen only when their list is read, so a
    /// change may be as old as the previous reading, and a scrape as old as its request. `None` =
    /// there is no fresh report.
    pub reported_after: Option<Time>,
    /// The slots per task type; `None` = the worker does not report this type.
    pub types: PerType<Option<TypeSlots>>,
    /// The slots of the pod's workers on other task queues, over all task types: the host's own
    /// queue of worker-specific tasks, or a second worker in the process. They add no demand to
    /// this queue, but they make the pod busy. `None` = it has no such worker with a fresh
    /// heartbeat.
    pub elsewhere: Option<TypeSlots>,
}

impl Slots {
    /// The oldest of the last reports of the live pods that report; `None` if none does.
    pub(crate) fn oldest_report(&self) -> Option<Time> {
        let reporting = self
            .pods
            .iter()
            .filter(|pod| pod.fresh && pod.phase != PodPhase::Terminating);
        reporting.filter_map(|pod| pod.reported_at).min()
    }

    /// The number of pods that may have tasks: all but those whose worker does not run yet.
    pub(crate) fn pods_with_tasks(&self) -> u32 {
        let starts = |phase| matches!(phase, PodPhase::Starting | PodPhase::Pending);
        let pods = self.pods.iter();
        let working = pods.filter(|pod| pod.listed || !starts(pod.phase));
        u32::try_from(working.count()).unwrap_or(u32::MAX)
    }
}

impl PodSlots {
    /// Slots in use over all task types, on this queue and elsewhere; `None` without a fresh
    /// heartbeat.
    pub fn used(&self) -> Option<u32> {
        if !self.fresh {
            return None;
        }
        let slots = self.types.iter().map(|(_, slots)| slots);
        Some(
            slots
                .chain([&self.elsewhere])
                .flatten()
                .fold(0, |sum: u32, slots| sum.saturating_add(slots.used)),
        )
    }
}

/// The phase of a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodPhase {
    /// Ready.
    Ready,
    /// Not ready yet, and its worker does not run: it certainly has no tasks.
    Pending,
    /// Not ready yet. Its worker runs, and may take tasks before the pod is ready.
    Starting,
    /// Not ready any more. Its worker may have tasks.
    Unready,
    /// Draining: Kubernetes has asked it to stop.
    Terminating,
}

impl PodPhase {
    /// Whether the pod has not been ready yet.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::Pending | Self::Starting)
    }
}

/// The slots of one worker and task type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeSlots {
    /// `current_used_slots`.
    pub used: u32,
    /// `current_available_slots`; `None` if the worker's slot supplier has no fixed limit.
    pub available: Option<u32>,
    /// `total_processed_tasks` since the worker started; `None` if the source does not report it.
    pub processed_total: Option<u64>,
}
