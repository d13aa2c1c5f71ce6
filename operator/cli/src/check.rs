//! `check`: what is wrong with a fleet and its workers, as a list. Reads the fleet, its Events and
//! the operator's metrics with the user's own permissions and prints; writes nothing to any
//! cluster. [`list`] makes the list.

pub mod list;

use std::process::ExitCode;

use clap::Args;

use crate::clock;
use crate::cluster::{Cluster, ClusterArgs, FleetSources};
use crate::output::{Output, print};
use list::List;

/// The text below the flags in `--help`.
pub const HELP: &str = "\
Lists what the operator sees the workers do wrong, its findings about the queues, and the conditions
that report a problem. A limit that binds (ScalingLimited), a rollout under way, and the modes
DryRun and Paused do not count; a mode is named below the list.

Exit codes: 0 if nothing is wrong, 1 if something is, 2 if it cannot be checked.

Needs permission to get taskqueueworkers and to list events in the fleet's namespace.

The metrics need permission, in the operator's namespace, to get services/proxy. Without it they are
read by a port-forward to the pod that leads, which needs permission to get leases, to get and
create pods/portforward, and, if the port is not 8080, to get pods. --metrics needs none of these.";

/// The arguments of `check`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// The fleet: the name of a TaskQueueWorker.
    pub fleet: String,

    /// Where to read.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// What the list says as a whole. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is wrong.
    Fine = 0,
    /// Something is wrong.
    Wrong = 1,
    /// Nothing is seen to be wrong, but not everything could be read.
    Unknown = 2,
}

impl Outcome {
    /// What a list says.
    pub fn of(list: &List) -> Self {
        if !list.issues.is_empty() {
            Self::Wrong
        } else if list.notes.is_empty() {
            Self::Fine
        } else {
            Self::Unknown
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

/// Prints the list on standard output.
///
/// # Errors
/// If there is no usable kubeconfig, no such fleet, or printing fails.
pub async fn run(arguments: &Arguments) -> anyhow::Result<Outcome> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let checked = check(&cluster, arguments).await;
    cluster.close().await;
    let (text, outcome) = checked?;
    print(&text)?;
    Ok(outcome)
}

/// The list as text, and what it says as a whole.
///
/// # Errors
/// If the API server does not return the fleet.
pub async fn check(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<(String, Outcome)> {
    let FleetSources {
        fleet,
        events,
        scrape,
        notes,
    } = cluster
        .sources(&arguments.fleet, "what workers do wrong is unknown")
        .await?;
    let list = List::of(&fleet, &events, scrape.as_ref(), notes)?;
    let outcome = Outcome::of(&list);
    let text = match arguments.output {
        Output::Json => serde_json::to_string_pretty(&list)? + "\n",
        Output::Table => list.render(clock::now()),
    };
    Ok((text, outcome))
}

#[cfg(test)]
mod tests;
