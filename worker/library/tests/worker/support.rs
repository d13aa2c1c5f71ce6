//! A client of the test run's server, and a worker within the test process.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use taskqueue_worker::testing::{DEADLINE, free_port, temporal};
use taskqueue_worker::{Connector, Environment, TemporalSettings, Worker, run};
use temporalio_client::Client;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::worker::v1::WorkerHeartbeat;
use temporalio_common::protos::temporal::api::workflowservice::v1::ListWorkersRequest;
use tokio::sync::oneshot;

/// Installs the TLS provider, as `main` does.
fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        // Fails if a server of `testing` has installed it already, which does no harm.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// The address of the test run's Temporal server.
pub(crate) async fn address() -> String {
    tokio::task::spawn_blocking(temporal).await.unwrap()
}

/// Connects to the test run's Temporal server.
pub(crate) async fn client() -> Client {
    init();
    let environment = Environment::from_iter([("TEMPORAL_ADDRESS", address().await)]);
    let settings = TemporalSettings::from_environment(&environment).unwrap();
    let connector = Connector::new(settings).unwrap();
    let connected = connector.connect_patiently(tokio::time::sleep(DEADLINE));
    connected.await.expect("no connection")
}

/// The binary of the example. `cargo test` builds it.
pub(crate) fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.ancestors().nth(2).unwrap().join("examples/minimal");
    assert!(
        example.is_file(),
        "{} is missing: run `cargo build -p taskqueue-worker --example minimal`",
        example.display()
    );
    example
}

/// A worker within this process, on a thread of its own. It ends, without a drain, on drop.
pub(crate) struct Inside {
    http: String,
    outcome: oneshot::Receiver<anyhow::Result<()>>,
    _stop: oneshot::Sender<()>,
}

impl Inside {
    /// Starts a worker with these variables.
    pub(crate) fn start(
        variables: impl IntoIterator<Item = (&'static str, String)>,
        worker: impl FnOnce() -> Worker + Send + 'static,
    ) -> Self {
        let http = format!("127.0.0.1:{}", free_port());
        let mut all: Vec<_> = variables.into_iter().collect();
        all.push(("TASKQUEUE_WORKER_HTTP_ADDRESS", http.clone()));
        let environment: Environment = all.into_iter().collect();
        let (stop, mut stopped) = oneshot::channel();
        let (report, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = run(&environment, async |_| Ok(worker())) => {
                        if let Err(error) = &ended {
                            let _unprinted = writeln!(std::io::stderr(), "it ended: {error:#}");
                        }
                        // Most tests do not wait for the end.
                        let _unheard = report.send(ended);
                    }
                    _ = &mut stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self {
            http,
            outcome,
            _stop: stop,
        }
    }

    /// Waits until it has ended by itself, and returns why.
    pub(crate) async fn outcome(self) -> anyhow::Result<()> {
        self.outcome.await.unwrap()
    }

    /// A path of its HTTP endpoint; `None` without an answer of 200.
    pub(crate) async fn get(&self, path: &str) -> Option<String> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let mut stream = tokio::net::TcpStream::connect(&self.http).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// The values of a metric, one for each series whose labels contain `label`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> Vec<String> {
        let text = self.get("/metrics").await.unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        lines
            .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label))
            .map(|(_, value)| value.to_owned())
            .collect()
    }
}

/// What the workers of a task queue last reported.
pub(crate) async fn heartbeats(client: &Client, task_queue: &str) -> Vec<WorkerHeartbeat> {
    let mut request = ListWorkersRequest {
        namespace: "default".to_owned(),
        query: format!("TaskQueue = '{task_queue}'"),
        ..ListWorkersRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(5));
    let mut service = client.connection().workflow_service();
    let Ok(listed) = service.list_workers(request).await else {
        return Vec::new();
    };
    #[expect(deprecated, reason = "the only list that holds slots")]
    let workers = listed.into_inner().workers_info;
    let heartbeats = workers.into_iter().filter_map(|w| w.worker_heartbeat);
    heartbeats.collect()
}
