//! Measures whether the worker's memory grows with the work done. Runs the real binary against its
//! own Temporal dev server, gives it activities and orders, and prints its memory at regular
//! intervals.
//!
//! ```sh
//! cargo bench --profile dev --workspace --bench memory -- --worker FILE
//! ```
//!
//! Every activity must end and none may start twice. The last line says how much memory each of the
//! later activities cost. `--recycle 0` shows what the SDK keeps. Each line is read after a whole
//! number of SDK workers, so that the growth of the last worker does not look like a leak. The
//! payment gateway stand-in, which keeps a ledger, runs in this process.
//!
//! A late task may be caused by the server: with a database file, its histories go through one
//! connection to SQLite. So each line also shows the longest time in which no activity ended
//! although some were waiting, and the server's slowest answer to a read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its output is the purpose"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::{StreamExt, stream};
use order_gateway::{Gateway, GatewayOptions};
use order_worker::commands::start_order;
use order_worker::domain::activities::InventoryActivities;
use order_worker::domain::order::OrderInput;
use order_worker::domain::order::messages::ReleaseInventory;
use order_worker_testkit::binary;
use taskqueue_exposition::{Sample, sum};
use taskqueue_worker::testing::{free_port, temporal_command};
use taskqueue_worker::{Connector, Environment, TemporalSettings};
use tempfile::TempDir;
use temporalio_client::errors::StartActivityError;
use temporalio_client::{ActivityStartOptions, Client, UntypedWorkflow, WorkflowDescribeOptions};
use temporalio_sdk::ActivityCloseTimeouts;
use tokio::task::JoinHandle;

const QUEUE: &str = "memory";
/// The activities of one order: `check_order`, `create_order`, `reserve_inventory`,
/// `process_payment`.
const ORDER_ACTIVITIES: u64 = 4;
/// Start requests in flight.
const CONCURRENCY: usize = 16;
/// Time limit for the last task of a line. A lost task comes back within a minute.
const LAST_TASK_TIMEOUT: Duration = Duration::from_mins(5);
/// Time limit for starting one activity, all tries together.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two reads that measure how quickly the server answers, and between two tries.
const PROBE_PAUSE: Duration = Duration::from_millis(200);

#[derive(Parser)]
struct Args {
    /// Total number of activities: `release_inventory` on SQLite, and those of the orders.
    #[arg(long, default_value_t = 200_000)]
    activities: u64,
    /// Number of activities between two lines.
    #[arg(long, default_value_t = 10_000)]
    step: u64,
    /// Number of whole orders between two lines (four of the activities each).
    #[arg(long, default_value_t = 200)]
    orders: u64,
    /// Activities that wait or run at the same time: enough to keep the server busy. With many more
    /// there is a backlog, which the server does not hand out oldest first, so every activity is
    /// late.
    #[arg(long, default_value_t = 20)]
    waiting: u64,
    /// `TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES` of the worker; the worker's own default if left
    /// out.
    #[arg(long)]
    recycle: Option<u64>,
    /// A built order-worker to measure, instead of the one that cargo builds with the profile of
    /// this program.
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    /// cargo passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Process {
    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // In ticks of 10 ms on Linux.
        fields[11..13]
            .iter()
            .map(|ticks| f64::from(ticks.parse::<u32>().unwrap()) / 100.0)
            .sum()
    }
}

/// A folder for the files of the run, removed on drop.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("order-worker-memory-")
            .tempdir();
        Self(folder.unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            println!("What the servers wrote is in {}.", self.path().display());
        }
    }
}

/// Starts Temporal. It writes its histories to a file, without waiting for the disk: a server that
/// kept them in memory did not survive a hundred thousand of them.
fn start_temporal(program: &Path, folder: &Path) -> (Process, String) {
    let port = free_port().to_string();
    let log = std::fs::File::create(folder.join("temporal.log")).unwrap();
    let server = Command::new(program)
        .args(["server", "start-dev", "--headless", "--log-level", "error"])
        .args(["--port", &port, "--db-filename"])
        .arg(folder.join("temporal.db"))
        .args(["--sqlite-pragma", "synchronous=OFF"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    (Process(server), format!("127.0.0.1:{port}"))
}

async fn connect(address: &str) -> Client {
    let environment = Environment::from_iter([("TEMPORAL_ADDRESS", address)]);
    let settings = TemporalSettings::from_environment(&environment).unwrap();
    let timeout = tokio::time::sleep(Duration::from_secs(30));
    let connector = Connector::new(settings).unwrap();
    connector
        .connect_patiently(timeout)
        .await
        .expect("no Temporal")
}

/// What the worker connects to.
struct Services {
    temporal: String,
    database: String,
    gateway: String,
}

/// The worker and its metrics endpoint.
struct Worker {
    process: Process,
    http: reqwest::Client,
    url: String,
}

impl Worker {
    fn start(program: &Path, services: &Services, recycle: Option<u64>) -> Self {
        let port = free_port();
        let mut command = Command::new(program);
        command
            .arg("run")
            .env_clear()
            .env("TEMPORAL_ADDRESS", &services.temporal)
            .env("TEMPORAL_TASK_QUEUE", QUEUE)
            .env("DATABASE_URL", &services.database)
            .env("PAYMENT_GATEWAY_URL", &services.gateway)
            .env("SMTP_URL", "console:")
            .env("RUST_LOG", "warn")
            .env("TASKQUEUE_WORKER_HTTP_ADDRESS", format!("127.0.0.1:{port}"));
        if let Some(recycle) = recycle {
            let name = "TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES";
            command.env(name, recycle.to_string());
        }
        let http = reqwest::Client::builder().tls_certs_only([]);
        Self {
            process: Process(command.spawn().unwrap()),
            http: http.build().unwrap(),
            url: format!("http://127.0.0.1:{port}/metrics"),
        }
    }

    async fn metrics(&self) -> String {
        match self.http.get(&self.url).send().await {
            Ok(response) => response.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    async fn ended_activities(&self) -> f64 {
        let name = "taskqueue_worker_activities_total";
        sum_with(&self.metrics().await, name, ("outcome", "completed"))
    }

    /// Number of activities that started more than five seconds after they were scheduled.
    async fn late(&self) -> f64 {
        let name = "temporal_activity_schedule_to_start_latency_seconds";
        let metrics = self.metrics().await;
        let punctual = sum_with(&metrics, &format!("{name}_bucket"), ("le", "5"));
        sum(&metrics, &format!("{name}_count")) - punctual
    }

    /// Number of SDK workers that were replaced.
    async fn recycles(&self) -> f64 {
        sum(&self.metrics().await, "taskqueue_worker_recycles_total")
    }

    /// Waits until this many activities have ended. Returns the longest time in which none did.
    async fn wait_for(&self, activities: f64) -> Duration {
        let started = Instant::now();
        let (mut ended, mut last) = (self.ended_activities().await, started);
        let mut standstill = Duration::ZERO;
        while ended < activities {
            assert!(
                started.elapsed() < LAST_TASK_TIMEOUT,
                "activities are missing"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
            let before = std::mem::replace(&mut ended, self.ended_activities().await);
            standstill = standstill.max(last.elapsed());
            if ended > before {
                last = Instant::now();
            }
        }
        standstill
    }
}

/// The sum of a metric over the series that have this label.
fn sum_with(metrics: &str, name: &str, (label, value): (&str, &str)) -> f64 {
    let samples = metrics.lines().filter_map(Sample::parse);
    samples
        .filter(|sample| sample.name == name && sample.label(label) == Some(value))
        .map(|sample| sample.value)
        .sum()
}

/// Starts an activity. Tries again for a while: a slow server may not answer in time, and one that
/// has just started may not know its namespace yet. The id keeps it from being started twice.
async fn start_activity(client: &Client, n: u64) {
    let order_id = format!("m{n}");
    let began = Instant::now();
    loop {
        let timeout = ActivityCloseTimeouts::StartToClose(Duration::from_mins(1));
        let options = ActivityStartOptions::new(QUEUE, order_id.clone(), timeout).build();
        let activity = InventoryActivities::release_inventory;
        let input = ReleaseInventory {
            order_id: order_id.clone(),
        };
        match client.start_activity(activity, input.into(), options).await {
            Ok(_) | Err(StartActivityError::AlreadyStarted { .. }) => return,
            Err(error) => assert!(
                began.elapsed() < START_TIMEOUT,
                "activity {order_id} cannot be started: {error}"
            ),
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
}

async fn start_one_order(client: &Client, n: u64) {
    let (id, input) = (
        format!("order-m{n}"),
        OrderInput::new(&format!("m{n}"), 100),
    );
    start_order(client, QUEUE, &id, input).await.unwrap();
}

/// Converts to a float; counts here stay below 2^32.
fn number(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap())
}

/// The waiting times of one line.
struct Waits {
    /// From the start of the last activity until all have ended.
    for_the_last: Duration,
    /// The longest time in which no activity ended.
    standstill: Duration,
}

/// Repeatedly asks the server for a workflow that does not exist, which the server must look up in
/// its database.
struct Probe {
    /// In milliseconds.
    slowest: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probe {
    fn start(client: Client) -> Self {
        let slowest = Arc::<AtomicU64>::default();
        let noted = slowest.clone();
        let task = tokio::spawn(async move {
            let nothing = client.get_workflow_handle::<UntypedWorkflow>("no such order");
            loop {
                let asked = Instant::now();
                let _there_is_none = nothing.describe(WorkflowDescribeOptions::default()).await;
                let took = u64::try_from(asked.elapsed().as_millis()).unwrap();
                noted.fetch_max(took, Ordering::Relaxed);
                tokio::time::sleep(PROBE_PAUSE).await;
            }
        });
        Self { slowest, task }
    }

    /// The slowest answer since the last call, in seconds.
    fn slowest(&self) -> f64 {
        number(self.slowest.swap(0, Ordering::Relaxed)) / 1000.0
    }
}

/// The load: the number of activities in flight, and the totals so far.
struct Load<'a> {
    client: &'a Client,
    worker: &'a Worker,
    waiting: u64,
    singles: u64,
    orders: u64,
}

impl Load<'_> {
    fn activities(&self) -> u64 {
        self.singles + ORDER_ACTIVITIES * self.orders
    }

    /// Runs orders, then single activities up to a total.
    async fn run(&mut self, orders: u64, total: u64) -> Waits {
        let (client, worker) = (self.client, self.worker);
        stream::iter(self.orders..self.orders + orders)
            .for_each_concurrent(CONCURRENCY, |n| start_one_order(client, n))
            .await;
        self.orders += orders;
        let mut standstill = Duration::ZERO;
        while self.activities() < total {
            let some = self.waiting.min(total - self.activities());
            stream::iter(self.singles..self.singles + some)
                .for_each_concurrent(CONCURRENCY, |n| start_activity(client, n))
                .await;
            self.singles += some;
            let behind = self.activities().saturating_sub(self.waiting);
            standstill = standstill.max(worker.wait_for(number(behind)).await);
        }
        let all_started = Instant::now();
        let last = worker.wait_for(number(self.activities())).await;
        Waits {
            for_the_last: all_started.elapsed(),
            standstill: standstill.max(last),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let program = match &args.worker {
        Some(file) => binary::find(file)?,
        None => PathBuf::from(env!("CARGO_BIN_EXE_order-worker")),
    };
    println!("Measured: {}.", binary::describe(&program)?);
    let folder = Folder::new();
    let (_server, temporal) = start_temporal(&temporal_command()?, folder.path());
    let client = connect(&temporal).await;
    let gateway = Gateway::start(([127, 0, 0, 1], 0).into(), GatewayOptions::default())
        .await
        .unwrap();
    let file = folder.path().join("orders.db");
    let services = Services {
        temporal,
        database: format!("sqlite://{}?mode=rwc", file.display()),
        gateway: format!("http://{}", gateway.address()),
    };
    println!("Before: {}.\n", binary::machine());
    let worker = Worker::start(&program, &services, args.recycle);
    measure(&args, &client, &worker).await;
    println!("After: {}.", binary::machine());
    Ok(())
}

/// Runs everything and prints the table.
async fn measure(args: &Args, client: &Client, worker: &Worker) {
    println!(
        "| activities | orders among them | anonymous (MB) | resident (MB) | threads | recycles | \
         waited for the last (s) | late | longest standstill (s) | \
         slowest answer of the server (s) \
         | per second | processor ms per activity |"
    );
    println!("|{}", " --- |".repeat(12));
    let probe = Probe::start(client.clone());
    let started = Instant::now();
    let mut load = Load {
        client,
        worker,
        waiting: args.waiting,
        singles: 0,
        orders: 0,
    };
    let mut lines = Vec::new();
    while load.activities() < args.activities {
        let (line_started, cpu) = (Instant::now(), worker.process.cpu());
        let before = load.activities();
        let total = (before + args.step).min(args.activities);
        let orders = args.orders.min((total - before) / ORDER_ACTIVITIES);
        let waits = load.run(orders, total).await;
        let in_line = number(load.activities() - before);
        let anonymous = worker.process.status("RssAnon");
        println!(
            "| {} | {} | {:.1} | {:.1} | {} | {} | {:.1} | {} | {:.1} | {:.1} | {:.0} | {:.2} |",
            load.activities(),
            load.orders,
            number(anonymous) / 1024.0,
            number(worker.process.status("VmRSS")) / 1024.0,
            worker.process.status("Threads"),
            worker.recycles().await,
            waits.for_the_last.as_secs_f64(),
            worker.late().await,
            waits.standstill.as_secs_f64(),
            probe.slowest(),
            in_line / line_started.elapsed().as_secs_f64(),
            (worker.process.cpu() - cpu) * 1000.0 / in_line,
        );
        lines.push((load.activities(), anonymous));
    }
    let ended = worker.ended_activities().await;
    let more = ended - number(load.activities());
    assert!(more < 0.5, "{more} activities ran more than once");
    // The first half fills caches and pools.
    let half = &lines[lines.len() / 2..];
    if let [(first, before), .., (last, after)] = half {
        println!(
            "\n{ended} activities in {:.0?}; over the second half {:.1} bytes each.",
            started.elapsed(),
            (number(*after) - number(*before)) * 1024.0 / number(last - first),
        );
    }
}
