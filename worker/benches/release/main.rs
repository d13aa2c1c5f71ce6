//! Builds the order worker as it is shipped: the compiler is told what runs. A first build counts what a worker does while it
//! waits, and with some hundred orders, on PostgreSQL, and on SQLite with TLS to Temporal; the second one uses the counts.
//! What runs often is made fast, what never runs is made small, and they are kept apart, so that less of the program is in
//! memory.
//!
//! ```sh
//! cargo bench --profile dev --workspace --bench release
//! ```
//!
//! The last line is the binary. From nothing it takes over a quarter of an hour on two cores. Counts differ a little from
//! run to run, and so does the binary; what it does is that of `cargo build --release`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build that cannot go on ends, and its output is the purpose"
)]
#![allow(dead_code, reason = "parts of the benchmark are for measuring")]

#[path = "../../tests/worker/authority.rs"]
mod authority;
#[path = "../worker/binary.rs"]
mod binary;
#[path = "../worker/cargo.rs"]
mod cargo;
mod counts;
mod link;
#[path = "../worker/load.rs"]
mod load;
#[path = "../worker/process.rs"]
mod process;
#[path = "../../tests/worker/proxy.rs"]
mod proxy;
#[path = "../../tests/worker/servers.rs"]
mod servers;
#[path = "../worker/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use order_worker::gateway::Gateway;
use temporalio_client::Client;

use crate::authority::Authority;
use crate::load::{run_activities, run_orders};
use crate::process::{Place, Process};
use crate::proxy::Proxy;

/// The activities and the orders of each worker that is watched. There are two, so what runs once in each start is counted
/// twice, and is not taken for what hardly ever runs.
const ACTIVITIES: usize = 1_000;
const ORDERS: usize = 300;

/// The largest function that is copied to a place that calls it often: a third of the compiler's own limit, which makes the
/// program too large for its image.
const INLINING: &str = "llvm-args=-hot-callsite-threshold=1000";

/// How long a worker is watched that has nothing to do: some of its heartbeats.
const WAIT: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(linked) = link::link() {
        return linked;
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let folder = cargo::scratch().join("release");
    let [counts, watched] = ["counts", "watched"].map(|name| folder.join(name));
    for folder in [&counts, &watched] {
        // Those of an earlier run belong to another program.
        let _none_yet = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
    }

    // First, so that what is missing is said before anything is built.
    let shop = Shop::open(&folder).await;
    eprintln!("building an order-worker that counts");
    let counting = build(
        &folder,
        &[format!("profile-generate={}", counts.display())],
        &[],
    );
    eprintln!("watching it wait and work");
    let mut runs = Vec::new();
    for work in [false, true] {
        for (name, place) in &shop.places {
            let name = format!("{name}-{}", if work { "works" } else { "waits" });
            shop.watch(&counting, place, &name, work).await;
            let run = watched.join(name);
            std::fs::rename(&counts, &run).unwrap();
            runs.push(run);
        }
    }
    let waiting: Vec<PathBuf> = runs[..shop.places.len()]
        .iter()
        .map(|run| counts::merge(&[run]))
        .collect();
    let all = counts::merge(&runs);
    shop.gateway.stop().await.unwrap();
    eprintln!("building order-worker with the profile release and the counts");
    let options = [
        format!("profile-use={}", all.display()),
        INLINING.to_owned(),
    ];
    let built = build(&folder, &options, &link::configuration(&waiting, &all));

    let shipped = folder.join("order-worker");
    std::fs::copy(built, &shipped).unwrap();
    println!("Built: {}.", binary::describe(&shipped));
    println!("{}", shipped.display());
    ExitCode::SUCCESS
}

/// Builds an order worker whose compiler is given more options, and cargo more configuration.
fn build(folder: &Path, options: &[String], configuration: &[String]) -> PathBuf {
    let flags: Vec<String> = options.iter().map(|option| format!("-C{option}")).collect();
    // Joined to the flags of the workspace, which a variable would replace.
    let flags = format!("target.x86_64-unknown-linux-musl.rustflags={flags:?}");
    let mut arguments = vec!["--target-dir".into(), folder.join("target").into()];
    for value in configuration.iter().chain([&flags]) {
        arguments.extend(["--config".into(), value.into()]);
    }
    cargo::order_worker(&arguments)
}

/// Where a worker can work: with either database, with and without TLS.
struct Shop {
    client: Client,
    gateway: Gateway,
    places: [(&'static str, Place); 2],
    _proxy: Proxy,
}

impl Shop {
    async fn open(folder: &Path) -> Self {
        let (temporal, client, gateway) = support::surroundings().await;
        let authority = Authority::new();
        let ca = folder.join("ca.crt");
        std::fs::write(&ca, &authority.ca).unwrap();
        let proxy = Proxy::start(authority.open_server()).await;
        let sqlite = folder.join("orders.db");
        let _none_yet = std::fs::remove_file(&sqlite);
        let plain = Place {
            temporal,
            database: servers::postgres_database().await,
            gateway: format!("http://{}", gateway.address()),
            eager: false,
            tls: None,
        };
        let with_tls = Place {
            temporal: format!("127.0.0.1:{}", proxy.port),
            database: format!("sqlite:{}?mode=rwc", sqlite.display()),
            gateway: plain.gateway.clone(),
            eager: false,
            tls: Some((ca, authority::SERVER_NAME)),
        };
        Self {
            client,
            gateway,
            places: [("plain", plain), ("with-tls", with_tls)],
            _proxy: proxy,
        }
    }

    /// Has a worker wait, or do what workers do. It writes its counts when it ends by itself.
    async fn watch(&self, program: &Path, place: &Place, queue: &str, work: bool) {
        let mut worker = Process::start(program, &["run".into()], place, queue);
        worker.first_poll(&self.client, queue).await;
        if work {
            run_activities(&self.client, queue, queue, ACTIVITIES).await;
            run_orders(&self.client, queue, queue, ORDERS).await;
        } else {
            tokio::time::sleep(WAIT).await;
        }
        worker.drain().await;
    }
}
