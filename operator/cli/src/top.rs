//! `top`: a live table of fleets and their queues. Reads the API server and the operator's metrics
//! with the user's own permissions and prints; writes nothing to any cluster.
//!
//! Pure: [`crate::figures`] parses the metrics, [`crate::view`] makes the table, `state` knows the
//! keys, `screen` what fits on the screen. I/O: [`crate::cluster`], `live` and `terminal`, and this
//! file, which prints.

mod live;
mod screen;
mod state;
mod terminal;

use std::io::IsTerminal as _;

use clap::Args;
use taskqueue_api::DurationString;

use crate::clock;
use crate::cluster::{Cluster, ClusterArgs};
use crate::color::{Color, Ink};
use crate::output::{Output, print};
use crate::pace::interval;
use crate::view::table::{Sort, Style, table};
use crate::view::{self, Snapshot};
use live::{Settings, follow};
use state::KEYS;

/// The text below the flags in `--help`, without the keys.
const HELP: &str = "\
BACKLOG, WAIT, SLOTS and DRAIN come from the operator's metrics; a dash means unknown. READY is
ready/desired replicas. WAIT is the age of the oldest waiting task, TARGET the queueWaitTarget.
SLOTS is used/all of the task type whose slots are fullest; `explain` shows every type.

Needs permission to list taskqueueworkers.

The metrics need permission, in the operator's namespace, to get services/proxy. Without it they are
read by a port-forward to the pod that leads, which needs permission to get leases, to get and
create pods/portforward, and, if the port is not 8080, to get pods. --metrics needs none of these.

`kubectl tqw` is the program kubectl-tqw in the PATH.";

/// What `--help` shows below the flags.
pub fn help() -> String {
    let keys = KEYS.replace('\n', "\n    ");
    format!("Keys of the live table:\n    {keys}\n\n{HELP}")
}

/// The arguments of `top`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// Where to read.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Show the fleets of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Show only fleets with these labels, such as team=shop,stage!=test.
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub selector: Option<String>,

    /// Print once and exit. Always on without a terminal, and with TERM=dumb.
    #[arg(long)]
    pub once: bool,

    /// The output format. json implies --once.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// The order of the rows.
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    pub sort: Sort,

    /// The time between two reads, from 1s to 5m.
    #[arg(long, default_value = "2s", value_parser = interval())]
    pub interval: DurationString,

    /// When to color: waits over their target red, what holds a fleet back yellow.
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

/// Shows the fleets, once or until a key or a signal ends it.
///
/// # Errors
/// If there is no usable kubeconfig, the API server refuses, or printing fails.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    let ended = show(&cluster, arguments).await;
    cluster.close().await;
    ended
}

async fn show(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let ink = arguments.color.ink(terminal);
    // Without the escape codes of terminals there is only one way to show something: below.
    let dumb = std::env::var("TERM").is_ok_and(|kind| kind == "dumb");
    if arguments.once || arguments.output == Output::Json || !terminal || dumb {
        return print(&once(cluster, arguments, ink).await?);
    }
    let settings = Settings {
        scope: scope(cluster, arguments),
        namespaces: arguments.all_namespaces,
        sort: arguments.sort,
        interval: arguments.interval,
        ink,
    };
    // A first read that fails is reported before the screen changes.
    let first = look(cluster, arguments).await?;
    follow(&settings, first, || Box::pin(look(cluster, arguments))).await
}

/// One snapshot as text.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn once(cluster: &Cluster, arguments: &Arguments, ink: Ink) -> anyhow::Result<String> {
    let snapshot = look(cluster, arguments).await?;
    let style = Style {
        namespaces: arguments.all_namespaces,
        sort: arguments.sort,
        ink,
    };
    Ok(match arguments.output {
        Output::Json => serde_json::to_string_pretty(&snapshot)? + "\n",
        Output::Table if snapshot.fleets.is_empty() => {
            format!("There are no fleets {}.\n", scope(cluster, arguments))
        }
        Output::Table => table(&snapshot, style, clock::now()).text(),
    })
}

async fn look(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<Snapshot> {
    let labels = arguments.selector.as_deref();
    let fleets = cluster.fleets(arguments.all_namespaces, labels);
    let (fleets, scrape) = tokio::join!(fleets, cluster.scrape());
    let fleets = fleets?;
    let (scrape, notes) = match scrape {
        Ok(scrape) => (Some(scrape), Vec::new()),
        Err(why) => (None, vec![format!("no current metrics: {why}")]),
    };
    Ok(view::snapshot(&fleets, scrape.as_ref(), notes))
}

fn scope(cluster: &Cluster, arguments: &Arguments) -> String {
    let place = if arguments.all_namespaces {
        "in all namespaces".to_owned()
    } else {
        format!("in namespace {}", cluster.namespace)
    };
    match &arguments.selector {
        Some(labels) => format!("{place} with the labels {labels}"),
        None => place,
    }
}

#[cfg(test)]
pub(crate) mod tests;
