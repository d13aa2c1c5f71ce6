//! The decision and its reasons, as an immutable record. Plain data.

use std::time::Duration;

use crate::demand::Demand;
use crate::learn::ServiceTime;
use crate::observation::{PerType, Replicas, TypeBacklog, UnknownReason};
use crate::reason::Reason;
use crate::release::HeldPod;
use crate::time::Time;

/// How many replicas a queue should have, and why. Complete: the caller that carries it out has
/// nothing left to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision has no effect until it is carried out"]
pub struct Decision {
    /// The replicas to request.
    pub desired: u32,
    /// The replicas requested before.
    pub previous: u32,
    /// Whether to write `desired`: false if it equals `previous`, and in DryRun and Paused.
    pub act: bool,
    /// The demand before any limit; `None` if the backlog is unknown or the reading has been acted
    /// on before.
    pub demand: Option<Demand>,
    /// The limits that changed the number, in the order in which they applied.
    pub limits: Vec<Limited>,
    /// The last limit that changed the number, or else the binding demand term.
    pub reason: Reason,
    /// What happens to the replicas, as a clause: `scaled 1 to 5`.
    pub change: String,
    /// Why: the inputs, the binding demand and the binding limit, as a clause.
    pub why: String,
    /// The inputs of the decision.
    pub inputs: Inputs,
    /// The number that the stabilization windows remember (after tolerance, before the other
    /// limits); `None` unless the reading is new.
    pub recommendation: Option<u32>,
    /// The sample that led to the decision; `None` if the backlog is unknown.
    pub sample: Option<SampleId>,
}

impl Decision {
    /// One sentence that explains the decision.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.change, self.why)
    }
}

/// One limit that changed the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Its name.
    pub by: Reason,
    /// The number before.
    pub from: u32,
    /// The number after.
    pub to: u32,
}

/// Identifies the readings behind a decision. Each is acted on once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleId {
    /// The sequence of the backlog reading.
    pub sequence: u64,
    /// When the slots were read; `None` if they are unknown.
    pub slots_taken_at: Option<Time>,
}

/// The inputs of a decision, as they were when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The Deployment's replicas.
    pub replicas: Replicas,
    /// The statistics per counted task type, or why there are none.
    pub backlog: Result<PerType<Option<TypeBacklog>>, UnknownReason>,
    /// The slots in use per type over live pods with a fresh heartbeat, or why they are unknown.
    pub slots_in_use: Result<PerType<u64>, UnknownReason>,
    /// The mean slots in use per type over the last 30 s, in thousandths.
    pub mean_slots_in_use_milli: PerType<u64>,
    /// Live pods without a fresh heartbeat. Each counts as full.
    pub blind_pods: u32,
    /// Live pods with at least one slot in use, blind ones included.
    pub busy_pods: u32,
    /// The pods that must not be terminated, and why each must stay.
    pub held_pods: Vec<HeldPod>,
    /// The slots per replica and type that the calculation used.
    pub slots_per_replica: PerType<u32>,
    /// The mean service time per type that the calculation used.
    pub service_time: PerType<ServiceTime>,
    /// The tasks that a ready replica takes per 1000 s, by type, measured while tasks waited
    /// although slots were free, or unknown; `None` if it was not measured within four hours.
    pub capacity_milli: PerType<Option<u64>>,
    /// Whether the rates were trusted and used.
    pub rates_trusted: bool,
    /// The queue's wait target.
    pub queue_wait_target: Duration,
    /// The target percentage of slots in use, if the user has set one; otherwise the queue-wait
    /// target decides.
    pub target_utilization: Option<u32>,
}

impl Inputs {
    /// Waiting tasks over all counted types; 0 if unknown.
    pub fn backlog_count(&self) -> u64 {
        self.counted()
            .fold(0, |sum, backlog| sum.saturating_add(backlog.count))
    }

    /// The age of the oldest backlog head over all counted types; zero if unknown.
    pub fn backlog_age(&self) -> Duration {
        self.counted()
            .map(|backlog| backlog.age)
            .max()
            .unwrap_or_default()
    }

    fn counted(&self) -> impl Iterator<Item = TypeBacklog> + '_ {
        self.backlog
            .iter()
            .flat_map(|types| types.iter().filter_map(|(_, backlog)| *backlog))
    }
}
