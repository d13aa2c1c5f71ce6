//! `simulate`: compares a user's policy with the HPA, KEDA and others on the user's own trace.
//! Reads the policy and writes the plots; talks to no cluster. `trace_file` reads the trace, and
//! `taskqueue-simulation` does the simulation.

mod trace_file;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use clap::Args;
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskqueue_api::scaling::ScalingSpec;
use taskqueue_api::worker::{DrainSpec, QueueSpec, ReplicasSpec};
use taskqueue_api::{
    ConnectionKind, ConnectionReference, DurationString, Invalid, Queue, TaskQueueWorker,
    TaskQueueWorkerSpec, duration_between, validate,
};
use taskqueue_scaling::Mode;
use taskqueue_simulation::{Comparison, Millis, Scenario, Setup, TraceFile, compare_with, svg};

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

/// The name of the only queue of a policy file that is not a whole resource.
const ONLY: &str = "queue";
/// The most replicas that the schema of the resource allows.
const MAX_REPLICAS: u32 = 1000;

/// The arguments of `simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Arguments {
    /// The trace.
    #[command(flatten)]
    pub trace: TraceArguments,

    /// The policy: a TaskQueueWorker, or `replicas` with optional `scaling` and `drain`.
    #[arg(long, value_name = "FILE.yaml")]
    pub policy: PathBuf,

    /// The queue of the TaskQueueWorker whose policy to use. Required if it has several.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,

    /// How many tasks a worker actually executes at a time. Default: the policy's slotsPerReplica.
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

    /// The task queue's rate limit in Temporal, in tasks per second. Default: none.
    #[arg(long, value_name = "TASKS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_limit: Option<u32>,

    /// The seed of all randomness that is not in the trace.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Write one plot per policy into this folder. It is created if needed.
    #[arg(long, value_name = "DIR")]
    pub svg: Option<PathBuf>,
}

/// Runs the comparison, writes the plots, and returns the report.
///
/// # Errors
/// If a file cannot be read, understood or written.
pub fn simulate(arguments: &Arguments) -> anyhow::Result<String> {
    let Arguments { trace, policy, .. } = arguments;
    let file = trace.read()?;
    let text = std::fs::read_to_string(policy).with_context(|| {
        format!(
            "cannot read {}; give a readable text file with --policy",
            policy.display()
        )
    })?;
    let queue = read_policy(&text, arguments.queue.as_deref())
        .with_context(|| policy.display().to_string())?;
    let (text, comparison) = report(file, queue, arguments);
    let Some(folder) = &arguments.svg else {
        return Ok(text);
    };
    let written = draw(&trace.name(), &comparison, folder)?;
    Ok(format!("{text}\n{written} plots in {}\n", folder.display()))
}

/// The content of a policy file that is not a whole resource.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bare {
    replicas: ReplicasSpec,
    #[serde(default)]
    scaling: ScalingSpec,
    #[serde(default)]
    drain: DrainSpec,
}

/// The queue with the policy to simulate, validated as the operator does it.
fn read_policy(text: &str, name: Option<&str>) -> anyhow::Result<Queue> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| anyhow!("is not YAML: {error}; --help shows what a policy looks like"))?;
    let documents: Vec<Value> = documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect();
    let alone = documents.len() == 1;
    let workers: Vec<&Value> = documents
        .iter()
        .filter(|document| document["kind"] == "TaskQueueWorker")
        .collect();
    match (workers.as_slice(), documents.as_slice()) {
        ([worker], _) => {
            let parsed = typed::<TaskQueueWorker>(worker, alone.then_some(text))?;
            refuse_unknown(
                "spec",
                &worker["spec"],
                &serde_json::to_value(&parsed.spec)?,
            )?;
            choose(parsed, name, false)
        }
        ([], [document]) if document.get("kind").is_none() => {
            let bare = typed::<Bare>(document, Some(text)).context(
                "a policy is a TaskQueueWorker, or `replicas: {min: …, max: …}` with optional \
                 `scaling:` and `drain:`",
            )?;
            refuse_unknown("", document, &serde_json::to_value(&bare)?)?;
            ensure!(
                name.is_none(),
                "contains one policy and no queues: omit --queue"
            );
            choose(whole(bare), None, true)
        }
        ([], []) => bail!("is empty; --help shows what a policy looks like"),
        ([], _) => bail!(
            "contains no TaskQueueWorker; name a file that contains one, or only `replicas:` and \
             `scaling:`"
        ),
        (several, _) => bail!(
            "contains {} TaskQueueWorkers; name a file with one",
            several.len()
        ),
    }
}

/// Parses the text again where there is one, because then the error names the line.
fn typed<T: serde::de::DeserializeOwned>(value: &Value, text: Option<&str>) -> anyhow::Result<T> {
    match text {
        Some(text) => serde_saphyr::from_str(text).map_err(|error| anyhow!("{error}")),
        None => T::deserialize(value).map_err(|error| anyhow!("the TaskQueueWorker: {error}")),
    }
}

/// Refuses unknown fields, as the API server would: a policy with a typo would be another policy.
fn refuse_unknown(path: &str, read: &Value, known: &Value) -> anyhow::Result<()> {
    match (read, known) {
        (Value::Object(read), Value::Object(known)) => {
            for (field, value) in read {
                let path = format!("{path}.{field}");
                let path = path.trim_start_matches('.');
                match known.get(field) {
                    Some(known) => refuse_unknown(path, value, known)?,
                    None if is_empty(value) => {}
                    None => {
                        bail!("{path}: unknown field; see kubectl explain taskqueueworker.spec")
                    }
                }
            }
            Ok(())
        }
        (Value::Array(read), Value::Array(known)) => read
            .iter()
            .zip(known)
            .enumerate()
            .try_for_each(|(index, (read, known))| {
                refuse_unknown(&format!("{path}[{index}]"), read, known)
            }),
        _ => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Wraps a bare policy in a whole resource, so that the same rules check both.
fn whole(bare: Bare) -> TaskQueueWorker {
    let worker = Container {
        name: "worker".to_owned(),
        image: Some("worker".to_owned()),
        ..Container::default()
    };
    let queue = QueueSpec {
        name: ONLY.to_owned(),
        task_queue: None,
        replicas: bare.replicas,
        task_types: None,
        scale_target_ref: None,
        template: None,
        deployment: None,
        resources: None,
        env: Vec::new(),
        node_selector: std::collections::BTreeMap::new(),
        tolerations: Vec::new(),
        priority_class_name: None,
        scaling: None,
    };
    let spec = TaskQueueWorkerSpec {
        connection: None,
        connection_ref: Some(ConnectionReference {
            kind: ConnectionKind::default(),
            name: "none".to_owned(),
        }),
        template: Some(PodTemplateSpec {
            metadata: None,
            spec: Some(PodSpec {
                containers: vec![worker],
                ..PodSpec::default()
            }),
        }),
        queues: vec![queue],
        scaling: bare.scaling,
        deployment: None,
        disruption_budget: None,
        drain: bare.drain,
    };
    TaskQueueWorker::new("simulated", spec)
}

/// The queue of this name, or the only one. Errors of a `bare` policy name the paths in its file.
fn choose(mut worker: TaskQueueWorker, name: Option<&str>, bare: bool) -> anyhow::Result<Queue> {
    // The API server fills these in; a file need not have them.
    worker.metadata.uid.get_or_insert_with(|| "none".to_owned());
    worker
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned());
    let place = format!("spec.queues[{ONLY}].");
    let fleet = validate(&worker).map_err(|invalid| {
        let lines = invalid.iter().map(|Invalid { path, message }| {
            let inside = path
                .strip_prefix(&place)
                .or_else(|| path.strip_prefix("spec."));
            let path = inside.filter(|_| bare).unwrap_or(path);
            format!("{path}: {message}")
        });
        anyhow!("{}", lines.collect::<Vec<_>>().join("\n"))
    })?;
    let names: Vec<&str> = fleet
        .queues
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    let names = names.join(", ");
    let found = match (name, fleet.queues.len()) {
        (None, 1) => fleet.queues.into_iter().next(),
        (None, _) => bail!("contains several queues: choose one of {names} with --queue"),
        (Some(name), _) => fleet.queues.into_iter().find(|queue| queue.name == name),
    };
    let queue = found.ok_or_else(|| {
        anyhow!(
            "has no queue {:?}: choose one of {names} with --queue",
            name.unwrap_or_default()
        )
    })?;
    let max = queue.policy.max;
    ensure!(
        (1..=MAX_REPLICAS).contains(&max),
        "replicas.max: is {max}; a simulation needs 1 to {MAX_REPLICAS}"
    );
    Ok(queue)
}

/// Runs the comparison. The report says what was run before it gives the results.
fn report(file: TraceFile, queue: Queue, arguments: &Arguments) -> (String, Comparison) {
    let TraceFile { mut trace, notes } = file;
    trace.limit_milli = arguments.rate_limit.map(|limit| u64::from(limit) * 1000);
    let mut policy = queue.policy;
    let mode = std::mem::replace(&mut policy.mode, Mode::Active);
    let mut setup = Setup {
        start_delay: arguments.startup.as_millis(),
        heartbeat: arguments.heartbeat.as_millis(),
        cache: arguments.cache.as_millis(),
        seed: arguments.seed,
        ..Setup::for_policy(&policy)
    };
    setup.slots = arguments.slots.unwrap_or(setup.slots);
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
    for note in notes {
        text.push_str(&note);
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
mod tests;
