//! How a worker runs: slots, pollers, heartbeats, the grace period, its HTTP endpoint. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use temporalio_common::worker::VersioningBehavior;

use crate::environment::{Environment, SettingError};

/// Where `/livez`, `/readyz` and `/metrics` are served unless set otherwise.
const HTTP_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), 8080);

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

impl LogFormat {
    /// Reads `TASKQUEUE_WORKER_LOG_FORMAT`: `text` (the default) or `json`.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let name = "TASKQUEUE_WORKER_LOG_FORMAT";
        let format = environment.parse(name, "must be json or text", |value| match value {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        })?;
        Ok(format.unwrap_or_default())
    }
}

/// How a worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSettings {
    /// `TEMPORAL_TASK_QUEUE`; the queue that the program names if absent.
    pub task_queue: Option<String>,
    /// The deployment name and the build id, if `TEMPORAL_DEPLOYMENT_NAME` and
    /// `TEMPORAL_WORKER_BUILD_ID` are set. They turn worker versioning on.
    pub deployment: Option<(String, String)>,
    /// `TASKQUEUE_WORKER_VERSIONING_BEHAVIOR`: `auto_upgrade` (the default) or `pinned`, for
    /// workers with a deployment version.
    pub versioning_behavior: VersioningBehavior,
    /// `TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS`, default 30.
    pub drain_grace: Duration,
    /// `TASKQUEUE_WORKER_HTTP_ADDRESS`, default `[::]:8080`: every address, of IPv4 as
    /// well as of IPv6.
    pub http_address: SocketAddr,
    /// `TASKQUEUE_WORKER_ACTIVITY_SLOTS`, 1 to 10,000, default 100.
    pub activity_slots: usize,
    /// `TASKQUEUE_WORKER_WORKFLOW_SLOTS`, 2 to 10,000, default 100.
    pub workflow_slots: usize,
    /// `TASKQUEUE_WORKER_CACHED_WORKFLOWS`, 0 to 100,000, default 1000.
    pub cached_workflows: usize,
    /// `TASKQUEUE_WORKER_MAX_POLLERS`, 2 to 100, default 10: maximum number of concurrent polls for
    /// each kind of task.
    pub max_pollers: usize,
    /// `TASKQUEUE_WORKER_QUEUE_ACTIVITIES_PER_SECOND`: limit for the whole task queue, off by
    /// default.
    pub queue_activities_per_second: Option<u32>,
    /// `TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS`, 0 (never) to 60, default 5: how often the
    /// worker reports its slots to the server.
    pub heartbeat_interval: Duration,
    /// `TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES`, 0 (never) or from 100, default 50,000: replaces
    /// the SDK worker after this many activities.
    pub recycle_after: u64,
}

impl WorkerSettings {
    /// Reads the settings of a worker.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let number = |name, default, bounds| environment.number(name, default, bounds);
        Ok(Self {
            task_queue: environment.get("TEMPORAL_TASK_QUEUE").map(str::to_owned),
            deployment: deployment(environment)?,
            versioning_behavior: versioning_behavior(environment)?,
            drain_grace: environment.seconds(
                "TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS",
                30,
                0..=86_400,
            )?,
            http_address: environment.socket("TASKQUEUE_WORKER_HTTP_ADDRESS", HTTP_ADDRESS)?,
            activity_slots: number("TASKQUEUE_WORKER_ACTIVITY_SLOTS", 100, 1..=10_000)?,
            workflow_slots: number("TASKQUEUE_WORKER_WORKFLOW_SLOTS", 100, 2..=10_000)?,
            cached_workflows: number("TASKQUEUE_WORKER_CACHED_WORKFLOWS", 1000, 0..=100_000)?,
            max_pollers: number("TASKQUEUE_WORKER_MAX_POLLERS", 10, 2..=100)?,
            queue_activities_per_second: queue_activities_per_second(environment)?,
            heartbeat_interval: environment.seconds(
                "TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS",
                5,
                0..=60,
            )?,
            recycle_after: recycle_after(environment)?,
        })
    }
}

fn deployment(environment: &Environment) -> Result<Option<(String, String)>, SettingError> {
    const NAME: &str = "TEMPORAL_DEPLOYMENT_NAME";
    const BUILD: &str = "TEMPORAL_WORKER_BUILD_ID";
    let missing = |missing: &str, given: &str| {
        let problem = format!("is missing; it goes together with {given}");
        Err(SettingError::new(missing, problem))
    };
    match (environment.get(NAME), environment.get(BUILD)) {
        (None, None) => Ok(None),
        (Some(name), Some(build)) => Ok(Some((name.to_owned(), build.to_owned()))),
        (Some(_), None) => missing(BUILD, NAME),
        (None, Some(_)) => missing(NAME, BUILD),
    }
}

fn versioning_behavior(environment: &Environment) -> Result<VersioningBehavior, SettingError> {
    let behavior = environment.parse(
        "TASKQUEUE_WORKER_VERSIONING_BEHAVIOR",
        "must be auto_upgrade or pinned",
        |value| match value {
            "auto_upgrade" => Some(VersioningBehavior::AutoUpgrade),
            "pinned" => Some(VersioningBehavior::Pinned),
            _ => None,
        },
    )?;
    Ok(behavior.unwrap_or(VersioningBehavior::AutoUpgrade))
}

fn queue_activities_per_second(environment: &Environment) -> Result<Option<u32>, SettingError> {
    let name = "TASKQUEUE_WORKER_QUEUE_ACTIVITIES_PER_SECOND";
    let limit = environment.get(name);
    limit
        .map(|_| environment.number(name, 1, 1..=1_000_000))
        .transpose()
}

fn recycle_after(environment: &Environment) -> Result<u64, SettingError> {
    let name = "TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES";
    let number = environment.parse(name, "must be 0 (never) or at least 100", |value| {
        let number: u64 = value.parse().ok()?;
        (number == 0 || number >= 100).then_some(number)
    })?;
    Ok(number.unwrap_or(50_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<WorkerSettings, SettingError> {
        WorkerSettings::from_environment(&pairs.iter().copied().collect())
    }

    fn mistake(pairs: &[(&str, &str)]) -> String {
        read(pairs).unwrap_err().to_string()
    }

    #[test]
    fn every_setting_has_a_default() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.task_queue, None);
        assert_eq!(settings.deployment, None);
        assert_eq!(
            settings.versioning_behavior,
            VersioningBehavior::AutoUpgrade
        );
        assert_eq!(settings.recycle_after, 50_000);
        assert_eq!(settings.http_address.to_string(), "[::]:8080");
    }

    #[test]
    fn a_mistake_is_one_sentence_that_names_the_variable() {
        assert_eq!(
            mistake(&[("TASKQUEUE_WORKER_ACTIVITY_SLOTS", "0")]),
            "TASKQUEUE_WORKER_ACTIVITY_SLOTS must be a whole number from 1 to 10000"
        );
        assert_eq!(
            mistake(&[("TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES", "99")]),
            "TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES must be 0 (never) or at least 100"
        );
        assert_eq!(
            mistake(&[("TASKQUEUE_WORKER_VERSIONING_BEHAVIOR", "none")]),
            "TASKQUEUE_WORKER_VERSIONING_BEHAVIOR must be auto_upgrade or pinned"
        );
        assert_eq!(
            mistake(&[("TEMPORAL_DEPLOYMENT_NAME", "shop")]),
            "TEMPORAL_WORKER_BUILD_ID is missing; it goes together with TEMPORAL_DEPLOYMENT_NAME"
        );
    }
}
