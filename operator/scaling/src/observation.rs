//! What was read, as plain data. A reading is known or it is unknown; unknown is never zero.

use std::time::Duration;

use crate::time::Time;

/// The time over which the server averages its rates.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(30);

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
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 3] = [Self::Workflow, Self::Activity, Self::Nexus];

    /// The name as Temporal's users write it, lower case.
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

    /// The value of one type, to change it.
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

    /// A value made for every type.
    pub fn from_fn(mut make: impl FnMut(TaskType) -> T) -> Self {
        Self {
            workflow: make(TaskType::Workflow),
            activity: make(TaskType::Activity),
            nexus: make(TaskType::Nexus),
        }
    }
}

/// Something that was read, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value, and when it was taken.
    Known {
        /// What was read.
        value: T,
        /// When it was read.
        taken_at: Time,
    },
    /// No value. Never to be taken for zero.
    Unknown {
        /// Why not.
        reason: UnknownReason,
        /// Since when it has been unknown.
        since: Time,
        /// How many attempts have failed in a row; 0 before the first attempt.
        failures: u32,
    },
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// When the value was taken, if there is one.
    pub const fn taken_at(&self) -> Option<Time> {
        match self {
            Self::Known { taken_at, .. } => Some(*taken_at),
            Self::Unknown { .. } => None,
        }
    }

    /// Why there is no value, if there is none.
    pub const fn unknown(&self) -> Option<UnknownReason> {
        match self {
            Self::Known { .. } => None,
            Self::Unknown { reason, .. } => Some(*reason),
        }
    }

    /// The reading if it is not too old at `now`, or else that it is unknown since it became so. A
    /// reading stays as it is while nobody reads again: when the call budget is short, or when
    /// whoever reads has stopped. It must not go on deciding for ever.
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

/// Why something is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownReason {
    /// No attempt has ended yet.
    NotReadYet,
    /// Temporal did not answer, or not in time.
    TemporalUnavailable,
    /// Temporal refused the credential, or the Temporal namespace does not exist.
    TemporalAccessDenied,
    /// Temporal refused the call because of its rate limits.
    Throttled,
    /// The server does not offer this call. It stays so until the server changes, unless it was not
    /// the server that said so: a proxy does, and an older server during a rolling change.
    NotSupported,
    /// The call was answered, and no worker of this queue has a heartbeat. Old SDKs never have;
    /// a restarted server has none for up to one heartbeat interval. Never to be read as idle.
    NoHeartbeats,
    /// No pod's own metrics could be read, where they are asked for. Never to be read as idle.
    ScrapeFailed,
    /// Kubernetes counts more pods than the watch on pods shows: see [`Replicas::unseen`].
    PodsUnseen,
    /// The last reading is too old to act on: see [`Reading::unless_older_than`].
    Stale,
    /// The answer made no sense.
    Malformed,
}

impl UnknownReason {
    /// Whether workers were listened to and said nothing of their slots. Everything else says that they
    /// could not be listened to, which is no silence.
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

    /// The reason in one word, for conditions, events and metrics.
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

    /// The reason as a half sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotReadYet => "it has not been read yet",
            Self::TemporalUnavailable => "Temporal does not answer",
            Self::TemporalAccessDenied => "Temporal refuses the access",
            Self::Throttled => "Temporal throttles the reads",
            Self::NotSupported => "the server does not offer it",
            Self::NoHeartbeats => "no worker has sent a heartbeat",
            Self::ScrapeFailed => "the metrics of no pod can be read",
            Self::PodsUnseen => "Kubernetes counts more pods than its watch shows",
            Self::Stale => "the last reading is too old",
            Self::Malformed => "the answer made no sense",
        }
    }
}

/// Everything one decision looks at besides the policy and the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What Kubernetes says about the Deployment.
    pub replicas: Replicas,
    /// What Temporal says about the queue.
    pub backlog: Reading<Backlog>,
    /// What the workers say about themselves, joined with the pods.
    pub slots: Reading<Slots>,
}

/// The Deployment's replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replicas {
    /// `spec.replicas`: what was asked for last.
    pub asked: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Pods that exist or are still to be made, not ready and not terminating.
    pub starting: u32,
    /// Pods that terminate (they drain; they take no new tasks).
    pub terminating: u32,
    /// Pods that the Deployment counts in its status and that were not seen themselves: the watch on
    /// pods is behind, or stands still. What they do is not known.
    pub unseen: u32,
    /// A rollout is under way: pods of more than one ReplicaSet, or not all updated.
    pub rollout_in_progress: bool,
}

impl Replicas {
    /// Whether the fleet has no pod that could take a task, and none is asked for.
    pub const fn is_zero(&self) -> bool {
        self.asked == 0 && self.ready == 0 && self.starting == 0
    }
}

/// One reading of a queue's statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Grows with every reading of this queue that was taken. Two observations with the same
    /// sequence carry the same reading; it is acted on once.
    pub sequence: u64,
    /// The statistics per task type; `None` = this type does not count for this queue.
    pub types: PerType<Option<TypeBacklog>>,
}

/// The statistics of one task type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeBacklog {
    /// `approximate_backlog_count`: tasks that wait.
    pub count: u64,
    /// `approximate_backlog_age`: how long the head of the backlog has waited.
    pub age: Duration,
    /// `tasks_add_rate` over the last 30 s, in thousandths of a task per second.
    pub add_rate_milli: u64,
    /// `tasks_dispatch_rate` over the last 30 s, in thousandths of a task per second.
    pub dispatch_rate_milli: u64,
    /// `rate_limiting_active`: more workers would not help.
    pub rate_limited: bool,
    /// `effective_rate_limit.requests_per_second`, in thousandths, if the server tells one.
    pub effective_limit_milli: Option<u64>,
    /// How many pollers the server has seen lately (about 5 min), if it was asked.
    pub pollers: Option<u32>,
    /// Whether one of them is of the Worker Deployment version to which the queue sends new tasks: the
    /// current or the ramping one, or no version at all where none is current. `None` if there is no
    /// poller, or the server was not asked or does not know of versions.
    pub routed: Option<bool>,
}

/// The fleet's pods with what their workers report. Every pod of the Deployment is in it once,
/// with or without a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// The pods.
    pub pods: Vec<PodSlots>,
    /// Where the numbers come from.
    pub source: SlotSource,
}

/// Where the slots of a queue's workers are known from. One source for all of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlotSource {
    /// The heartbeats that the workers send to Temporal: who sends one, reaches Temporal.
    #[default]
    Heartbeats,
    /// The metrics that the pods serve: they say nothing about whether Temporal is reached.
    Scraped,
}

/// One pod and what its worker last reported for this queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSlots {
    /// The pod's name.
    pub pod: String,
    /// Where the pod is in its life.
    pub phase: PodPhase,
    /// Whether a worker of the pod is known at all, however old its heartbeat may be. A pod whose worker
    /// is listed has a past, even if nothing of it was seen to change yet.
    pub listed: bool,
    /// Whether the heartbeat has changed lately (within about 3 of its intervals), or the last
    /// scrape succeeded. A live pod of which nothing fresh is known counts as full.
    pub fresh: bool,
    /// When the heartbeat was last seen to change, or the last scrape succeeded, on the caller's
    /// clock; `None` = never.
    pub reported_at: Option<Time>,
    /// What is known was said after this: heartbeats are seen only when the list of them is read, so a
    /// change is as old as the reading before, and a scrape is as old as its request. `None` = nothing
    /// fresh is known.
    pub reported_after: Option<Time>,
    /// The slots per task type; `None` = the worker does not report this type.
    pub types: PerType<Option<TypeSlots>>,
    /// The slots of the pod's workers on other task queues, over all task types: the host's own queue of
    /// worker-specific tasks, or a second worker in the process. They are no demand of this queue, but
    /// they make the pod busy. `None` = it has no such worker with a fresh heartbeat.
    pub elsewhere: Option<TypeSlots>,
}

impl PodSlots {
    /// Slots in use over all task types, on this queue and elsewhere; `None` without a fresh heartbeat.
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

/// Where a pod is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodPhase {
    /// Ready.
    Ready,
    /// Not ready yet.
    Starting,
    /// Ready before, and not now. Its worker may have tasks.
    Unready,
    /// Told to stop.
    Terminating,
}

/// The slots of one worker and task type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TypeSlots {
    /// `current_used_slots`.
    pub used: u32,
    /// `current_available_slots`; `None` where the worker's slot supplier has no fixed bound.
    pub available: Option<u32>,
    /// `total_processed_tasks` since the worker started; `None` where the source does not tell.
    pub processed_total: Option<u64>,
}
