//! `simulate`: compares a user's policy with the HPA, KEDA and others on the user's own trace.
//! Reads the policy and writes the plots; talks to no cluster. `trace_file` reads the trace, or
//! `recording` rebuilds it from what a Prometheus holds; `taskqueue-simulation` does the
//! simulation.

mod policy;
mod prometheus;
mod recording;
mod trace_file;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use taskqueue_api::{DurationString, Queue, duration_between};
use taskqueue_kubernetes::proxy::ProxyVariables;
use taskqueue_scaling::Mode;
use taskqueue_simulation::rebuild::{Rebuilt, agreement};
use taskqueue_simulation::{Comparison, Millis, Scenario, Setup, TraceFile, compare_with, svg};

use crate::clock;
use crate::output::{WIDTH, print, wrapped};
use policy::{Choice, read_policy};
use recording::{RecordingArguments, Request};
use trace_file::TraceArguments;

/// The text below the flags in `--help`.
pub const HELP: &str = "\
The trace is a CSV file with one task per line: its arrival and its duration, both in seconds.
The header arrival,duration may be absent; lines that begin with # are skipped.

Files of these public datasets are read as they are, once unpacked:
    Azure LLM inference 2023 and 2024    AzureLLMInferenceTrace_*.csv
    BurstGPT                             BurstGPT_*.csv
    Azure Functions 2021                 AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt
    Azure Functions 2019                 invocations_per_function_md.anon.d*.csv, --durations
    Alibaba cluster trace 2018           batch_task.csv
The time of --from counts from the first row of the first two, and from the beginning of the trace
in the others.

With --from-prometheus and --fleet, the trace is rebuilt from what the operator's metrics say of one
queue: arrivals from the rates and the backlog, durations from the service time and the slots in
use. The report says what is assumed and left out, and how far simulated waits are from the
measured ones:
    kubectl tqw simulate --from-prometheus http://localhost:9090 \\
        --fleet shop/orders --queue payments --since 24h --policy orders.yaml

The policy is a YAML file: a TaskQueueWorker as you apply it, or only the relevant part:
    replicas: {min: 0, max: 20}
    scaling: {queueWaitTarget: 5s}
    drain: {gracePeriod: 10m}

Example, from the root of the repository:
    kubectl tqw simulate \\
        --trace operator/simulation/examples/burst.csv \\
        --policy operator/simulation/examples/policy.yaml \\
        --slots 4 --svg target/plots

Columns of the table: p50 to max, the wait from arrival to start; late, tasks that waited longer
than the target; cost, worker-seconds ÷ ideal; flips, changes of direction; 0to1, starts from
zero; busy, pods that were stopped while they worked; known, first and raced, tasks cut off
(first: no task longer than the grace period had ended or been seen before; raced: started after
the last heartbeat that was read; known: all others); calls, calls to Temporal; peak, most
replicas requested.";

/// The arguments of `simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// The trace.
    #[command(flatten)]
    pub trace: TraceArguments,

    /// What a Prometheus recorded.
    #[command(flatten)]
    pub recording: RecordingArguments,

    /// The policy: a TaskQueueWorker, or `replicas` with optional `scaling` and `drain`.
    #[arg(long, value_name = "FILE.yaml")]
    pub policy: PathBuf,

    /// The queue of the TaskQueueWorker whose policy to use, and of the fleet in Prometheus.
    /// Required if there are several.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,

    /// How many tasks a worker actually executes at a time. Default: those that a Prometheus
    /// recorded, or else the policy's slotsPerReplica.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub slots: Option<u32>,

    /// The time from the request for a replica to its first poll, up to 1h.
    #[arg(
        long,
        default_value = "3s",
        value_parser = duration_between(Duration::ZERO, Duration::from_hours(1))
    )]
    pub startup: DurationString,

    /// The time between two heartbeats of a worker, from 1s to 5m (the SDKs' default is 60s).
    #[arg(
        long,
        default_value = "5s",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_mins(5))
    )]
    pub heartbeat: DurationString,

    /// How long Temporal caches task queue statistics, from 1s to 5m.
    #[arg(
        long,
        default_value = "5s",
        value_parser = duration_between(Duration::from_secs(1), Duration::from_mins(5))
    )]
    pub cache: DurationString,

    /// The task queue's rate limit in Temporal, in tasks per second. Default: what a
    /// Prometheus recorded, or else none.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_limit: Option<u32>,

    /// The seed of all randomness that is not in the trace.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write one plot per policy into this folder. It is created if needed.
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

/// Compares, and prints the report.
///
/// # Errors
/// If a file cannot be read, understood or written, or if Prometheus does not have the metrics.
pub async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let variables = ProxyVariables::of_environment();
    let now = clock::now().as_millisecond();
    print(&simulate(arguments, &variables, now).await?)
}

/// Runs the comparison, writes the plots, and returns the report. `now` is the present time, in
/// milliseconds since 1970.
async fn simulate(
    arguments: &Arguments,
    proxies: &ProxyVariables,
    now: i64,
) -> anyhow::Result<String> {
    let Arguments {
        trace,
        recording,
        policy,
        ..
    } = arguments;
    let text = std::fs::read_to_string(policy).with_context(|| {
        format!(
            "cannot read {}; give a readable text file with --policy",
            policy.display()
        )
    })?;
    let name = arguments.queue.as_deref();
    let choice = Choice::new(name, recording.from_prometheus.is_some());
    let queue = read_policy(&text, choice).with_context(|| policy.display().to_string())?;
    let load = match &recording.from_prometheus {
        Some(url) => {
            let request = Request {
                queue: name,
                length: trace.length,
                seed: arguments.seed,
                now,
            };
            Load::from(recording.read(url, request, proxies).await?)
        }
        None => Load::from(trace.read()?),
    };
    let name = load.file.trace.name.clone();
    let (text, comparison) = report(load, queue, arguments);
    let Some(folder) = &arguments.svg else {
        return Ok(text);
    };
    let written = draw(&name, &comparison, folder)?;
    Ok(format!("{text}\n{written} plots in {}\n", folder.display()))
}

/// What is simulated.
struct Load {
    file: TraceFile,
    /// What was measured, if the trace is rebuilt from a recording.
    recorded: Option<Rebuilt>,
}

impl From<TraceFile> for Load {
    fn from(file: TraceFile) -> Self {
        let recorded = None;
        Self { file, recorded }
    }
}

impl From<Rebuilt> for Load {
    fn from(rebuilt: Rebuilt) -> Self {
        let file = TraceFile {
            trace: rebuilt.trace.clone(),
            notes: rebuilt.notes.clone(),
        };
        Self {
            file,
            recorded: Some(rebuilt),
        }
    }
}

/// Runs the comparison. The report says what was run before it gives the results.
fn report(load: Load, queue: Queue, arguments: &Arguments) -> (String, Comparison) {
    let Load { file, mut recorded } = load;
    let TraceFile { mut trace, notes } = file;
    let limit = arguments.rate_limit.map(|limit| u64::from(limit) * 1000);
    trace.limit_milli = limit.or(trace.limit_milli);
    if let Some(recorded) = &mut recorded {
        recorded.trace.limit_milli = trace.limit_milli;
    }
    let mut policy = queue.policy;
    let mode = std::mem::replace(&mut policy.mode, Mode::Active);
    let mut setup = Setup {
        start_delay: arguments.startup.as_millis(),
        heartbeat: arguments.heartbeat.as_millis(),
        cache: arguments.cache.as_millis(),
        seed: arguments.seed,
        ..Setup::for_policy(&policy)
    };
    let recorded_slots = recorded.as_ref().and_then(|recorded| recorded.slots);
    setup.slots = arguments.slots.or(recorded_slots).unwrap_or(setup.slots);
    let mut text = format!(
        "{}: {}, the last arrival after {}, {} each on average\n\
         {} to {} replicas of {} slots that start within {}, queueWaitTarget {}{}, \
         drain.gracePeriod {}\n",
        trace.name,
        trace.about,
        time(trace.tasks.last().map_or(0, |task| task.arrives)),
        time(trace.mean_service()),
        policy.min,
        policy.max,
        setup.slots,
        arguments.startup,
        DurationString::from(policy.queue_wait_target),
        policy
            .target_utilization
            .map_or_else(String::new, |percent| format!(
                ", targetUtilization {percent} %"
            )),
        DurationString::from(policy.drain_grace_period),
    );
    for line in notes.iter().flat_map(|note| wrapped(note, "", WIDTH)) {
        text.push_str(&line);
        text.push('\n');
    }
    if !queue.schedule.is_empty() {
        text.push_str("scaling.schedule is ignored: a trace has no time of day\n");
    }
    if mode != Mode::Active {
        text.push_str("scaling.mode is treated as Active\n");
    }
    let forecast = queue.forecast.is_some();
    if forecast {
        text.push_str("scaling.forecast: the trace begins on a Monday at 00:00\n");
    }
    if let Some(recorded) = recorded {
        text.push('\n');
        text.push_str(&agreement(&recorded, &setup).map_or_else(
            || {
                "how far the waits are from the measured ones is unknown: the replicas, or the \
                 backlog and its age, were not recorded\n"
                    .to_owned()
            },
            |agreement| agreement.text(),
        ));
    }
    let comparison = compare_with(&Scenario { trace, setup }, &policy, forecast);
    text.push('\n');
    text.push_str(&comparison.table());
    let all = std::iter::once(&comparison.ours).chain(&comparison.others);
    for summary in all.map(|outcome| &outcome.summary) {
        if summary.unfinished > 0 {
            // Writing to a String does not fail.
            _ = writeln!(
                text,
                "{}: tasks unfinished four hours after the end: {}",
                summary.policy.trim(),
                summary.unfinished
            );
        }
    }
    (text, comparison)
}

/// Milliseconds below one minute, whole seconds from there on.
fn time(millis: Millis) -> DurationString {
    if millis < 60_000 {
        DurationString::from_millis(millis)
    } else {
        DurationString::from_secs(millis / 1000)
    }
}

/// Writes one plot per policy and returns their number.
fn draw(name: &str, comparison: &Comparison, folder: &Path) -> anyhow::Result<usize> {
    let remedy = "choose another folder with --svg";
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}; {remedy}", folder.display()))?;
    let mut written = 0;
    for outcome in std::iter::once(&comparison.ours).chain(&comparison.others) {
        let path = folder.join(format!("{name}-{}.svg", slug(&outcome.summary.policy)));
        std::fs::write(&path, svg(name, outcome))
            .with_context(|| format!("cannot write {}; {remedy}", path.display()))?;
        written += 1;
    }
    Ok(written)
}

/// Lower-case letters, digits, and hyphens between them.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    words.join("-")
}

#[cfg(test)]
mod fake_prometheus;
#[cfg(test)]
mod prometheus_tests;
#[cfg(test)]
mod tests;
