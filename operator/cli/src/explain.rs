//! `explain`: why a queue has the replicas that it has. Reads the fleet, its Events and the
//! operator's metrics with the user's own permissions and prints; writes nothing to any cluster.
//! [`text`] makes the text.

pub mod explanation;
mod now;
pub mod text;
mod words;

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use jiff::Timestamp;
use taskqueue_api::DurationString;

use crate::clock;
use crate::cluster::{Cluster, ClusterArgs, FleetSources};
use crate::color::{Color, Ink};
use crate::output::{Output, print};
use crate::pace::{interval, pace};
use explanation::Explanation;

/// The text below the flags in `--help`.
pub const HELP: &str = "\
Needs permission to get taskqueueworkers and to list events in the fleet's namespace.

The current state is in the operator's metrics, which need permission to get services/proxy in its
namespace. Without it they are read by a port-forward to the pod that leads, which needs permission
to get leases, to get and create pods/portforward, and, if the port is not 8080, to get pods.
--metrics needs none of these.";

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

    /// The output format. With --watch, json prints another object for every change.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Explain again whenever the decision or what holds the fleet back changes, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,

    /// The time between two reads of --watch, from 1s to 5m.
    #[arg(long, default_value = "2s", value_parser = interval())]
    pub interval: DurationString,

    /// When to color: titles bold, what holds the fleet back yellow.
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
}

/// Explains the queue on standard output.
///
/// # Errors
/// If there is no usable kubeconfig, no such fleet or queue, or printing fails.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let cluster = Cluster::connect(&arguments.cluster).await?;
    if !arguments.watch {
        let text = explain(&cluster, arguments).await;
        cluster.close().await;
        return print(&text?);
    }
    let mut screen = Screen {
        show: print,
        warn: |text: &str| {
            // If standard error is closed, nobody reads it.
            _ = std::io::stderr().write_all(text.as_bytes());
        },
    };
    let ended = tokio::select! {
        ended = follow(&cluster, arguments, &mut screen) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    cluster.close().await;
    ended
}

/// Where `--watch` prints.
struct Screen<Show, Warn> {
    /// Prints an explanation; if it cannot, the command ends.
    show: Show,
    /// Prints a line about a read that failed.
    warn: Warn,
}

/// Reads at every interval, and explains again if there is news. A first read that fails ends it;
/// of later ones, each new reason is reported once.
async fn follow<Show, Warn>(
    cluster: &Cluster,
    arguments: &Arguments,
    screen: &mut Screen<Show, Warn>,
) -> anyhow::Result<()>
where
    Show: FnMut(&str) -> anyhow::Result<()>,
    Warn: FnMut(&str),
{
    let mut pace = pace(arguments.interval);
    let mut last = read(cluster, arguments).await?;
    let mut shown = last.clone();
    (screen.show)(&text(&last, arguments, clock::now())?)?;
    let mut failed = None;
    loop {
        pace.tick().await;
        let mut next = match read(cluster, arguments).await {
            Ok(next) => next,
            Err(error) => {
                let why = format!("{error:#}");
                if failed.as_ref() != Some(&why) {
                    (screen.warn)(&format!("Note: the last read failed: {why}\n"));
                }
                failed = Some(why);
                continue;
            }
        };
        failed = None;
        next.queue.compare(&last.queue);
        if next.is_news(&shown) {
            let now = clock::now();
            let head = match arguments.output {
                Output::Json => String::new(),
                Output::Table => format!("\n--- {}\n", now.strftime("%H:%M:%S UTC")),
            };
            (screen.show)(&(head + &text(&next, arguments, now)?))?;
            shown = next.clone();
        } else if shown.queue.deciding.is_none() {
            shown.queue.deciding.clone_from(&next.queue.deciding);
        }
        last = next;
    }
}

/// The explanation as text.
///
/// # Errors
/// If the API server does not return the fleet, or the fleet has no such queue.
pub async fn explain(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<String> {
    let explanation = read(cluster, arguments).await?;
    text(&explanation, arguments, clock::now())
}

async fn read(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<Explanation> {
    let FleetSources {
        fleet,
        events,
        scrape,
        notes,
    } = cluster
        .sources(&arguments.fleet, "no current metrics")
        .await?;
    let queue = arguments.queue.as_deref();
    Explanation::of(&fleet, queue, &events, scrape.as_ref(), notes)
}

/// How standard output is marked.
fn ink(arguments: &Arguments) -> Ink {
    arguments.color.ink(std::io::stdout().is_terminal())
}

fn text(
    explanation: &Explanation,
    arguments: &Arguments,
    now: Timestamp,
) -> anyhow::Result<String> {
    Ok(match arguments.output {
        Output::Json => serde_json::to_string_pretty(explanation)? + "\n",
        Output::Table => explanation.render(now, ink(arguments)),
    })
}

#[cfg(test)]
mod tests;
