//! Runs one SDK worker after the other in one process.
//!
//! - temporalio-sdk 1.1.1 keeps about 390 bytes of every activity that it ever ran
//!   (`ActivityHalf::task_tokens_to_cancels` in sdk/src/lib.rs: an entry is added per activity and
//!   never removed). So the activity worker is replaced after a number of activities: the next
//!   worker starts on the same connection; then the old one sends no further polls, accepts the
//!   tasks that its open polls still bring, and ends after its last activity. Not needed once the
//!   SDK removes the entry.
//! - `Worker::run` (sdk/src/lib.rs) leaves out the last step of the core's `finalize_shutdown`, so
//!   a worker that has ended stays registered with its connection. Here that step is done.
//!
//! Workflows have a separate worker that is never replaced: it leaks nothing, and a replacement
//! would lose its cache.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use temporalio_client::{Client, ClientOptions, Connection};
use temporalio_common::telemetry::TelemetryOptions;
use temporalio_common::telemetry::metrics::{CoreMeter, TemporalMeter};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, WorkerOptions, WorkerRunError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connector;
use crate::interceptor::{ActivityInterceptor, RecycleCounter};
use crate::metrics::Metrics;
use crate::options;
use crate::settings::WorkerSettings;
use crate::worker::Worker;

use super::gauges::{Gauges, WorkerMeter};
use super::opaque::Opaque;
use super::polls::{Polls, TaskKind};
use super::proxy::Proxy;

/// Pause before the next request to a server that did not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How long a replaced worker waits for its polls to return. Longer than the server holds a poll
/// (60 s), so that no poll is cut off with a task in it.
const RETIRE_POLLS_TIMEOUT: Duration = Duration::from_secs(75);

/// Like [`RETIRE_POLLS_TIMEOUT`], for a process that ends while tasks still come in.
const SHUTDOWN_POLLS_TIMEOUT: Duration = Duration::from_secs(10);

/// What one SDK worker polls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskKinds {
    /// All that is registered.
    All,
    /// The workflows.
    Workflows,
    /// The activities.
    Activities,
}

/// The meters of the SDK.
pub(crate) struct Meters {
    /// Records the metrics of the SDK's workers.
    pub(crate) workers: Arc<dyn CoreMeter>,
    /// Records the metrics of the SDK's requests.
    pub(crate) requests: TemporalMeter,
}

/// Creates the SDK workers of this process from their shared parts. Lives as long as the process.
pub(crate) struct WorkerFactory {
    settings: WorkerSettings,
    worker: Worker,
    connector: Connector,
    opaque: Opaque,
    meters: Meters,
    gauges: Gauges,
    metrics: Metrics,
    /// Cancelled when the grace period is over.
    deadline: CancellationToken,
}

impl WorkerFactory {
    pub(crate) fn new(
        settings: WorkerSettings,
        worker: Worker,
        connector: Connector,
        meters: Meters,
        metrics: Metrics,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            settings,
            worker,
            opaque: Opaque::new(connector.clone())?,
            connector,
            meters,
            gauges: Gauges::default(),
            metrics,
            deadline: CancellationToken::new(),
        })
    }

    pub(crate) fn settings(&self) -> &WorkerSettings {
        &self.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// What the permanent worker polls for, if there is one, and what the replaceable worker polls
    /// for.
    pub(crate) fn task_kinds(&self) -> (Option<TaskKinds>, TaskKinds) {
        if self.settings.recycle_after == 0 || !self.worker.has_activities() {
            (None, TaskKinds::All)
        } else if self.worker.has_workflows() {
            (Some(TaskKinds::Workflows), TaskKinds::Activities)
        } else {
            (None, TaskKinds::Activities)
        }
    }

    /// Opens a connection for the generations of one kind, as soon as Temporal answers. `None` if
    /// `stop` comes first.
    pub(crate) async fn connect(&self, stop: &CancellationToken) -> Option<Connection> {
        let stopped = stop.clone().cancelled_owned();
        let client = self.connector.connect_patiently(stopped).await?;
        Some(client.connection().clone())
    }

    /// Creates a worker on a connection and lets it poll. `None` if `stop` comes first.
    pub(crate) async fn start_generation(
        &self,
        kinds: TaskKinds,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Generation>> {
        let polls = Polls::default();
        let proxy = Proxy {
            polls: polls.clone(),
            behind: connection.clone(),
            opaque: self.opaque.clone(),
        };
        let own = loop {
            let meter = self.meters.requests.clone();
            let error = tokio::select! {
                connected = proxy.clone().connection(meter) => {
                    match connected {
                        Ok(own) => break own,
                        Err(error) => error,
                    }
                }
                () = stop.cancelled() => return Ok(None),
            };
            tracing::warn!("Temporal does not answer: {error}");
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = stop.cancelled() => return Ok(None),
            }
        };
        let workers = own.workers();
        let namespace = self.connector.settings().temporal_namespace.clone();
        let client_options = ClientOptions::new(namespace)
            .data_converter(self.worker.converter().clone())
            .build();
        let client = Client::new(own, client_options)
            .map_err(|error| anyhow::anyhow!("the client cannot be created: {error}"))?;
        let recycle = Arc::new(RecycleCounter::new(self.settings.recycle_after));
        let interceptor = ActivityInterceptor {
            recycle: recycle.clone(),
            deadline: self.deadline.clone(),
            metrics: self.metrics.clone(),
        };
        let meter = self.gauges.worker(self.meters.workers.clone());
        let runtime = self.runtime(meter.clone())?;
        let options = self.worker_options(kinds, interceptor)?;
        let mut worker = temporalio_sdk::Worker::new(&runtime, client, options)
            .map_err(|error| anyhow::anyhow!("the worker cannot be created: {error}"))?;
        let stop = Rc::new(worker.shutdown_handle());
        let key = worker.worker_instance_key();
        let ended = meter.clone();
        let running = tokio::task::spawn_local(async move {
            let outcome = worker.run().await;
            // Without this the worker and its connection stay alive, together with a thread that
            // measures the machine and a heartbeat of the dead worker every few seconds.
            if let Err(error) = workers.finalize_unregister(key) {
                tracing::warn!("an SDK worker that has ended is kept in memory: {error}");
            }
            ended.end();
            drop(runtime);
            outcome
        });
        Ok(Some(Generation {
            stop,
            running,
            polls,
            polled: self.polled(kinds),
            meter,
            connection: connection.clone(),
            recycle,
            retired: Cell::new(false),
            deadline: self.deadline.clone(),
        }))
    }

    /// The kinds of tasks that a worker polls for.
    fn polled(&self, kinds: TaskKinds) -> Vec<TaskKind> {
        let workflows = kinds != TaskKinds::Activities && self.worker.has_workflows();
        let activities = kinds != TaskKinds::Workflows && self.worker.has_activities();
        let polled = [
            workflows.then_some(TaskKind::Workflow),
            activities.then_some(TaskKind::Activity),
        ];
        polled.into_iter().flatten().collect()
    }

    /// A runtime whose metrics are those of one worker.
    fn runtime(&self, meter: WorkerMeter) -> anyhow::Result<Runtime> {
        let interval = self.settings.heartbeat_interval;
        let meter: Arc<dyn CoreMeter> = Arc::new(meter);
        let options = RuntimeOptions::builder()
            .telemetry_options(TelemetryOptions::builder().metrics(meter).build())
            .heartbeat_interval(Some(interval).filter(|interval| !interval.is_zero()))
            .build()
            .map_err(anyhow::Error::msg)?;
        Ok(Runtime::from_current_tokio(options)?)
    }

    fn worker_options(
        &self,
        kinds: TaskKinds,
        interceptor: ActivityInterceptor,
    ) -> anyhow::Result<WorkerOptions> {
        let queue = self.settings.task_queue.as_deref();
        let mut made = self.worker.registered(
            queue.unwrap_or(self.worker.task_queue()),
            kinds != TaskKinds::Activities,
            kinds != TaskKinds::Workflows,
        )?;
        options::apply(&self.settings, &mut made);
        made.activity_inbound_interceptor(interceptor);
        self.worker.change(&mut made)?;
        options::apply_deployment(&self.settings, &mut made);
        // The SDK would also cancel the activities of a worker that is merely being replaced. The
        // interceptor ends activities when the process's grace period is over.
        made.graceful_shutdown_period = None;
        Ok(made)
    }
}

/// One running SDK worker.
pub(crate) struct Generation {
    stop: Rc<dyn Fn()>,
    running: JoinHandle<Result<(), WorkerRunError>>,
    polls: Polls,
    polled: Vec<TaskKind>,
    meter: WorkerMeter,
    connection: Connection,
    recycle: Arc<RecycleCounter>,
    retired: Cell<bool>,
    deadline: CancellationToken,
}

impl Generation {
    /// Completes when the worker polls for all that is registered.
    pub(crate) fn polling(&self) -> impl Future<Output = ()> + use<> {
        let (polls, kinds) = (self.polls.clone(), self.polled.clone());
        async move { polls.polling(&kinds).await }
    }

    /// Completes when the worker has ended, after `retire` or by itself (an error). Must not be
    /// awaited again afterwards.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        match (&mut self.running).await {
            Ok(Ok(())) if self.retired.get() => Ok(()),
            Ok(Ok(())) => Err(anyhow::anyhow!("it ended by itself")),
            Ok(Err(error)) => Err(anyhow::Error::new(error)),
            Err(error) => Err(anyhow::Error::new(error)),
        }
    }

    /// Completes when the worker has started as many activities as it may.
    pub(crate) fn recycle_due(&self) -> impl Future<Output = ()> + use<> {
        let recycle = self.recycle.clone();
        async move { recycle.reached().await }
    }

    /// Restarts the count of activities until the worker must be replaced.
    pub(crate) fn postpone_recycle(&self) {
        self.recycle.reset();
    }

    /// Stops polling, and stops the worker when its open polls have returned. Running activities
    /// finish. For a worker that is being replaced and so has time.
    pub(crate) fn retire(&self) {
        self.leave(RETIRE_POLLS_TIMEOUT, false);
    }

    /// Like [`Self::retire`], for a process that ends within `grace`: polls on an idle queue are
    /// cut off, and all polls once the time is over, because there would be no time to run what
    /// they bring.
    pub(crate) fn retire_soon(&self, grace: Duration) {
        self.leave(SHUTDOWN_POLLS_TIMEOUT.min(grace), true);
    }

    fn leave(&self, timeout: Duration, if_quiet: bool) {
        self.retired.set(true);
        self.meter.retire();
        let (polls, stop) = (self.polls.clone(), self.stop.clone());
        let connection = self.connection.clone();
        tokio::task::spawn_local(async move {
            polls.end(&connection, timeout, if_quiet).await;
            stop();
            polls.release();
        });
    }

    /// Ends every activity of every generation, because the grace period is over.
    pub(crate) fn end_activities(&self) {
        self.deadline.cancel();
    }
}

/// Completes when the permanent worker has ended. Never completes if there is none.
pub(crate) async fn steady_ended(steady: Option<&mut Generation>) -> anyhow::Result<()> {
    match steady {
        Some(steady) => steady.ended().await,
        None => std::future::pending().await,
    }
}

/// Completes when one of the retired workers has ended, and removes it. Never completes while there
/// is none.
pub(crate) async fn first_ended(retired: &mut Vec<Generation>) {
    if retired.is_empty() {
        return std::future::pending().await;
    }
    let (outcome, index) = {
        let waits: Vec<_> = retired
            .iter_mut()
            .map(|old| old.ended().boxed_local())
            .collect();
        let (outcome, index, _) = futures::future::select_all(waits).await;
        (outcome, index)
    };
    retired.swap_remove(index);
    if let Err(error) = outcome {
        tracing::warn!("a replaced SDK worker failed at its end: {error:#}");
    }
}
