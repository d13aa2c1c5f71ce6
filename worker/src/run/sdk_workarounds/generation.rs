//! Runs one SDK worker after the other in one process. temporalio-sdk 1.1.1 keeps about 390 bytes
//! of every activity it ever ran (`ActivityHalf::task_tokens_to_cancels`), so the activity worker
//! is replaced after a number of activities: the next worker starts on the same connection; then
//! the old one sends no further polls, accepts the tasks that its open polls still bring, and ends
//! after its last activity.
//!
//! Workflows have a separate worker that is never replaced: it leaks nothing, and a replacement
//! would lose its cache.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use temporalio_client::{Client, ClientOptions, Connection};
use temporalio_common::telemetry::metrics::TemporalMeter;
use temporalio_common::worker::{
    VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion,
};
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use temporalio_sdk::runtime::worker_tuner::{FixedSizeSlotSupplier, TunerHolder};
use temporalio_sdk::runtime::{AutoscalingOptions, PollerBehavior};
use temporalio_sdk::{Runtime, Worker, WorkerOptions, WorkerRunError};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::connection::Connector;
use crate::domain::activities::{
    InventoryActivities, NotificationActivities, OrderActivities, PaymentActivities,
};
use crate::domain::failure::{Failure, FailureType};
use crate::domain::metrics::Metrics;
use crate::domain::workflow::OrderWorkflow;
use crate::mail::Mailer;
use crate::payment::PaymentGateway;
use crate::settings::{Role, Settings};
use crate::store::Store;

use super::polls::Polls;

/// Longest delay until a heartbeat reaches the server. Cancellation and resuming after a kill are
/// delayed by up to the same time.
const HEARTBEAT_THROTTLE: Duration = Duration::from_secs(1);

/// How long a workflow task waits for the worker that has the workflow in its cache. If that worker
/// was killed, the order waits this long in vain. Any other worker reads the short history of an
/// order in a moment.
const STICKY_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before the next request to a server that did not answer.
const ANOTHER_TRY: Duration = Duration::from_secs(1);

/// How long a replaced worker waits for its polls to return. Longer than the server holds a poll
/// (60 s), so that no poll is cut off with a task in it.
const UNTIL_POLLS_RETURN: Duration = Duration::from_secs(75);

/// Like [`UNTIL_POLLS_RETURN`], for a process that ends while tasks still come in.
const AT_THE_END: Duration = Duration::from_secs(10);

/// What one SDK worker polls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum TaskKinds {
    /// Everything the role runs.
    All,
    /// The role's workflows.
    Workflows,
    /// The role's activities.
    Activities,
}

/// The connection settings and the SDK runtime.
pub(in crate::run) struct Temporal {
    pub(in crate::run) runtime: Runtime,
    pub(in crate::run) connector: Connector,
    /// Records the metrics of the SDK's requests.
    pub(in crate::run) meter: TemporalMeter,
}

/// Creates the SDK workers of this process from their shared parts. Lives as long as the process.
pub(in crate::run) struct WorkerFactory {
    settings: Settings,
    temporal: Temporal,
    store: Store,
    gateway: Option<Arc<dyn PaymentGateway>>,
    mailer: Option<Mailer>,
    metrics: Metrics,
    /// Cancelled when the grace period is over.
    deadline: CancellationToken,
}

impl WorkerFactory {
    pub(in crate::run) fn new(
        settings: Settings,
        temporal: Temporal,
        store: Store,
        gateway: Option<Arc<dyn PaymentGateway>>,
        mailer: Option<Mailer>,
        metrics: Metrics,
    ) -> Self {
        let deadline = CancellationToken::new();
        Self {
            settings,
            temporal,
            store,
            gateway,
            mailer,
            metrics,
            deadline,
        }
    }

    pub(in crate::run) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(in crate::run) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(in crate::run) fn store(&self) -> &Store {
        &self.store
    }

    /// What the permanent worker polls for, if there is one, and what the replaceable worker polls
    /// for.
    pub(in crate::run) fn task_kinds(&self) -> (Option<TaskKinds>, TaskKinds) {
        if self.settings.recycle_after == 0 {
            (None, TaskKinds::All)
        } else if self.settings.role.plays(Role::Orders) {
            (Some(TaskKinds::Workflows), TaskKinds::Activities)
        } else {
            (None, TaskKinds::Activities)
        }
    }

    /// The SDK's names for the tasks that this process polls for.
    pub(in crate::run) fn poller_kinds(&self) -> &'static [&'static str] {
        if self.settings.role.plays(Role::Orders) {
            &["workflow_task", "activity_task"]
        } else {
            &["activity_task"]
        }
    }

    /// Opens a connection for the generations of one kind, as soon as Temporal answers. `None` if
    /// `stop` comes first.
    pub(in crate::run) async fn connect(&self, stop: &CancellationToken) -> Option<Connection> {
        let stopped = stop.clone().cancelled_owned();
        let client = self.temporal.connector.connect_patiently(stopped).await?;
        Some(client.connection().clone())
    }

    /// Creates a worker on a connection and lets it poll. `None` if `stop` comes first.
    pub(in crate::run) async fn start_generation(
        &self,
        kinds: TaskKinds,
        connection: &Connection,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Generation>> {
        let polls = Polls::default();
        let own = loop {
            let error = tokio::select! {
                connected = polls.connection(connection, self.temporal.meter.clone()) => {
                    match connected {
                        Ok(own) => break own,
                        Err(error) => error,
                    }
                }
                () = stop.cancelled() => return Ok(None),
            };
            tracing::warn!("Temporal does not answer: {error}");
            tokio::select! {
                () = tokio::time::sleep(ANOTHER_TRY) => {}
                () = stop.cancelled() => return Ok(None),
            }
        };
        let workers = own.workers();
        let namespace = self.settings.temporal.temporal_namespace.clone();
        let client = Client::new(own, ClientOptions::new(namespace).build())
            .map_err(|error| anyhow::anyhow!("the client cannot be made: {error}"))?;
        let recycle = Arc::new(RecycleCounter::new(self.settings.recycle_after));
        let interceptor = ActivityInterceptor {
            recycle: recycle.clone(),
            deadline: self.deadline.clone(),
            metrics: self.metrics.clone(),
        };
        let options = self.worker_options(kinds, interceptor)?;
        let mut worker = Worker::new(&self.temporal.runtime, client, options)
            .map_err(|error| anyhow::anyhow!("the worker cannot be made: {error}"))?;
        let stop = Rc::new(worker.shutdown_handle());
        let key = worker.worker_instance_key();
        let running = tokio::task::spawn_local(async move {
            let ended = worker.run().await;
            // `Worker::run` leaves out the last step of the core's `finalize_shutdown`. Without it
            // the worker stays registered with its connection. That keeps both alive, together with
            // a thread that measures the machine and a heartbeat of the dead worker every few
            // seconds.
            if let Err(error) = workers.finalize_unregister(key) {
                tracing::warn!("an SDK worker that has ended is kept in memory: {error}");
            }
            ended
        });
        Ok(Some(Generation {
            stop,
            running,
            polls,
            connection: connection.clone(),
            recycle,
            retired: Cell::new(false),
            deadline: self.deadline.clone(),
        }))
    }

    fn worker_options(
        &self,
        kinds: TaskKinds,
        interceptor: ActivityInterceptor,
    ) -> anyhow::Result<WorkerOptions> {
        let settings = &self.settings;
        let slots = |number| FixedSizeSlotSupplier::new(number);
        let pollers = PollerBehavior::Autoscaling(
            AutoscalingOptions::builder()
                .minimum(2)
                .maximum(settings.max_pollers)
                .initial(settings.max_pollers.min(5))
                .build(),
        );
        let mut options = WorkerOptions::new(settings.temporal.task_queue.clone())
            .maybe_max_task_queue_activities_per_second(
                settings.queue_activities_per_second.map(f64::from),
            )
            .max_cached_workflows(settings.cached_workflows)
            .workflow_task_poller_behavior(pollers)
            .activity_task_poller_behavior(pollers)
            .sticky_queue_schedule_to_start_timeout(STICKY_TIMEOUT)
            .max_heartbeat_throttle_interval(HEARTBEAT_THROTTLE)
            .default_heartbeat_throttle_interval(HEARTBEAT_THROTTLE)
            .activity_inbound_interceptor(interceptor)
            .tuner(
                TunerHolder::builder()
                    .workflow_task_slot_supplier(slots(settings.workflow_slots))
                    .activity_task_slot_supplier(slots(settings.activity_slots))
                    .local_activity_task_slot_supplier(slots(1))
                    .nexus_task_slot_supplier(slots(1))
                    .build(),
            )
            .maybe_deployment_options(deployment(settings))
            // No graceful_shutdown_period: the SDK would also cancel the activities of a worker
            // that is merely being replaced. The interceptor ends activities when the process's
            // grace period is over.
            .build();
        self.register(kinds, &mut options)?;
        Ok(options)
    }

    /// Registers exactly what the role runs: a worker polls for everything that is registered.
    fn register(&self, kinds: TaskKinds, options: &mut WorkerOptions) -> anyhow::Result<()> {
        let role = self.settings.role;
        if kinds != TaskKinds::Activities && role.plays(Role::Orders) {
            let queues = self.settings.activity_queues.clone();
            options
                .register_workflow_with_factory(move || OrderWorkflow::routed(queues.clone()))?;
        }
        if kinds == TaskKinds::Workflows {
            return Ok(());
        }
        if role.plays(Role::Orders) {
            options.register_activities(OrderActivities::new(
                self.store.clone(),
                self.metrics.clone(),
            ));
        }
        if role.plays(Role::Inventory) {
            options.register_activities(InventoryActivities::new(self.store.clone()));
        }
        if role.plays(Role::Payments) {
            let gateway = self.gateway.clone().context("no payment gateway is set")?;
            options.register_activities(PaymentActivities::new(
                gateway,
                self.store.clone(),
                self.metrics.clone(),
            ));
        }
        if role.plays(Role::Notifications) {
            let mailer = self.mailer.clone().context("no mail server is set")?;
            options.register_activities(NotificationActivities::new(
                mailer,
                self.store.clone(),
                self.metrics.clone(),
            ));
        }
        Ok(())
    }
}

/// Worker versioning, if a deployment version is set. Pinned: an order takes seconds or, with a
/// cancel window, days, and always ends on the code that it started with. So a new version never
/// has to replay an old order's history.
fn deployment(settings: &Settings) -> Option<WorkerDeploymentOptions> {
    let (name, build) = settings.temporal.deployment.clone()?;
    let version = WorkerDeploymentVersion::builder()
        .deployment_name(name)
        .build_id(build)
        .build();
    Some(
        WorkerDeploymentOptions::new(version)
            .use_worker_versioning(true)
            .default_versioning_behavior(VersioningBehavior::Pinned)
            .build(),
    )
}

/// One running SDK worker.
pub(in crate::run) struct Generation {
    stop: Rc<dyn Fn()>,
    running: JoinHandle<Result<(), WorkerRunError>>,
    polls: Polls,
    connection: Connection,
    recycle: Arc<RecycleCounter>,
    retired: Cell<bool>,
    deadline: CancellationToken,
}

impl Generation {
    /// Completes when the worker has ended, after `retire` or by itself (an error). Must not be
    /// awaited again afterwards.
    pub(in crate::run) async fn ended(&mut self) -> anyhow::Result<()> {
        match (&mut self.running).await {
            Ok(Ok(())) if self.retired.get() => Ok(()),
            Ok(Ok(())) => Err(anyhow::anyhow!("it ended without being told to")),
            Ok(Err(error)) => Err(anyhow::Error::new(error)),
            Err(error) => Err(anyhow::Error::new(error)),
        }
    }

    /// Completes when the worker has started so many activities that it must be replaced.
    pub(in crate::run) fn recycle_due(&self) -> impl Future<Output = ()> + use<> {
        let recycle = self.recycle.clone();
        async move { recycle.reached.notified().await }
    }

    /// Restarts the count of activities until the worker must be replaced.
    pub(in crate::run) fn postpone_recycle(&self) {
        self.recycle.reset();
    }

    /// Stops polling, and stops the worker when its open polls have returned. Running activities
    /// finish. For a worker that is being replaced and so has time.
    pub(in crate::run) fn retire(&self) {
        self.leave(UNTIL_POLLS_RETURN, false);
    }

    /// Like [`Self::retire`], for a process that ends within `grace`: polls on an idle queue are
    /// cut off, and all polls once the time is over, because there would be no time to run what
    /// they bring.
    pub(in crate::run) fn retire_soon(&self, grace: Duration) {
        self.leave(AT_THE_END.min(grace), true);
    }

    fn leave(&self, patience: Duration, if_quiet: bool) {
        self.retired.set(true);
        let (polls, stop) = (self.polls.clone(), self.stop.clone());
        let connection = self.connection.clone();
        tokio::task::spawn_local(async move {
            polls.end(&connection, patience, if_quiet).await;
            stop();
            polls.release();
        });
    }

    /// Ends every activity of every generation, because the grace period is over.
    pub(in crate::run) fn end_activities(&self) {
        self.deadline.cancel();
    }
}

/// Completes when the permanent worker has ended. Never completes if there is none.
pub(in crate::run) async fn steady_ended(steady: Option<&mut Generation>) -> anyhow::Result<()> {
    match steady {
        Some(steady) => steady.ended().await,
        None => std::future::pending().await,
    }
}

/// Completes when one of the retired workers has ended, and removes it. Never completes while there
/// is none.
pub(in crate::run) async fn first_ended(retired: &mut Vec<Generation>) {
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
        tracing::warn!("a replaced SDK worker ended badly: {error:#}");
    }
}

/// Counts the started activities of one generation.
struct RecycleCounter {
    started: AtomicU64,
    limit: u64,
    reached: Notify,
}

impl RecycleCounter {
    fn new(limit: u64) -> Self {
        Self {
            started: AtomicU64::new(0),
            limit,
            reached: Notify::new(),
        }
    }

    fn count(&self) {
        let started = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        if self.limit > 0 && started == self.limit {
            self.reached.notify_one();
        }
    }

    fn reset(&self) {
        self.started.store(0, Ordering::Relaxed);
    }
}

/// Wraps every activity: counts it, ends it at the deadline, and records its metric.
struct ActivityInterceptor {
    recycle: Arc<RecycleCounter>,
    deadline: CancellationToken,
    metrics: Metrics,
}

impl ActivityInboundInterceptor for ActivityInterceptor {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        self.recycle.count();
        let activity = input.activity_info().activity_type.clone();
        let run = next.run(input);
        async move {
            let outcome = tokio::select! {
                biased;
                outcome = run => outcome,
                () = self.deadline.cancelled() => Err(Failure::worker_shutdown().into_activity()),
            };
            let name = match &outcome {
                Ok(_) => "completed",
                Err(ActivityError::Cancelled { .. }) => "cancelled",
                Err(ActivityError::Application(failure))
                    if failure.type_name() == Some(FailureType::InvalidInput.name()) =>
                {
                    "invalid"
                }
                Err(_) => "failed",
            };
            self.metrics
                .activities
                .with_label_values(&[activity.as_str(), name])
                .inc();
            outcome
        }
        .boxed()
    }
}
