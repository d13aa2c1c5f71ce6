//! What the user requests for one queue, fully resolved. Plain data.

use std::time::Duration;

use crate::forecast::Forecast;

/// The scaling policy of one queue: every default filled in, every override applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The minimum number of replicas. 0 allows scale to zero. Default 0. At most `max`.
    pub min: u32,
    /// The maximum number of replicas. Default 10.
    pub max: u32,
    /// How long a task may wait in the queue before it starts. Default 5 s; above zero.
    pub queue_wait_target: Duration,
    /// The target percentage of task slots in use; 1 to 100 (values outside are clamped). Default
    /// none: the queue-wait target decides how many slots stay free.
    pub target_utilization: Option<u32>,
    /// Task slots per replica and task type, used only until the workers report their own, or those
    /// of another queue of the fleet that has the same pods. Default 100; at least 1.
    pub slots_per_replica: u32,
    /// A plain target: waiting tasks per replica, as one more demand term. Default none.
    pub backlog_per_replica: Option<u32>,
    /// The longest gap between readings of a queue with work. Default 5 s.
    pub polling_interval: Duration,
    /// The longest gap between readings of a quiet queue. Default 30 s.
    pub quiet_polling_interval: Duration,
    /// How long a queue must be proven idle before its last replica goes. Default 60 s.
    pub cooldown_period: Duration,
    /// Damping, in the terms of the HorizontalPodAutoscaler.
    pub behavior: Behavior,
    /// The minimum that the schedule requests now (already evaluated). 0 = none.
    pub scheduled_min: u32,
    /// What the forecast asks for now (already evaluated: see `RecurringLoad`). Default none.
    pub forecast: Option<Forecast>,
    /// What to do when readings keep failing. Default none: the fleet holds.
    pub fallback: Option<Fallback>,
    /// How long a draining worker may take to finish its tasks. Default 600 s.
    pub drain_grace_period: Duration,
    /// Whether decisions are carried out. Default `Active`.
    pub mode: Mode,
}

impl Policy {
    /// The longest gap between two readings over which history still counts, and the maximum age of
    /// a reading that is acted on: twice the longer polling interval, at least a minute.
    pub fn longest_gap(&self) -> Duration {
        const LEAST: Duration = Duration::from_mins(1);
        let interval = self.quiet_polling_interval.max(self.polling_interval);
        LEAST.max(interval.saturating_mul(2))
    }

    /// The replicas that the schedule, the forecast and `min` ask for, within `max`.
    pub(crate) fn floor(&self) -> u32 {
        let forecast = self.forecast.map_or(0, |forecast| forecast.replicas);
        let asked = self.scheduled_min.max(forecast).min(self.max);
        asked.max(self.min)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: 0,
            max: 10,
            queue_wait_target: Duration::from_secs(5),
            target_utilization: None,
            slots_per_replica: 100,
            backlog_per_replica: None,
            polling_interval: Duration::from_secs(5),
            quiet_polling_interval: Duration::from_secs(30),
            cooldown_period: Duration::from_mins(1),
            behavior: Behavior::default(),
            scheduled_min: 0,
            forecast: None,
            fallback: None,
            drain_grace_period: Duration::from_mins(10),
            mode: Mode::Active,
        }
    }
}

/// Damping per direction, with the HorizontalPodAutoscaler's structure and terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behavior {
    /// Rules for growing. Default: no window and no step limit (only the bounds limit growth; the
    /// HPA's 4 pods per 15 s would cost a minute, more than the queue's wait target allows).
    pub scale_up: ScalingRules,
    /// Rules for shrinking. Default: a window of 60 s (the HPA's 300 s would defeat the cooldown),
    /// no step limit.
    pub scale_down: ScalingRules,
}

impl Default for Behavior {
    fn default() -> Self {
        let rules = |window| ScalingRules {
            stabilization_window: Duration::from_secs(window),
            policies: Vec::new(),
            select: SelectPolicy::Max,
            tolerance_percent: 10,
        };
        Self {
            scale_up: rules(0),
            scale_down: rules(60),
        }
    }
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalingRules {
    /// Scaling up uses the smallest recommendation in this window, scaling down the largest. At
    /// most 1 h.
    pub stabilization_window: Duration,
    /// Step limits. Empty = none.
    pub policies: Vec<StepPolicy>,
    /// Which of several step limits applies.
    pub select: SelectPolicy,
    /// A demand that differs from the present size by at most this percentage changes nothing.
    /// Default 10.
    pub tolerance_percent: u32,
}

/// One step limit: at most `value` pods or percent within `period`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepPolicy {
    /// What `value` counts.
    pub kind: StepKind,
    /// The number of pods, or the percentage of the replicas at the start of the period.
    pub value: u32,
    /// The period, at most 30 min ([`StepPolicy::MAX_PERIOD`]).
    pub period: Duration,
}

impl StepPolicy {
    /// The longest period of a step limit (the HPA's own bound).
    pub const MAX_PERIOD: Duration = Duration::from_mins(30);
}

/// What a step limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// Which of several step limits applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// The replicas to keep while Temporal does not answer. Never shrinks the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The number of failed readings in a row that activates the fallback.
    pub failure_threshold: u32,
    /// The minimum number of replicas then (within the bounds).
    pub replicas: u32,
}

/// Whether decisions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Decide and act.
    Active,
    /// Decide and report, but change nothing.
    DryRun,
    /// Decide nothing; the replicas belong to whoever sets them.
    Paused,
}
