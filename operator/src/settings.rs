//! The flags of `run` and their environment variables. Parsing only.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use taskqueue_api::{DurationString, duration_between};

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

/// Where and how the operator runs.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Settings {
    /// The address that serves /livez, /readyz and /metrics. `[::]` stands for every address, of
    /// IPv4 as well.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_METRICS_ADDRESS",
        default_value = "[::]:8080"
    )]
    pub metrics_address: SocketAddr,

    /// The address that accepts hints: POST /hints/{namespace}/{fleet}/{queue} makes the operator
    /// read a queue at once. Off by default. Only the leader listens.
    #[arg(long, env = "TASKQUEUE_OPERATOR_HINT_ADDRESS")]
    pub hint_address: Option<SocketAddr>,

    /// The namespaces to watch, separated by commas; empty means all of them.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub watch_namespaces: Vec<String>,

    /// Whether fleets may refer to ClusterTemporalConnections. Needs get, list and watch on them in
    /// the whole cluster.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_CLUSTER_CONNECTIONS",
        num_args = 0..=1,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub cluster_connections: bool,

    /// The maximum number of calls per second to one Temporal namespace, over all fleets that use
    /// it.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_TEMPORAL_CALLS_PER_SECOND",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub temporal_calls_per_second: u32,

    /// How long the Temporal server caches task queue statistics (its setting
    /// matching.TaskQueueInfoByBuildIdTTL), from 100ms to 1m. More frequent reads return nothing
    /// new.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_TEMPORAL_STATISTICS_CACHE",
        default_value = "5s",
        value_parser = duration_between(Duration::from_millis(100), Duration::from_mins(1))
    )]
    pub temporal_statistics_cache: DurationString,

    /// How long before its expiry a certificate of a connection is reported, from 1m to 8760h.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_CERTIFICATE_WARNING",
        default_value = "168h",
        value_parser = duration_between(Duration::from_mins(1), Duration::from_hours(8760))
    )]
    pub certificate_warning: DurationString,

    /// The maximum number of fleets that are reconciled at the same time.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_CONCURRENCY",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub concurrency: u16,

    /// Reconcile only while holding the leader lease. Required with more than one replica.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_LEADER_ELECTION",
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
    pub leader_election: bool,

    /// The name of the leader lease, in the operator's own namespace.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_LEASE_NAME",
        default_value = "taskqueue-operator"
    )]
    pub lease_name: String,

    /// The name of a second lease that the leader holds: the lease of an earlier version. Thus the
    /// two versions never write at the same time during an upgrade.
    #[arg(long, env = "TASKQUEUE_OPERATOR_FORMER_LEASE_NAME")]
    pub former_lease_name: Option<String>,

    /// The name of this process in Events and in the leader lease. In a pod, the pod's name.
    #[arg(long, env = "POD_NAME", default_value = "taskqueue-operator")]
    pub pod_name: String,

    /// The operator's own namespace: that of the leader lease, and of the Secrets that
    /// operatorCredentials of ClusterTemporalConnections name.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,

    /// How log lines are written.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Json
    )]
    pub log_format: LogFormat,

    /// What to log: error, warn, info, debug, trace, or a filter such as info,kube=debug.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log_level: String,
}

impl Settings {
    /// The namespaces to watch, without the empty entry that an empty variable leaves.
    pub fn namespaces(&self) -> Vec<String> {
        let names = self.watch_namespaces.iter().map(|name| name.trim());
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: Settings,
    }

    fn read(args: &[&str]) -> Result<Settings, String> {
        let line = ["run"].iter().chain(args);
        let read = Line::try_parse_from(line).map(|line| line.settings);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_checked_and_the_error_names_the_range() {
        let settings = read(&["--temporal-statistics-cache=1s"]).unwrap();
        assert_eq!(
            (
                settings.temporal_statistics_cache,
                settings.certificate_warning
            ),
            (
                DurationString::from_secs(1),
                DurationString::from_secs(7 * 86_400)
            )
        );
        let table = [
            (
                "--temporal-statistics-cache=50ms",
                "must be from 100ms to 1m",
            ),
            (
                "--temporal-statistics-cache=61s",
                "must be from 100ms to 1m",
            ),
            ("--temporal-statistics-cache=5", "is not a duration"),
            ("--certificate-warning=1s", "must be from 1m to 8760h"),
        ];
        for (argument, refusal) in table {
            let error = read(&[argument]).unwrap_err();
            assert!(error.contains(refusal), "{argument}: {error}");
        }
    }
}
