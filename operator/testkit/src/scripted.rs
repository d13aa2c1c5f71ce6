//! A scripted Temporal, and values that the tests of the readers share.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use parking_lot::Mutex;
use taskqueue_scaling::{
    Backlog, PerType, Reading, TaskType, Time, TypeBacklog, TypeSlots, UnknownReason,
};
use taskqueue_temporal::{
    CallError, CallErrorKind, Clock, ConnectionFields, CredentialId, Described, Heartbeat, Method,
    NoObserver, OwnerKey, QueueStats, QueueWatch, Readers, ReadersConfig, ResolvedConnection,
    Secret, Tls, WorkerStatus, WorkersPage,
};

/// One call that the fake received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedCall {
    /// When it arrived.
    pub at: Time,
    /// The call and its subject, as in `describe orders activity`.
    pub what: String,
    /// The credential of the connection that made it.
    pub credential: CredentialId,
}

/// The answer for a queue.
pub type Answer = Result<TypeBacklog, CallErrorKind>;

/// The fake's answers. Queues without an entry have zeros; by default the worker list is empty.
#[derive(Default)]
pub struct Script {
    /// The answer per queue.
    pub queues: BTreeMap<String, Answer>,
    /// Answers to give before all others, one per call, for any queue.
    pub first: VecDeque<Answer>,
    /// Queues over whose statistics the caller panics.
    pub panics: BTreeSet<String>,
    /// Whether a call that fails as unavailable also loses the connection.
    pub connection_lost: bool,
    /// The pages of the worker list.
    pub pages: Vec<Result<WorkersPage, CallErrorKind>>,
    /// The answers to `DescribeWorker`, by instance key.
    pub workers: BTreeMap<String, Heartbeat>,
    /// The failure of reads past the cache; `None` if they succeed.
    pub past_cache: Option<CallErrorKind>,
    /// How long every call takes.
    pub latency: Duration,
    /// How long an answer is cached, as the server does.
    pub cache: Duration,
    cached: BTreeMap<(String, TaskType), (Time, TypeBacklog)>,
}

/// A Temporal that answers from a script and records every call.
pub struct FakeTemporal {
    /// The clock of the test.
    pub clock: Clock,
    /// The answers.
    pub script: Mutex<Script>,
    /// The calls so far.
    pub recorded: Mutex<Vec<RecordedCall>>,
    /// The credentials of the connections that were closed.
    pub released: Mutex<Vec<CredentialId>>,
}

impl FakeTemporal {
    /// A fake that answers zeros.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            script: Mutex::default(),
            recorded: Mutex::default(),
            released: Mutex::default(),
        })
    }

    /// Changes the script.
    pub fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock())
    }

    /// Sets how many tasks wait in a queue from now on.
    pub fn backlog(&self, queue: &str, count: u64) {
        self.script(|script| script.queues.insert(queue.to_owned(), Ok(waiting(count))));
    }

    /// Makes reads of a queue fail from now on.
    pub fn fails(&self, queue: &str, kind: CallErrorKind) {
        self.script(|script| script.queues.insert(queue.to_owned(), Err(kind)));
    }

    /// When the calls so far came whose text begins with `prefix`, in seconds since the start.
    pub fn times(&self, prefix: &str) -> Vec<f64> {
        let recorded = self.recorded.lock();
        let mine = recorded.iter().filter(|call| call.what.starts_with(prefix));
        mine.map(|call| seconds(call.at)).collect()
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.recorded.lock().clone()
    }

    fn note(&self, connection: &ResolvedConnection, what: String) {
        let call = RecordedCall {
            at: self.clock.now(),
            what,
            credential: connection.credential_id(),
        };
        self.recorded.lock().push(call);
    }

    async fn take_time(&self) {
        let latency = self.script(|script| script.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    fn fail(&self, kind: CallErrorKind, method: Method) -> CallError {
        CallError {
            kind,
            method,
            code: kind.as_str(),
            message: "as scripted".to_owned(),
            connection_lost: self.script(|script| script.connection_lost)
                && kind == CallErrorKind::Unavailable,
            fault: None,
        }
    }

    fn current(&self, queue: &str) -> Answer {
        self.script(|script| {
            let scripted = script
                .queues
                .get(queue)
                .copied()
                .unwrap_or(Ok(TypeBacklog::default()));
            script.first.pop_front().unwrap_or(scripted)
        })
    }
}

impl QueueStats for FakeTemporal {
    fn describe<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_type: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>> {
        async move {
            self.note(
                connection,
                format!("describe {task_queue} {}", task_type.as_str()),
            );
            self.take_time().await;
            assert!(
                !self.script(|script| script.panics.contains(task_queue)),
                "as scripted"
            );
            let now = self.clock.now();
            let key = (task_queue.to_owned(), task_type);
            let cached = self.script(|script| {
                let ttl = script.cache;
                script
                    .cached
                    .get(&key)
                    .filter(|(at, _)| now.since(*at) < ttl)
                    .map(|(_, b)| *b)
            });
            if let Some(cached) = cached {
                return Ok(cached);
            }
            let answer = self
                .current(task_queue)
                .map_err(|kind| self.fail(kind, Method::DescribeTaskQueue))?;
            self.script(|script| script.cached.insert(key, (now, answer)));
            Ok(answer)
        }
        .boxed()
    }

    fn describe_past_cache<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_types: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>> {
        async move {
            self.note(connection, format!("past-cache {task_queue}"));
            self.take_time().await;
            let kind = self.script(|script| script.past_cache);
            if let Some(kind) = kind {
                return Err(self.fail(kind, Method::DescribeTaskQueue));
            }
            let answer = self
                .current(task_queue)
                .map_err(|kind| self.fail(kind, Method::DescribeTaskQueue))?;
            Ok(task_types
                .iter()
                .map(|task_type| (*task_type, answer))
                .collect())
        }
        .boxed()
    }

    fn list_workers<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        page_token: &'a [u8],
    ) -> BoxFuture<'a, Result<WorkersPage, CallError>> {
        async move {
            let page = page_token.first().copied().map_or(0, usize::from);
            self.note(connection, format!("list page {page}"));
            self.take_time().await;
            let page = self.script(|script| script.pages.get(page).cloned());
            page.unwrap_or_else(|| Ok(WorkersPage::default()))
                .map_err(|kind| self.fail(kind, Method::ListWorkers))
        }
        .boxed()
    }

    fn describe_worker<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        instance_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Heartbeat>, CallError>> {
        async move {
            self.note(connection, format!("worker {instance_key}"));
            self.take_time().await;
            Ok(self.script(|script| script.workers.get(instance_key).cloned()))
        }
        .boxed()
    }

    fn release(&self, connection: &ResolvedConnection) {
        self.released.lock().push(connection.credential_id());
    }
}

/// A backlog of `count` tasks.
pub fn waiting(count: u64) -> TypeBacklog {
    TypeBacklog {
        count,
        ..TypeBacklog::default()
    }
}

/// Seconds since the start of the test's clock.
pub fn seconds(time: Time) -> f64 {
    time.since(Time::from_secs(24 * 60 * 60)).as_secs_f64()
}

/// The owner with this name, in the namespace `shop`.
pub fn owner(name: &str) -> OwnerKey {
    OwnerKey {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

/// A connection without TLS or credential.
pub fn connection_to(address: &str, temporal_namespace: &str) -> ResolvedConnection {
    ResolvedConnection::new(ConnectionFields {
        address: address.to_owned(),
        temporal_namespace: temporal_namespace.to_owned(),
        ..ConnectionFields::default()
    })
    .unwrap()
}

/// A connection with an API key.
pub fn with_api_key(key: &str) -> ResolvedConnection {
    ResolvedConnection::new(ConnectionFields {
        address: "temporal:7233".to_owned(),
        temporal_namespace: "default".to_owned(),
        tls: Some(Tls::default()),
        api_key: Some(Secret::new(key)),
        ..ConnectionFields::default()
    })
    .unwrap()
}

/// The connection that most tests use.
pub fn connection() -> ResolvedConnection {
    connection_to("temporal:7233", "default")
}

/// A queue without replicas that counts activities only.
pub fn watch(queue: &str) -> QueueWatch {
    QueueWatch {
        queue: queue.to_owned(),
        task_queue: queue.to_owned(),
        task_types: vec![TaskType::Activity],
        generation: 1,
        polling_interval: Duration::from_secs(5),
        quiet_polling_interval: Duration::from_secs(30),
        queue_wait_target: Duration::from_secs(5),
        has_replicas: false,
    }
}

/// The same queue with replicas.
pub fn with_replicas(queue: &str) -> QueueWatch {
    QueueWatch {
        has_replicas: true,
        ..watch(queue)
    }
}

/// A heartbeat of a worker that polls for activities with 100 slots.
pub fn heartbeat(key: &str, queue: &str, sent_at: i128, used: u32) -> Heartbeat {
    Heartbeat {
        instance_key: key.to_owned(),
        identity: key.to_owned(),
        host_name: format!("pod-{key}"),
        process: None,
        task_queue: queue.to_owned(),
        status: WorkerStatus::Running,
        sdk: "temporal-rust 1.1.1".to_owned(),
        sent_at: Some(sent_at),
        started_at: Some(0),
        elapsed: Some(Duration::from_secs(5)),
        slots: PerType {
            activity: Some(TypeSlots {
                used,
                available: Some(100 - used),
                processed_total: Some(0),
            }),
            ..PerType::default()
        },
    }
}

/// A worker list of a single page.
pub fn page(workers: Vec<Heartbeat>) -> Result<WorkersPage, CallErrorKind> {
    Ok(WorkersPage {
        workers,
        ..WorkersPage::default()
    })
}

/// A fake, and readers that use it at the given rate.
pub fn readers_at(calls_per_second: u32) -> (Arc<FakeTemporal>, Readers) {
    let clock = Clock::start();
    let fake = FakeTemporal::new(clock);
    let config = ReadersConfig {
        calls_per_second,
        burst: calls_per_second.min(20),
        ..ReadersConfig::default()
    };
    let readers = Readers::new(fake.clone(), Arc::new(NoObserver), config, clock);
    (fake, readers)
}

/// A fake, and readers that use it at the default rate.
pub fn readers() -> (Arc<FakeTemporal>, Readers) {
    readers_at(20)
}

/// Advances time to `second` after the start; under a paused clock, everything due by then happens.
pub async fn until(readers: &Readers, second: f64) {
    let passed = seconds(readers.clock().now());
    tokio::time::sleep(Duration::from_secs_f64(second - passed)).await;
}

/// The owners with news so far.
pub fn updated(updates: &mut (impl Stream<Item = OwnerKey> + Unpin)) -> Vec<String> {
    let mut owners = Vec::new();
    while let Some(Some(owner)) = updates.next().now_or_never() {
        owners.push(owner.name);
    }
    owners
}

/// The time `second` seconds after the start.
pub fn at(second: f64) -> Time {
    Time::from_secs(24 * 60 * 60).plus(Duration::from_secs_f64(second))
}

/// A backlog of `count` activities, read at `second`.
pub fn activities(sequence: u64, count: u64, second: f64) -> Reading<Backlog> {
    let types = PerType {
        activity: Some(waiting(count)),
        ..PerType::default()
    };
    Reading::Known {
        value: Backlog { sequence, types },
        taken_at: at(second),
    }
}

/// A reading that has been unknown since `second`.
pub fn unknown<T>(reason: UnknownReason, second: f64, failures: u32) -> Reading<T> {
    Reading::Unknown {
        reason,
        since: at(second),
        failures,
    }
}
