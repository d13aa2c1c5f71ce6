//! The cost of idle fleets: the operator's memory, processor time, writes to Kubernetes and calls
//! to Temporal, before and with a number of idle fleets. Starts kubectl and reads `/proc`; removes
//! the fleets at the end.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use procfs::{
    ProcResult,
    process::{Process, all_processes},
    ticks_per_second,
};
use serde_json::{Value, json};

use sandbox_machine::{
    Attempt, Column, Error, OPERATOR_NAMESPACE, OPERATOR_RELEASE, Progress, Result,
    SERVICES_NAMESPACE, Sandbox, files,
};
use taskqueue_exposition::sum;

/// The namespace that the fleets are made in.
const NAMESPACE: &str = "footprint";
/// How long the fleets may take to be applied.
const ROLLOUT_TIMEOUT: &str = "--timeout=300s";
/// Time without a write before the operator counts as idle: longer than the quiet polling interval.
const SETTLE: Duration = Duration::from_secs(45);
/// How long the operator may take to become idle. It reads many new queues at the pace of its call
/// budget, and writes the status of each after the first reading.
const SETTLE_TIMEOUT: Duration = Duration::from_mins(10);
/// Pause between two looks at the count of writes.
const SETTLE_PAUSE: Duration = Duration::from_secs(5);

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many fleets are made, of one queue each that is idle at zero.
    pub fleets: u32,
    /// How long the operator is watched, each time.
    pub window: Duration,
}

/// The operator over one window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    resident_megabytes: f64,
    /// Thousandths of a processor.
    cpu: f64,
    passes: f64,
    writes: f64,
    calls_per_second: f64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    resident_megabytes: f64,
    cpu_seconds: f64,
    passes: f64,
    writes: f64,
    calls: f64,
}

/// Measures the operator of a sandbox that is up, first as it is and then with the fleets; returns
/// a table.
pub fn run(sandbox: &Sandbox, options: Options, progress: Progress) -> Result<String> {
    let before = idle(sandbox, options, progress)?;
    progress.say(&format!("creating {} fleets", options.fleets));
    let began = Instant::now();
    let made = make(sandbox, options.fleets);
    let took = began.elapsed();
    let with = made.and_then(|()| idle(sandbox, options, progress));
    let removed = sandbox.kubectl_output(&[
        "delete",
        "namespace",
        NAMESPACE,
        "--ignore-not-found",
        ROLLOUT_TIMEOUT,
    ]);
    let with = with?;
    removed?;
    Ok(table(before, with, options, took))
}

/// Waits until the operator is idle, then measures one window.
fn idle(sandbox: &Sandbox, options: Options, progress: Progress) -> Result<Window> {
    let window = options.window.as_secs_f64();
    progress.say(&format!(
        "waiting until the operator has written nothing for {} s, then measuring it for \
         {window:.0} s",
        SETTLE.as_secs()
    ));
    settle(sandbox)?;
    let (first, began) = (sample(sandbox)?, Instant::now());
    thread::sleep(options.window);
    let (last, seconds) = (sample(sandbox)?, began.elapsed().as_secs_f64());
    Ok(Window {
        resident_megabytes: last.resident_megabytes,
        cpu: (last.cpu_seconds - first.cpu_seconds) * 1000.0 / seconds,
        passes: last.passes - first.passes,
        writes: last.writes - first.writes,
        calls_per_second: (last.calls - first.calls) / seconds,
    })
}

/// Waits until the operator has written nothing for [`SETTLE`].
fn settle(sandbox: &Sandbox) -> Result<()> {
    let began = Instant::now();
    let mut written = (sample(sandbox)?.writes, Instant::now());
    while written.1.elapsed() < SETTLE {
        if began.elapsed() > SETTLE_TIMEOUT {
            return Err(Error::Machine(format!(
                "the operator has not been idle for {} s within {} s, so its idle cost cannot be \
                 measured; its log says what it writes",
                SETTLE.as_secs(),
                SETTLE_TIMEOUT.as_secs()
            )));
        }
        thread::sleep(SETTLE_PAUSE);
        let writes = sample(sandbox)?.writes;
        if (writes - written.0).abs() > f64::EPSILON {
            written = (writes, Instant::now());
        }
    }
    Ok(())
}

/// Makes the fleets, all at once, and waits until every one is ready.
fn make(sandbox: &Sandbox, fleets: u32) -> Result<()> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE},
    });
    let items: Vec<Value> = std::iter::once(namespace)
        .chain((0..fleets).map(fleet))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let file = sandbox.paths().state.join("footprint.json");
    files::write_json(&file, &list)?;
    sandbox.kubectl_output(&["create", "--filename", &file.display().to_string()])?;
    fs::remove_file(&file).attempt(|| format!("removing {}", file.display()))?;
    sandbox
        .kubectl_output(&[
            "--namespace",
            NAMESPACE,
            "wait",
            "taskqueueworkers",
            "--all",
            "--for=condition=Ready",
            ROLLOUT_TIMEOUT,
        ])
        .map(drop)
}

fn fleet(number: u32) -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1",
        "kind": "TaskQueueWorker",
        "metadata": {"name": format!("fleet-{number:04}"), "namespace": NAMESPACE},
        "spec": {
            "connection": {"address": format!("temporal.{SERVICES_NAMESPACE}.svc:7233")},
            "template": {"spec": {"containers": [{"name": "worker", "image": "never-started:1"}]}},
            "queues": [{
                "name": "work",
                "taskQueue": format!("{NAMESPACE}-{number}"),
                "replicas": {"min": 0, "max": 1},
            }],
        },
    })
}

fn sample(sandbox: &Sandbox) -> Result<Sample> {
    // The standby has no fleets: memory, time and counters are those of the one that leads.
    let pod = sandbox.operator_pod()?;
    let (resident_megabytes, cpu_seconds) = process(sandbox, &pod)?;
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/metrics");
    let metrics = sandbox.kubectl_output(&["get", "--raw", &path])?;
    Ok(Sample {
        resident_megabytes,
        cpu_seconds,
        passes: sum(&metrics, "taskqueue_operator_reconcile_total"),
        writes: sum(&metrics, "taskqueue_operator_writes_total"),
        calls: sum(&metrics, "taskqueue_operator_temporal_requests_total"),
    })
}

/// Resident memory in MB and processor time in seconds of the operator's process in a pod of this
/// sandbox.
fn process(sandbox: &Sandbox, pod: &str) -> Result<(f64, f64)> {
    let cgroup = sandbox.paths().cgroup();
    let mut processes =
        all_processes().map_err(|error| Error::source("/proc", error.to_string()))?;
    let operator = processes.find_map(|process| {
        // Processes come and go while this looks.
        process
            .ok()
            .filter(|process| is_operator(process, &cgroup, pod))
    });
    let Some(operator) = operator else {
        return Err(Error::Usage(format!(
            "no operator runs in this sandbox; install it first: `cargo sandbox --name {0} \
             images` and `cargo sandbox --name {0} operator`",
            sandbox.paths().name
        )));
    };
    usage(&operator)
        .map_err(|why| Error::source(format!("process {}", operator.pid()), why.to_string()))
}

fn is_operator(process: &Process, cgroup: &str, pod: &str) -> bool {
    let is_program = |program: PathBuf| program.file_name().is_some_and(|n| n == OPERATOR_RELEASE);
    process.exe().is_ok_and(is_program)
        && process
            .cgroups()
            .is_ok_and(|groups| groups.0.iter().any(|group| group.pathname.contains(cgroup)))
        // Kubernetes names every container's host after its pod.
        && process
            .environ()
            .is_ok_and(|variables| variables.get(OsStr::new("HOSTNAME")) == Some(&pod.into()))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "memory and seconds of one process"
)]
fn usage(process: &Process) -> ProcResult<(f64, f64)> {
    let kilobytes = process.status()?.vmrss.unwrap_or(0);
    let stat = process.stat()?;
    let ticks = stat.utime + stat.stime;
    Ok((
        kilobytes as f64 * 1024.0 / 1e6,
        ticks as f64 / ticks_per_second() as f64,
    ))
}

fn table(before: Window, with: Window, options: Options, took: Duration) -> String {
    let row = |what: &str, value: fn(&Window) -> f64, digits: usize| {
        let [before, with] = [before, with].map(|window| format!("{:.digits$}", value(&window)));
        [what.to_owned(), before, with]
    };
    let columns = [
        Column::Words("THE OPERATOR"),
        Column::Numbers("BEFORE"),
        Column::Numbers("WITH THEM"),
    ];
    let rows = [
        row("resident memory, MB", |w| w.resident_megabytes, 1),
        row("CPU, thousandths of a core", |w| w.cpu, 1),
        row("reconciles", |w| w.passes, 0),
        row("writes to Kubernetes", |w| w.writes, 0),
        row("calls to Temporal per second", |w| w.calls_per_second, 1),
    ];
    format!(
        "{} fleets created and ready after {:.1} s; idle for {} s in each measurement\n\n{}",
        options.fleets,
        took.as_secs_f64(),
        options.window.as_secs(),
        sandbox_machine::table(columns, rows)
    )
}
