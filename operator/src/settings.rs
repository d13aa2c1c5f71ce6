//! The flags of `run` and their environment variables. Parsing only.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};

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
    /// Where /livez, /readyz and /metrics are served.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_METRICS_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub metrics_address: SocketAddr,

    /// Where hints are taken: POST /hints/{namespace}/{fleet}/{queue} makes a queue be read at once.
    /// Off by default. Only the leader listens.
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

    /// The most calls per second to one Temporal namespace, over all fleets that use it.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_TEMPORAL_CALLS_PER_SECOND",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub temporal_calls_per_second: u32,

    /// The most fleets that are worked on at the same time.
    #[arg(
        long,
        env = "TASKQUEUE_OPERATOR_CONCURRENCY",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub concurrency: u16,

    /// Work only while holding the leader lease. Needed for more than one replica.
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

    /// The name of this process: in Events and in the leader lease. In a pod, the pod's name.
    #[arg(long, env = "POD_NAME", default_value = "taskqueue-operator")]
    pub pod_name: String,

    /// The operator's own namespace, where the leader lease is.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,

    /// How log lines are written.
    #[arg(long, env = "TASKQUEUE_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or a filter such as info,kube=debug.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log_level: String,
}

impl Settings {
    /// The namespaces to watch without the empty entries that an empty variable leaves.
    pub fn namespaces(&self) -> Vec<String> {
        let names = self.watch_namespaces.iter().map(|name| name.trim());
        names
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    }
}
