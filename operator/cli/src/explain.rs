//! `explain`: why a queue has the replicas that it has. Reads the fleet, its Events and the
//! operator's metrics with the user's own permissions and prints; writes nothing to any cluster.
//! [`text`] makes the text.

pub mod explanation;
pub mod text;

use clap::Args;

use crate::clock;
use crate::cluster::{Cluster, ClusterArgs, FleetSources};
use crate::output::{Output, print};
use explanation::Explanation;

/// The text below the flags in `--help`.
pub const HELP: &str = "\
Needs permission to get taskqueueworkers and to list events in the fleet's namespace. The current
state also needs permission to get services/proxy in the operator's namespace, or --metrics.";

/// The arguments of `explain`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// The fleet: the name of a TaskQueueWorker.
    pub fleet: String,

    /// The name of the queue in the fleet. Optional if the fleet has only one.
    pub queue: Option<String>,

    /// Where to read.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// The output format.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Explains the queue on standard output.
///
/// # Errors
/// If there is no usable kubeconfig, no such fleet or queue, or printing fails.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    print(&explain(&cluster, arguments).await?)
}

/// The explanation as text.
///
/// # Errors
/// If the API server does not return the fleet, or the fleet has no such queue.
pub async fn explain(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<String> {
    let FleetSources {
        fleet,
        events,
        scrape,
        notes,
    } = cluster
        .sources(&arguments.fleet, "no current metrics")
        .await?;
    let explanation = Explanation::of(
        &fleet,
        arguments.queue.as_deref(),
        &events,
        scrape.as_ref(),
        notes,
    )?;
    Ok(match arguments.output {
        Output::Json => serde_json::to_string_pretty(&explanation)? + "\n",
        Output::Table => explanation.render(clock::now()),
    })
}

#[cfg(test)]
mod tests;
