//! What was decided and why, frozen. Plain data.

use std::time::Duration;

use crate::demand::Demand;
use crate::learn::ServiceTime;
use crate::observation::{PerType, Replicas, TypeBacklog, UnknownReason};
use crate::reason::Reason;
use crate::release::HeldPod;
use crate::time::Time;

/// How many replicas a queue should have, and why. Complete: whoever carries it out chooses
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a decision that nobody carries out changes nothing"]
pub struct Decision {
    /// The replicas to ask for.
    pub desired: u32,
    /// The replicas asked for before.
    pub previous: u32,
    /// Whether to write `desired`: false if it equals `previous`, and in DryRun and Paused.
    pub act: bool,
    /// What the demand terms asked for, before any limit; `None` if the backlog is unknown or
    /// the reading was acted on before.
    pub demand: Option<Demand>,
    /// The limits that moved the number, in their order.
    pub limits: Vec<Limited>,
    /// The last limit that moved the number, or else the binding demand term.
    pub reason: Reason,
    /// One sentence that says all of this.
    pub sentence: String,
    /// What was looked at, as it was.
    pub inputs: Inputs,
    /// What the stabilization windows are to remember (after tolerance, before the other limits);
    /// `None` unless the reading was new.
    pub recommendation: Option<u32>,
    /// The sample that earned the decision; `None` if it was not known.
    pub sample: Option<SampleId>,
}

/// One limit that moved the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Its name.
    pub by: Reason,
    /// The number before.
    pub from: u32,
    /// The number after.
    pub to: u32,
}

/// Which readings a decision stands on. Acted on once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleId {
    /// The sequence of the backlog reading.
    pub sequence: u64,
    /// When the slots were read, if they were.
    pub slots_taken_at: Option<Time>,
}

/// What a decision looked at, frozen as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The Deployment's replicas.
    pub replicas: Replicas,
    /// The statistics per counted task type, or why there are none.
    pub backlog: Result<PerType<Option<TypeBacklog>>, UnknownReason>,
    /// The slots in use per type over live pods with a fresh heartbeat, or why they are unknown.
    pub slots_in_use: Result<PerType<u64>, UnknownReason>,
    /// The slots in use per type, as a mean over the last half minute, in thousandths.
    pub mean_slots_in_use_milli: PerType<u64>,
    /// Live pods without a fresh heartbeat: each counts as full.
    pub blind_pods: u32,
    /// Live pods with at least one slot in use, blind ones included.
    pub busy_pods: u32,
    /// The pods that may not be told to stop, and why each must stay.
    pub held_pods: Vec<HeldPod>,
    /// Slots per replica and type that the arithmetic used.
    pub slots_per_replica: PerType<u32>,
    /// The mean service time per type that the arithmetic used.
    pub service_time: PerType<ServiceTime>,
    /// Whether the rates were used.
    pub rates_trusted: bool,
    /// The queue's wait target.
    pub queue_wait_target: Duration,
    /// Percent of slots in use to aim at.
    pub target_utilization: u32,
}

impl Inputs {
    /// Waiting tasks over all counted types; 0 if unknown.
    pub fn backlog_count(&self) -> u64 {
        self.counted()
            .fold(0, |sum, backlog| sum.saturating_add(backlog.count))
    }

    /// The age of the oldest head over all counted types; zero if unknown.
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
