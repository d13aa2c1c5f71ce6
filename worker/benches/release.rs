//! Builds the order worker as it is shipped: the compiler is told what runs. A first build counts what a worker does
//! with some hundred orders, on PostgreSQL, and on SQLite with TLS to Temporal; the second one uses the counts. What runs
//! often is made fast, what never runs is made small, and they are kept apart, so that less of the program is in memory.
//!
//! ```sh
//! cargo bench --profile dev --workspace --bench release
//! ```
//!
//! The last line is the binary. Two builds from nothing take a quarter of an hour on two cores. Counts differ a little from
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

#[path = "../tests/worker/authority.rs"]
mod authority;
#[path = "worker/binary.rs"]
mod binary;
#[path = "worker/cargo.rs"]
mod cargo;
#[path = "worker/load.rs"]
mod load;
#[path = "worker/process.rs"]
mod process;
#[path = "../tests/worker/proxy.rs"]
mod proxy;
#[path = "../tests/worker/servers.rs"]
mod servers;
#[path = "worker/support.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use order_worker::gateway::{Gateway, GatewayOptions};
use sha2::{Digest, Sha256};
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

#[tokio::main]
async fn main() {
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let folder = cargo::scratch().join("release");
    let counts = folder.join("counts");
    // Those of an earlier run belong to another program.
    let _none_yet = std::fs::remove_dir_all(&counts);
    std::fs::create_dir_all(&counts).unwrap();

    eprintln!("building an order-worker that counts");
    let counting = build(&folder, &[format!("profile-generate={}", counts.display())]);
    eprintln!("watching it at work");
    watch(&counting, &folder).await;
    let profile = merge(&counts);
    eprintln!("building order-worker with the profile release and the counts");
    let built = build(
        &folder,
        &[
            format!("profile-use={}", profile.display()),
            INLINING.to_owned(),
        ],
    );

    let shipped = folder.join("order-worker");
    std::fs::copy(built, &shipped).unwrap();
    println!("Built: {}.", binary::describe(&shipped));
    println!("{}", shipped.display());
}

/// Builds an order worker whose compiler is given more options.
fn build(folder: &Path, options: &[String]) -> PathBuf {
    let flags: Vec<String> = options.iter().map(|option| format!("-C{option}")).collect();
    // Joined to the flags of the workspace, which a variable would replace.
    let flags = format!("target.x86_64-unknown-linux-musl.rustflags={flags:?}");
    cargo::order_worker(&[
        "--config".into(),
        flags.into(),
        "--target-dir".into(),
        folder.join("target").into(),
    ])
}

/// Has the worker do what workers do, on either database, with and without TLS.
async fn watch(program: &Path, folder: &Path) {
    let temporal = tokio::task::spawn_blocking(servers::temporal)
        .await
        .unwrap();
    let client = support::connect(&temporal).await;
    let gateway = Gateway::start(([127, 0, 0, 1], 0).into(), GatewayOptions::default())
        .await
        .unwrap();
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
    work(&client, program, &plain, "plain").await;
    work(&client, program, &with_tls, "with-tls").await;
    gateway.stop().await.unwrap();
}

async fn work(client: &Client, program: &Path, place: &Place, queue: &str) {
    let mut worker = Process::start(program, &["run".into()], place, queue);
    worker.first_poll(client, queue).await;
    run_activities(client, queue, queue, ACTIVITIES).await;
    run_orders(client, queue, queue, ORDERS).await;
    // It writes its counts when it ends by itself.
    worker.drain().await;
}

/// Makes one file of the counts, beside them. Its name tells its content, because cargo builds again only for another name.
fn merge(counts: &Path) -> PathBuf {
    let merged = counts.with_extension("profdata");
    let output = Command::new(profdata())
        .arg("merge")
        .arg("--output")
        .arg(&merged)
        .arg(counts)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "llvm-profdata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let digest = Sha256::digest(std::fs::read(&merged).unwrap());
    let start = digest[..8].try_into().expect("a digest has 32 bytes");
    let name = format!("{:016x}", u64::from_be_bytes(start));
    let named = counts.join(format!("{name}.profdata"));
    std::fs::rename(merged, &named).unwrap();
    named
}

/// The program that reads the counts of this very compiler.
fn profdata() -> PathBuf {
    let said = |argument: &[&str]| {
        let output = Command::new("rustc").args(argument).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let version = said(&["-vV"]);
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc names its host");
    let path = Path::new(said(&["--print", "sysroot"]).trim())
        .join("lib/rustlib")
        .join(host)
        .join("bin/llvm-profdata");
    assert!(
        path.is_file(),
        "{} is missing: `rustup component add llvm-tools`",
        path.display()
    );
    path
}
