//! `top`: a live table of fleets and their queues. Reads the API server and the operator's metrics
//! with the user's own permissions and prints; writes nothing to any cluster.
//!
//! Pure: [`crate::figures`] parses the metrics, [`crate::view`] makes the table. I/O:
//! [`crate::cluster`], and this file, which prints.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Args;
use taskqueue_api::DurationString;
use terminal_size::{Height, terminal_size};

use crate::clock;
use crate::cluster::{Cluster, ClusterArgs};
use crate::output::{Output, print};
use crate::pace::{interval, pace};
use crate::view::{self, Snapshot, Sort};

/// The text below the flags in `--help`.
pub const HELP: &str = "\
BACKLOG, WAIT, SLOTS and DRAIN come from the operator's metrics; a dash means unknown. READY is
ready/desired replicas. WAIT is the age of the oldest waiting task, TARGET the queueWaitTarget.

Needs permission to list taskqueueworkers.

The metrics need permission, in the operator's namespace, to get services/proxy. Without it they are
read by a port-forward to the pod that leads, which needs permission to get leases, to get and
create pods/portforward, and, if the port is not 8080, to get pods. --metrics needs none of these.

`kubectl tqw` is the program kubectl-tqw in the PATH.";

/// Switches to the alternate screen, hides the cursor and stops wrapping: a narrow terminal cuts
/// the lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// Restores the screen.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

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

    /// Print once and exit. Always on without a terminal.
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
}

/// Shows the fleets, once or until Ctrl-C.
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
    let live =
        !arguments.once && arguments.output == Output::Table && std::io::stdout().is_terminal();
    if !live {
        let text = once(cluster, arguments).await?;
        return print(&text);
    }
    // A first read that fails is reported before the screen changes.
    let first = look(cluster, arguments).await?;
    print(ENTER)?;
    let ended = tokio::select! {
        ended = follow(cluster, arguments, first) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    print(LEAVE)?;
    ended
}

/// One snapshot as text.
///
/// # Errors
/// If the API server refuses or does not answer.
pub async fn once(cluster: &Cluster, arguments: &Arguments) -> anyhow::Result<String> {
    let snapshot = look(cluster, arguments).await?;
    Ok(match arguments.output {
        Output::Json => serde_json::to_string_pretty(&snapshot)? + "\n",
        Output::Table if snapshot.fleets.is_empty() => {
            format!("There are no fleets {}.\n", scope(cluster, arguments))
        }
        Output::Table => view::table(
            &snapshot,
            arguments.all_namespaces,
            arguments.sort,
            clock::now(),
        ),
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

/// Draws again at every interval. If a read fails, the last table stays, with the reason.
async fn follow(cluster: &Cluster, arguments: &Arguments, first: Snapshot) -> anyhow::Result<()> {
    let mut pace = pace(arguments.interval);
    let mut shown = first;
    let mut failed = None;
    loop {
        let now = clock::now();
        let mut text = format!(
            "{}, fleets {}; every {}, Ctrl-C ends\n\n",
            now.strftime("%H:%M:%S UTC"),
            scope(cluster, arguments),
            arguments.interval
        );
        if let Some(why) = &failed {
            // Writing to a String does not fail.
            _ = write!(
                text,
                "This is an earlier state, because the last read failed: {why:#}\n\n"
            );
        }
        text.push_str(&view::table(
            &shown,
            arguments.all_namespaces,
            arguments.sort,
            now,
        ));
        draw(&view::fit(&text, height()))?;
        pace.tick().await;
        match look(cluster, arguments).await {
            Ok(mut snapshot) => {
                view::compare(&mut snapshot, &shown);
                shown = snapshot;
                failed = None;
            }
            Err(error) => failed = Some(error),
        }
    }
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

/// Draws from the upper left corner; clears the rest of each line and everything below the last.
fn draw(text: &str) -> anyhow::Result<()> {
    let lines: Vec<String> = text.lines().map(|line| format!("{line}\x1b[K")).collect();
    print(&format!("\x1b[H{}\x1b[J", lines.join("\r\n")))
}

/// The number of lines of the terminal. If it is unknown, everything is drawn.
fn height() -> usize {
    terminal_size().map_or(usize::MAX, |(_, Height(lines))| lines.into())
}

#[cfg(test)]
pub(crate) mod tests;
