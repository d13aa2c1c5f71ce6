//! Compares the order worker with workers in Go and in Python that do the same work: processor time
//! per activity and per order, throughput, resident memory, image size, and the time from exec to
//! the first poll. Builds all, starts its own Temporal, PostgreSQL and payment gateway, loads the
//! workers in turn, and prints one table.
//!
//! ```sh
//! cargo bench --profile dev --workspace --bench worker -- --worker FILE
//! ```
//!
//! The profile is that of this program alone. `--worker` names the worker to measure; without it,
//! the program builds one with the release profile first. The dev server and its database share the
//! machine and limit the throughput, so compare the processor time per task.
//!
//! If something is missing, a message says what, and the exit code is 1.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on ends, and its output is the purpose"
)]

mod build;
mod cargo;
mod load;
mod process;
mod support;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use order_worker::store::Store;
use order_worker_testkit::{binary, postgres_database, postgres_program};
use taskqueue_worker::testing::temporal_command;
use temporalio_client::Client;

use crate::build::Built;
use crate::load::{Round, run_activities, run_orders};
use crate::process::{Memory, Process, Services};

/// How long a worker stays idle before its idle memory is read.
const SETTLE: Duration = Duration::from_secs(5);

#[allow(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
#[derive(Parser)]
struct Args {
    /// Number of rounds. In each, every worker runs its activities and orders once.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Activities per round (`create_order`: one SQL statement).
    #[arg(long, default_value_t = 2_000)]
    activities: usize,
    /// Orders per round (four activities each, one of them an HTTP request).
    #[arg(long, default_value_t = 300)]
    orders: usize,
    /// How often to start each worker to time its first poll.
    #[arg(long, default_value_t = 7)]
    starts: usize,
    /// A built order-worker to measure instead of building one. The table says which profile it was
    /// built with.
    #[arg(long, value_name = "FILE")]
    worker: Option<PathBuf>,
    /// A second order-worker, measured in the same rounds, to show the effect of a change.
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// Leave out the Go worker.
    #[arg(long)]
    no_go: bool,
    /// Leave out the Python worker. Its packages come from PyPI.
    #[arg(long)]
    no_python: bool,
    /// Let the Go worker start activities eagerly with their workflow task, as is its default. The
    /// order worker does not, because a separate SDK worker runs its activities.
    #[arg(long)]
    eager: bool,
    /// cargo passes this.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A measured worker and its results.
pub(crate) struct Contestant {
    built: Built,
    services: Services,
    /// In milliseconds.
    first_polls: Vec<f64>,
    idle: Memory,
    loaded: Memory,
    activities: Vec<Round>,
    orders: Vec<Round>,
}

impl Contestant {
    fn start(&self, queue: &str) -> Process {
        let Built {
            program, arguments, ..
        } = &self.built;
        Process::start(program, arguments, &self.services, queue)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    temporal_command()?;
    postgres_program("postgres")?;
    let built = build::all(&args)?;
    let (address, client, gateway) = support::surroundings().await;
    let mut contestants = Vec::new();
    for built in built {
        let database = postgres_database().await;
        // The schema already exists when a worker starts, as in every start but the very first.
        let store = Store::open(&database, 1).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
        contestants.push(Contestant {
            services: Services {
                temporal: address.clone(),
                database,
                gateway: format!("http://{}", gateway.address()),
                eager: args.eager,
            },
            built,
            first_polls: Vec::new(),
            idle: Memory::default(),
            loaded: Memory::default(),
            activities: Vec::new(),
            orders: Vec::new(),
        });
    }
    let before = binary::machine();
    time_first_polls(&client, &mut contestants, args.starts).await;
    measure(&client, &mut contestants, &args).await;
    gateway.stop().await.unwrap();
    for Built { name, version, .. } in contestants.iter().map(|c| &c.built) {
        println!("{name}: {version}.");
    }
    println!("Before: {before}. After: {}.", binary::machine());
    table::print(&contestants, &args);
    Ok(())
}

/// Starts every worker several times, in turn.
async fn time_first_polls(client: &Client, contestants: &mut [Contestant], starts: usize) {
    for start in 0..starts {
        for (number, contestant) in contestants.iter_mut().enumerate() {
            let queue = format!("start-{number}-{start}");
            let mut worker = contestant.start(&queue);
            let took = worker.first_poll(client, &queue).await;
            contestant.first_polls.push(took.as_secs_f64() * 1000.0);
        }
    }
}

/// Loads every worker in turn, round after round.
async fn measure(client: &Client, contestants: &mut [Contestant], args: &Args) {
    let mut workers = Vec::new();
    for (number, contestant) in contestants.iter_mut().enumerate() {
        let queue = format!("load-{number}");
        let mut worker = contestant.start(&queue);
        worker.first_poll(client, &queue).await;
        workers.push((queue, worker));
    }
    tokio::time::sleep(SETTLE).await;
    for (contestant, (_, worker)) in contestants.iter_mut().zip(&workers) {
        contestant.idle = worker.memory();
    }
    // The first round fills pools and caches and is not counted.
    for round in 0..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for (contestant, (queue, worker)) in contestants.iter_mut().zip(&workers) {
            let name = format!("{queue}-{round}");
            let activities = args.activities;
            let work = run_activities(client, queue, &name, activities);
            let activities = worker.measure(activities, work).await;
            let work = run_orders(client, queue, &name, args.orders);
            let orders = worker.measure(args.orders, work).await;
            if round > 0 {
                contestant.activities.push(activities);
                contestant.orders.push(orders);
            }
            contestant.loaded = worker.memory();
        }
    }
}
