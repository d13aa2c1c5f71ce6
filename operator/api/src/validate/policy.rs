//! Resolves how to scale one queue: its own values, else the fleet's, else the defaults. Pure.

use std::time::Duration;

use taskqueue_scaling as scaling;
use taskqueue_scaling::Policy;

use crate::duration::{DurationRange, DurationString};
use crate::fleet::grace_seconds;
use crate::scaling::{
    BehaviorSpec, COOLDOWN_PERIOD, Mode, POLLING_INTERVAL, PolicyType, QUEUE_WAIT_TARGET,
    QUIET_POLLING_INTERVAL, ScalingPolicy, ScalingRules, ScalingSpec, SelectPolicy,
};
use crate::validate::findings::Findings;
use crate::worker::{QueueSpec, TaskQueueWorkerSpec};

/// The two places that may set a value, the queue's first.
struct Layers<'a> {
    queue_path: String,
    queue: Option<&'a ScalingSpec>,
    fleet: &'a ScalingSpec,
}

impl<'a> Layers<'a> {
    /// The value, and the path of the place that sets it.
    fn find<T>(
        &self,
        field: &str,
        pick: impl Fn(&'a ScalingSpec) -> Option<T>,
    ) -> Option<(String, T)> {
        self.queue
            .and_then(&pick)
            .map(|value| (format!("{}.scaling.{field}", self.queue_path), value))
            .or_else(|| pick(self.fleet).map(|value| (format!("spec.scaling.{field}"), value)))
    }

    fn duration(
        &self,
        range: &DurationRange,
        default: Duration,
        findings: &mut Findings,
        pick: impl Fn(&'a ScalingSpec) -> Option<DurationString>,
    ) -> Duration {
        match self.find(range.field, pick) {
            None => default,
            Some((path, value)) => {
                if !range.contains(value) {
                    findings.add(path, range.message());
                }
                value.into()
            }
        }
    }

    fn number(
        &self,
        field: &str,
        most: u32,
        findings: &mut Findings,
        pick: impl Fn(&'a ScalingSpec) -> Option<u32>,
    ) -> Option<u32> {
        let (path, value) = self.find(field, pick)?;
        if !(1..=most).contains(&value) {
            findings.add(path, format!("{field} must be from 1 to {most}"));
        }
        Some(value)
    }
}

/// The policy of one queue, complete except for the schedule and the forecast, which depend on the
/// time.
pub(super) fn resolve(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> Policy {
    let queue_path = format!("spec.queues[{}]", queue.name);
    if queue.replicas.min > queue.replicas.max {
        findings.add(
            format!("{queue_path}.replicas.min"),
            format!(
                "is {}, which is greater than max, {}",
                queue.replicas.min, queue.replicas.max
            ),
        );
    }
    let layers = Layers {
        queue_path,
        queue: queue.scaling.as_ref(),
        fleet: &spec.scaling,
    };
    let default = Policy::default();
    let polling_interval =
        layers.duration(&POLLING_INTERVAL, default.polling_interval, findings, |s| {
            s.polling_interval
        });
    let policy = Policy {
        min: queue.replicas.min,
        max: queue.replicas.max,
        queue_wait_target: layers.duration(
            &QUEUE_WAIT_TARGET,
            default.queue_wait_target,
            findings,
            |s| s.queue_wait_target,
        ),
        target_utilization: layers
            .number("targetUtilization", 100, findings, |s| s.target_utilization)
            .or(default.target_utilization),
        slots_per_replica: layers
            .number("slotsPerReplica", 100_000, findings, |s| {
                s.slots_per_replica
            })
            .unwrap_or(default.slots_per_replica),
        backlog_per_replica: layers
            .number("backlogPerReplica", 1_000_000, findings, |s| {
                s.backlog_per_replica
            })
            .or(default.backlog_per_replica),
        polling_interval,
        // If unset, the quiet interval follows a longer polling interval instead of contradicting
        // it.
        quiet_polling_interval: layers.duration(
            &QUIET_POLLING_INTERVAL,
            default.quiet_polling_interval.max(polling_interval),
            findings,
            |s| s.quiet_polling_interval,
        ),
        cooldown_period: layers.duration(
            &COOLDOWN_PERIOD,
            default.cooldown_period.max(polling_interval),
            findings,
            |s| s.cooldown_period,
        ),
        behavior: behavior(&layers, default.behavior),
        scheduled_min: default.scheduled_min,
        forecast: default.forecast,
        fallback: layers
            .find("fallback", |s| s.fallback.as_ref())
            .map(|(_, fallback)| scaling::Fallback {
                failure_threshold: fallback.failure_threshold,
                replicas: fallback.replicas,
            }),
        drain_grace_period: Duration::from_secs(grace_seconds(spec.drain.grace_period).into()),
        mode: layers
            .find("mode", |s| s.mode)
            .map_or(default.mode, |(_, mode)| match mode {
                Mode::Active => scaling::Mode::Active,
                Mode::DryRun => scaling::Mode::DryRun,
                Mode::Paused => scaling::Mode::Paused,
            }),
    };
    check_intervals(&layers, &policy, findings);
    policy
}

/// The port on which the pods of one queue serve their metrics.
pub(super) fn metrics_port(
    spec: &TaskQueueWorkerSpec,
    queue: &QueueSpec,
    findings: &mut Findings,
) -> Option<u16> {
    let layers = Layers {
        queue_path: format!("spec.queues[{}]", queue.name),
        queue: queue.scaling.as_ref(),
        fleet: &spec.scaling,
    };
    let (path, port) = layers.find("metricsPort", |s| s.metrics_port)?;
    if port == 0 {
        findings.add(path, "metricsPort must be from 1 to 65535");
    }
    Some(port)
}

fn check_intervals(layers: &Layers<'_>, policy: &Policy, findings: &mut Findings) {
    let polling = DurationString::from(policy.polling_interval);
    let others = [
        ("cooldownPeriod", policy.cooldown_period),
        ("quietPollingInterval", policy.quiet_polling_interval),
    ];
    for (field, value) in others {
        if value < policy.polling_interval {
            findings.add(
                format!("{}.scaling.{field}", layers.queue_path),
                format!(
                    "is {}, which is shorter than pollingInterval, {polling}; a queue takes unset \
                     fields from spec.scaling",
                    DurationString::from(value)
                ),
            );
        }
    }
}

fn behavior(layers: &Layers<'_>, default: scaling::Behavior) -> scaling::Behavior {
    scaling::Behavior {
        scale_up: rules(layers, default.scale_up, |behavior| {
            behavior.scale_up.as_ref()
        }),
        scale_down: rules(layers, default.scale_down, |behavior| {
            behavior.scale_down.as_ref()
        }),
    }
}

fn rules<'a>(
    layers: &Layers<'a>,
    default: scaling::ScalingRules,
    direction: impl Fn(&'a BehaviorSpec) -> Option<&'a ScalingRules>,
) -> scaling::ScalingRules {
    let side = |scaling: &'a ScalingSpec| scaling.behavior.as_ref().and_then(&direction);
    let queue = layers.queue.and_then(side);
    let fleet = side(layers.fleet);
    let sides = || queue.into_iter().chain(fleet);
    scaling::ScalingRules {
        stabilization_window: sides()
            .find_map(|rules| rules.stabilization_window_seconds)
            .map_or(default.stabilization_window, |seconds| {
                Duration::from_secs(seconds.into())
            }),
        policies: sides()
            .find_map(|rules| rules.policies.as_ref())
            .map_or(default.policies, |policies| {
                policies.iter().map(step).collect()
            }),
        select: sides()
            .find_map(|rules| rules.select_policy)
            .map_or(default.select, |select| match select {
                SelectPolicy::Max => scaling::SelectPolicy::Max,
                SelectPolicy::Min => scaling::SelectPolicy::Min,
                SelectPolicy::Disabled => scaling::SelectPolicy::Disabled,
            }),
        tolerance_percent: sides().find_map(|rules| rules.tolerance).map_or(
            default.tolerance_percent,
            crate::scaling::Fraction::as_percent,
        ),
    }
}

fn step(policy: &ScalingPolicy) -> scaling::StepPolicy {
    scaling::StepPolicy {
        kind: match policy.kind {
            PolicyType::Pods => scaling::StepKind::Pods,
            PolicyType::Percent => scaling::StepKind::Percent,
        },
        value: policy.value,
        period: Duration::from_secs(policy.period_seconds.into()),
    }
}
