//! `spec.scaling` and `spec.queues[].scaling`: how many replicas a queue gets. Types and schema
//! only.
//!
//! Both places share one structure. Every field is optional, so that an override contains only what
//! it changes. The schema has defaults only in `spec.scaling` (see `crd`), because in an override
//! they would hide the fleet's values.
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, `pub` included, into a function"
)]

use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskqueue_scaling::Policy;

use crate::duration::{DurationRange, DurationString};
use crate::{cron, schema};

/// A second in milliseconds.
const SECOND: u64 = 1_000;
/// A day in milliseconds.
const DAY: u64 = 86_400 * SECOND;

/// Below half a second no reading could tell whether the target is met.
pub(crate) const QUEUE_WAIT_TARGET: DurationRange =
    DurationRange::new("queueWaitTarget", SECOND / 2, DAY);
/// Temporal refreshes its statistics once a second at most; after 5 minutes its rates are useless.
pub(crate) const POLLING_INTERVAL: DurationRange =
    DurationRange::new("pollingInterval", SECOND, 300 * SECOND);
/// As for [`POLLING_INTERVAL`].
pub(crate) const QUIET_POLLING_INTERVAL: DurationRange =
    DurationRange::new("quietPollingInterval", SECOND, 300 * SECOND);
/// Proving idleness takes at least one reading.
pub(crate) const COOLDOWN_PERIOD: DurationRange = DurationRange::new("cooldownPeriod", SECOND, DAY);

/// How a queue is scaled. Each value comes from the queue, else from the fleet, else from the
/// defaults.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingSpec {
    /// How long a task may wait in the queue before it starts. The operator sizes the queue to
    /// clear the backlog within this time. From 500ms to 24h. Default: 5s. Tasks that wake a queue
    /// from zero replicas wait up to 5s (Temporal caches its statistics) and for a pod to start,
    /// whatever the target; to avoid that, set replicas.min to at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUEUE_WAIT_TARGET.rule())]
    pub queue_wait_target: Option<DurationString>,

    /// The share of the workers' task slots that should be in use, in percent. The rest is headroom
    /// for new tasks. Set it only to fix that share: without it, queueWaitTarget and the load
    /// decide how many slots stay free. From 1 to 100. Default: not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub target_utilization: Option<u32>,

    /// How many tasks one replica executes at a time, per task type. Used only until the workers'
    /// heartbeats or metrics report their slots, or those of another queue of the fleet that has
    /// the same pods. From 1 to 100000. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub slots_per_replica: Option<u32>,

    /// A simple target: at most this many waiting tasks per replica. It is one more demand; the
    /// largest demand wins. From 1 to 1000000. Default: not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub backlog_per_replica: Option<u32>,

    /// The longest time between two readings of a queue that has work, as far as the call budget of
    /// its Temporal namespace allows. Temporal refreshes these statistics every 5s, so a shorter
    /// interval has the effect of 5s, unless the server caches them for less and the chart's
    /// temporal.statisticsCache is set to that time. From 1s to 5m. Default: 5s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = POLLING_INTERVAL.rule())]
    pub polling_interval: Option<DurationString>,

    /// The longest time between two readings of a queue without work. Not less than
    /// pollingInterval, at most 5m. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = QUIET_POLLING_INTERVAL.rule())]
    pub quiet_polling_interval: Option<DurationString>,

    /// How long a queue must be proven idle (no backlog, no arrivals, no running task) before it
    /// goes to zero replicas. Applies only if replicas.min is 0. Not less than pollingInterval, at
    /// most 24h. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = COOLDOWN_PERIOD.rule())]
    pub cooldown_period: Option<DurationString>,

    /// How fast the replicas may change. The fields are those of the HorizontalPodAutoscaler's
    /// behavior.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<BehaviorSpec>,

    /// What to do when several readings in a row have failed. If not set, the replicas stay as they
    /// are. A fallback never removes replicas. Default: not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<FallbackSpec>,

    /// Minimums by time window, for load at known times. While a window is open, the queue keeps at
    /// least its minReplicas, within replicas.max. At most 10. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub schedule: Option<Vec<ScheduleSpec>>,

    /// Learns at which times bursts come again and again, and raises the minimum shortly before
    /// each, within replicas.max. It never removes replicas. Default: no forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastSpec>,

    /// The port on which the pods serve the metrics of their Temporal SDK, under /metrics. Needed
    /// only if the SDK or the server has no heartbeats: while there are none, the operator reads
    /// the task slots from temporal_worker_task_slots_used and
    /// temporal_worker_task_slots_available. From 1 to 65535. Default: not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub metrics_port: Option<u16>,

    /// Active: decide and act. DryRun: decide and report, change nothing. Paused: decide nothing;
    /// you set the replicas, for example with kubectl scale. Default: Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

impl ScalingSpec {
    /// The defaults that the schema shows in `spec.scaling`; the same as those of [`Policy`].
    pub fn defaults() -> Self {
        let policy = Policy::default();
        Self {
            queue_wait_target: Some(policy.queue_wait_target.into()),
            target_utilization: policy.target_utilization,
            slots_per_replica: Some(policy.slots_per_replica),
            polling_interval: Some(policy.polling_interval.into()),
            quiet_polling_interval: Some(policy.quiet_polling_interval.into()),
            cooldown_period: Some(policy.cooldown_period.into()),
            mode: Some(Mode::default()),
            ..Self::default()
        }
    }
}

/// How fast the replicas may change, per direction.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BehaviorSpec {
    /// Limits on adding replicas. Default: none; the queue reaches the required size in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,

    /// Limits on removing replicas. Default: a stabilization window of 60 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// The limits of one direction.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// Seconds of past recommendations to consider: scaling down uses the highest of them, scaling
    /// up the lowest. From 0 to 3600. Default: 0 for scaleUp, 60 for scaleDown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<u32>,

    /// Which of the policies applies: Max allows the largest change, Min the smallest, Disabled
    /// allows none in this direction. Default: Max.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,

    /// The largest changes that are allowed in a period. At most 10. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub policies: Option<Vec<ScalingPolicy>>,

    /// How far the demand must be from the current replicas before the operator changes them, as a
    /// fraction with at most two decimals. From "0" to "1". Default: "0.1", a tenth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Fraction>,
}

/// The largest change that is allowed in a period.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingPolicy {
    /// What value counts: Pods, or Percent of the replicas at the start of the period. Required.
    #[serde(rename = "type")]
    pub kind: PolicyType,

    /// The largest change in the period, in pods or percent. From 1 to 100000. Required.
    #[schemars(range(min = 1, max = 100_000))]
    pub value: u32,

    /// The length of the period, in seconds. From 1 to 1800. Required.
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: u32,
}

/// What a policy's value counts.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = schema::no_description)]
pub enum PolicyType {
    /// A number of pods.
    Pods,
    /// A percentage of the replicas at the start of the period.
    Percent,
}

/// Which policy counts where there are several.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = schema::no_description)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// Whether the operator decides, acts, or leaves the replicas alone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[schemars(transform = schema::no_description)]
pub enum Mode {
    /// Decide and act.
    #[default]
    Active,
    /// Decide and report, change nothing.
    DryRun,
    /// Decide nothing.
    Paused,
}

/// A window in which a queue has a higher minimum. It is open from each start to the next end.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.start != self.end")
        .message("end must not be the same as start: the window would never open")
        .field_path(".end")
)]
pub struct ScheduleSpec {
    /// When the window opens, as a cron expression of five fields: minute, hour, day of month,
    /// month, day of week. Example: "0 8 * * MON-FRI". Required.
    #[schemars(length(min = 9, max = 100))]
    #[x_kube(validation = cron_rule("start"))]
    pub start: String,

    /// When the window closes, as a cron expression of five fields. Example: "0 18 * * MON-FRI".
    /// Required.
    #[schemars(length(min = 9, max = 100))]
    #[x_kube(validation = cron_rule("end"))]
    pub end: String,

    /// The time zone of start and end, as an IANA name. Example: Europe/Berlin. Default: UTC.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = IANA_NAME)]
    pub time_zone: String,

    /// The fewest replicas while the window is open. From 1 to 1000. Required.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: u32,
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

/// What a time zone must look like. Whether it exists is checked later.
const IANA_NAME: (&str, &str) = (
    "self.matches('^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$')",
    "timeZone must be an IANA name such as Europe/Berlin",
);

/// Whether, and in which time zone, a queue expects bursts that came before.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ForecastSpec {
    /// Enabled: learn, and raise the minimum before a burst that has come twice in a row at the
    /// same minute of the hour, the same ten minutes of the day or the same hour of the week.
    /// Disabled: neither; what was learned is forgotten. Required.
    pub mode: ForecastMode,

    /// The time zone of the days and weeks, as an IANA name. Example: Europe/Berlin. A change
    /// starts over. Default: UTC.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = IANA_NAME)]
    pub time_zone: String,
}

/// Whether a queue has a forecast.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[schemars(transform = schema::no_description)]
pub enum ForecastMode {
    /// Learn, and raise the minimum.
    Enabled,
    /// No forecast.
    Disabled,
}

fn cron_rule(field: &str) -> Rule {
    Rule::new(format!(
        "self.matches('{}')",
        cron::PATTERN.replace('\\', r"\\")
    ))
    .message(
        format!(
            "{field} must be a cron expression of five fields: minute, hour, day of month, \
             month, day of week, such as 0 8 * * MON-FRI"
        )
        .as_str(),
    )
}

/// What to do when Temporal does not answer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FallbackSpec {
    /// How many readings in a row must have failed. From 1 to 100. Default: 3.
    #[serde(default = "default_failure_threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,

    /// The replicas to keep then, unless there are more already. From 0 to 1000. Required.
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: u32,
}

fn default_failure_threshold() -> u32 {
    3
}

/// A fraction between 0 and 1 in hundredths, written as a string with at most two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fraction(u32);

impl Fraction {
    /// Creates a fraction from hundredths; more than 100 becomes 100.
    pub const fn from_percent(percent: u32) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// The fraction in percent, 0 to 100.
    pub const fn as_percent(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, rest) if rest % 10 == 0 => write!(f, "{whole}.{}", rest / 10),
            (whole, rest) => write!(f, "{whole}.{rest:02}"),
        }
    }
}

impl std::str::FromStr for Fraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || {
            format!(
                "\"{text}\" is not a fraction from 0 to 1 with at most two decimals, such as 0.1"
            )
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |part: &str, max: usize| {
            (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !plain(whole, 1) || !plain(decimals, 2) {
            return Err(refuse());
        }
        let hundredths: u32 = format!("{whole}{decimals:0<2}")
            .parse()
            .map_err(|_| refuse())?;
        if hundredths > 100 {
            Err(refuse())
        } else {
            Ok(Self(hundredths))
        }
    }
}

impl Serialize for Fraction {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Fraction {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Fraction".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": r"^(0(\.[0-9]{1,2})?|1(\.0{1,2})?)$",
            "maxLength": 4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_fraction_reads_back_as_itself() {
        for percent in 0..=100 {
            let fraction = Fraction::from_percent(percent);
            assert_eq!(fraction.to_string().parse::<Fraction>(), Ok(fraction));
        }
        assert_eq!("1.00".parse::<Fraction>(), Ok(Fraction::from_percent(100)));
        for text in ["", "1.01", "2", "0.123", ".5", "0.", "-0.1", "+1", "10%"] {
            assert!(text.parse::<Fraction>().is_err(), "{text}");
        }
    }
}
