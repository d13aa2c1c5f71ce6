//! The closed vocabulary of decisions, shared by status, Events, logs and metrics.

/// Why a decision is what it is: the last limit that changed the number, or else the demand term
/// with the largest demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The slots in use require this size.
    SlotsInUse,
    /// The arrivals and the backlog require this size.
    Drain,
    /// The head of the backlog is older than the target and nearly every slot is taken.
    BacklogAge,
    /// What a replica takes per second requires this size: tasks have waited although slots were
    /// free, or nobody knows the slots.
    ReplicaCapacity,
    /// The plain target of waiting tasks per replica requires this size.
    BacklogPerReplica,
    /// There is nothing to do.
    NoDemand,
    /// The queue's rate limit cannot feed more replicas.
    RateLimited,
    /// More replicas have lately not raised the throughput.
    ThroughputLimited,
    /// The demand differs from the present size by at most the tolerance.
    WithinTolerance,
    /// There is work and there were no replicas.
    Activated,
    /// The scaleUp stabilization window holds a smaller recommendation.
    ScaleUpStabilized,
    /// The scaleDown stabilization window holds a larger recommendation.
    ScaleDownStabilized,
    /// A scaleUp policy allows no larger step now.
    ScaleUpPolicy,
    /// A scaleDown policy allows no larger step now.
    ScaleDownPolicy,
    /// scaleUp.selectPolicy is Disabled.
    ScaleUpDisabled,
    /// scaleDown.selectPolicy is Disabled.
    ScaleDownDisabled,
    /// Too little history after a start or a gap: nothing shrinks or jumps yet.
    WarmingUp,
    /// A rollout is in progress: Kubernetes would ignore deletion costs.
    RolloutInProgress,
    /// The tasks on this many pods are not known to end within the drain grace period.
    BusyPods,
    /// Idle, but not yet proven so for the whole cooldown period.
    CoolingDown,
    /// The slots in use are unknown: nothing shrinks while the signal is missing, and the fleet
    /// never goes to zero.
    SlotsUnknown,
    /// The backlog is unknown: the fleet holds.
    BacklogUnknown,
    /// This reading has already been acted on.
    AlreadyActedOn,
    /// Readings keep failing and a fallback is set.
    Fallback,
    /// The schedule requests a minimum now.
    ScheduledMinimum,
    /// The forecast expects a burst that came at this time before.
    ForecastMinimum,
    /// replicas.min.
    MinReplicas,
    /// replicas.max.
    MaxReplicas,
    /// mode: Paused.
    Paused,
}

impl Reason {
    /// Every reason, for metrics that are initialized to zero and for tables in the docs.
    pub const ALL: [Self; 29] = [
        Self::SlotsInUse,
        Self::Drain,
        Self::BacklogAge,
        Self::ReplicaCapacity,
        Self::BacklogPerReplica,
        Self::NoDemand,
        Self::RateLimited,
        Self::ThroughputLimited,
        Self::WithinTolerance,
        Self::Activated,
        Self::ScaleUpStabilized,
        Self::ScaleDownStabilized,
        Self::ScaleUpPolicy,
        Self::ScaleDownPolicy,
        Self::ScaleUpDisabled,
        Self::ScaleDownDisabled,
        Self::WarmingUp,
        Self::RolloutInProgress,
        Self::BusyPods,
        Self::CoolingDown,
        Self::SlotsUnknown,
        Self::BacklogUnknown,
        Self::AlreadyActedOn,
        Self::Fallback,
        Self::ScheduledMinimum,
        Self::ForecastMinimum,
        Self::MinReplicas,
        Self::MaxReplicas,
        Self::Paused,
    ];

    /// The reason as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlotsInUse => "SlotsInUse",
            Self::Drain => "Drain",
            Self::BacklogAge => "BacklogAge",
            Self::ReplicaCapacity => "ReplicaCapacity",
            Self::BacklogPerReplica => "BacklogPerReplica",
            Self::NoDemand => "NoDemand",
            Self::RateLimited => "RateLimited",
            Self::ThroughputLimited => "ThroughputLimited",
            Self::WithinTolerance => "WithinTolerance",
            Self::Activated => "Activated",
            Self::ScaleUpStabilized => "ScaleUpStabilized",
            Self::ScaleDownStabilized => "ScaleDownStabilized",
            Self::ScaleUpPolicy => "ScaleUpPolicy",
            Self::ScaleDownPolicy => "ScaleDownPolicy",
            Self::ScaleUpDisabled => "ScaleUpDisabled",
            Self::ScaleDownDisabled => "ScaleDownDisabled",
            Self::WarmingUp => "WarmingUp",
            Self::RolloutInProgress => "RolloutInProgress",
            Self::BusyPods => "BusyPods",
            Self::CoolingDown => "CoolingDown",
            Self::SlotsUnknown => "SlotsUnknown",
            Self::BacklogUnknown => "BacklogUnknown",
            Self::AlreadyActedOn => "AlreadyActedOn",
            Self::Fallback => "Fallback",
            Self::ScheduledMinimum => "ScheduledMinimum",
            Self::ForecastMinimum => "ForecastMinimum",
            Self::MinReplicas => "MinReplicas",
            Self::MaxReplicas => "MaxReplicas",
            Self::Paused => "Paused",
        }
    }

    /// Whether the reason is a limit (something kept the number from following the demand) rather
    /// than the demand itself.
    pub const fn is_limit(self) -> bool {
        !matches!(
            self,
            Self::SlotsInUse
                | Self::Drain
                | Self::BacklogAge
                | Self::ReplicaCapacity
                | Self::BacklogPerReplica
                | Self::NoDemand
                | Self::Activated
        )
    }

    /// One line that explains the reason, as in the documentation.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::SlotsInUse => "the slots in use need this many replicas",
            Self::Drain => "the arrivals and the backlog need this many replicas",
            Self::BacklogAge => {
                "the oldest task has waited longer than the target and nearly every slot is in use"
            }
            Self::ReplicaCapacity => {
                "a replica takes so few tasks per second that this many replicas are needed"
            }
            Self::BacklogPerReplica => {
                "the target of waiting tasks per replica needs this many replicas"
            }
            Self::NoDemand => "there is nothing to do",
            Self::RateLimited => "the queue's rate limit cannot feed more replicas",
            Self::ThroughputLimited => "adding replicas did not raise the throughput",
            Self::WithinTolerance => "the demand is within the tolerance of the current size",
            Self::Activated => "there is work and there were no replicas",
            Self::ScaleUpStabilized => {
                "the scaleUp stabilization window holds a smaller recommendation"
            }
            Self::ScaleDownStabilized => {
                "the scaleDown stabilization window holds a larger recommendation"
            }
            Self::ScaleUpPolicy => "a scaleUp policy allows no larger step now",
            Self::ScaleDownPolicy => "a scaleDown policy allows no larger step now",
            Self::ScaleUpDisabled => "scaleUp.selectPolicy is Disabled",
            Self::ScaleDownDisabled => "scaleDown.selectPolicy is Disabled",
            Self::WarmingUp => {
                "there is too little history to scale down or to take a large step up"
            }
            Self::RolloutInProgress => "a rollout is in progress, so nothing scales down",
            Self::BusyPods => {
                "the tasks on these pods are not known to end within the drain grace period"
            }
            Self::CoolingDown => "not yet proven idle for the whole cooldown period",
            Self::SlotsUnknown => "the slots in use are unknown",
            Self::BacklogUnknown => "the backlog is unknown, so the replicas stay as they are",
            Self::AlreadyActedOn => "this reading was already used for a decision",
            Self::Fallback => "readings keep failing and a fallback is set",
            Self::ScheduledMinimum => "the schedule sets a minimum now",
            Self::ForecastMinimum => "the forecast expects a burst that came at this time before",
            Self::MinReplicas => "replicas.min",
            Self::MaxReplicas => "replicas.max",
            Self::Paused => "mode is Paused",
        }
    }
}
