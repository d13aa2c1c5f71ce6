//! What a program adds to a worker: its workflows and activities, its metrics, its end. Pure.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use temporalio_common::WorkflowDefinition;
use temporalio_common::data_converters::DataConverter;
use temporalio_sdk::WorkerOptions;
use temporalio_sdk::activities::ActivityImplementer;
use temporalio_sdk::workflows::WorkflowImplementation;

use crate::metrics::ProgramMetrics;

/// Registers a workflow or changes an option of an SDK worker.
type Change = Box<dyn Fn(&mut WorkerOptions) -> anyhow::Result<()>>;

/// A worker: the workflows and activities of one program on one task queue.
///
/// The library creates the SDK's worker from it, more than once in the life of the process (see
/// `TASKQUEUE_WORKER_RECYCLE_AFTER_ACTIVITIES`).
pub struct Worker {
    task_queue: String,
    workflows: Vec<Change>,
    /// Has the registered activities; nothing else of it is used.
    activities: WorkerOptions,
    has_activities: bool,
    options: Vec<Change>,
    data_converter: DataConverter,
    metrics: Vec<ProgramMetrics>,
    on_end: Vec<LocalBoxFuture<'static, ()>>,
}

impl Worker {
    /// A worker that polls `TEMPORAL_TASK_QUEUE`, or `task_queue` if the variable is not set.
    pub fn new(task_queue: &str) -> Self {
        Self {
            task_queue: task_queue.to_owned(),
            workflows: Vec::new(),
            activities: WorkerOptions::new(task_queue).build(),
            has_activities: false,
            options: Vec::new(),
            data_converter: DataConverter::default(),
            metrics: Vec::new(),
            on_end: Vec::new(),
        }
    }

    /// Adds a workflow.
    #[must_use]
    pub fn workflow<W>(mut self) -> Self
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        self.workflows.push(Box::new(|options: &mut WorkerOptions| {
            options.register_workflow::<W>()?;
            Ok(())
        }));
        self
    }

    /// Adds a workflow whose instances `factory` makes. The factory runs at every replay too, so
    /// what it puts into an instance must not change the commands of the workflow.
    #[must_use]
    pub fn workflow_with<W, F>(mut self, factory: F) -> Self
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
        F: Fn() -> W + Send + Sync + 'static,
    {
        let factory = Arc::new(factory);
        self.workflows
            .push(Box::new(move |options: &mut WorkerOptions| {
                let factory = factory.clone();
                options.register_workflow_with_factory(move || factory())?;
                Ok(())
            }));
        self
    }

    /// Adds the activities of an instance.
    #[must_use]
    pub fn activities<A: ActivityImplementer>(mut self, instance: A) -> Self {
        self.activities.register_activities(instance);
        self.has_activities = true;
        self
    }

    /// Changes options of every SDK worker, after the settings from the environment: an interceptor
    /// or a tuner, for example. The task queue, the deployment and `graceful_shutdown_period`
    /// belong to the library.
    #[must_use]
    pub fn options(mut self, change: impl Fn(&mut WorkerOptions) + 'static) -> Self {
        self.options
            .push(Box::new(move |options: &mut WorkerOptions| {
                change(options);
                Ok(())
            }));
        self
    }

    /// Converts payloads with this converter, instead of JSON without a codec.
    #[must_use]
    pub fn data_converter(mut self, converter: DataConverter) -> Self {
        self.data_converter = converter;
        self
    }

    /// Adds metrics of the program to `/metrics`. `text` returns them in Prometheus's text format;
    /// no metric may begin with `temporal_` or `taskqueue_worker_`.
    #[must_use]
    pub fn metrics(
        mut self,
        text: impl Fn() -> anyhow::Result<String> + Send + Sync + 'static,
    ) -> Self {
        self.metrics.push(Arc::new(text));
        self
    }

    /// Runs `end` after the last task has ended and before the process exits: closes a database,
    /// for example. Not within the grace period, so it must be short.
    #[must_use]
    pub fn on_end(mut self, end: impl Future<Output = ()> + 'static) -> Self {
        self.on_end.push(end.boxed_local());
        self
    }

    pub(crate) fn task_queue(&self) -> &str {
        &self.task_queue
    }

    pub(crate) fn has_workflows(&self) -> bool {
        !self.workflows.is_empty()
    }

    pub(crate) fn has_activities(&self) -> bool {
        self.has_activities
    }

    pub(crate) fn converter(&self) -> &DataConverter {
        &self.data_converter
    }

    pub(crate) fn take_metrics(&mut self) -> Vec<ProgramMetrics> {
        std::mem::take(&mut self.metrics)
    }

    pub(crate) fn take_ends(&mut self) -> Vec<LocalBoxFuture<'static, ()>> {
        std::mem::take(&mut self.on_end)
    }

    /// Options with the registered activities, if they are wanted, and workflows, if they are
    /// wanted.
    pub(crate) fn registered(
        &self,
        task_queue: &str,
        workflows: bool,
        activities: bool,
    ) -> anyhow::Result<WorkerOptions> {
        let mut options = if activities {
            self.activities.clone()
        } else {
            WorkerOptions::new(task_queue).build()
        };
        task_queue.clone_into(&mut options.task_queue);
        if workflows {
            for register in &self.workflows {
                register(&mut options)?;
            }
        }
        Ok(options)
    }

    /// Applies the program's changes of the options.
    pub(crate) fn change(&self, options: &mut WorkerOptions) -> anyhow::Result<()> {
        self.options.iter().try_for_each(|change| change(options))
    }
}
