//! One read as a future: makes its calls through [`QueueStats`], times them and reports them to the
//! observer.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use taskqueue_scaling::TaskType;

use crate::call::{CallError, CallErrorKind, Heartbeat, Method, QueueStats, WorkersPage};
use crate::call_budget::Source;
use crate::clock::Clock;
use crate::connection::{ResolvedConnection, ServerNamespace};
use crate::observer::Observer;
use crate::panics::panic_text;
use crate::queue::{Answers, Span};
use crate::schedule::JobId;

/// A read that has ended.
pub(crate) struct Done {
    pub(crate) job: JobId,
    pub(crate) connection: ResolvedConnection,
    pub(crate) probe: bool,
    pub(crate) span: Span,
    pub(crate) outcome: Outcome,
}

/// The answers to a read.
#[expect(
    clippy::large_enum_variant,
    reason = "one exists for each call that is under way"
)]
pub(crate) enum Outcome {
    Queue { answers: Answers, past_cache: bool },
    Page(Result<WorkersPage, CallError>),
    Worker(Result<Option<Heartbeat>, CallError>),
}

impl Outcome {
    /// What was read.
    pub(crate) const fn source(&self) -> Source {
        match self {
            Self::Queue { .. } => Source::Backlog,
            Self::Page(_) | Self::Worker(_) => Source::Slots,
        }
    }

    pub(crate) fn errors(&self) -> Vec<CallError> {
        match self {
            Self::Queue { answers, .. } => answers
                .iter()
                .filter_map(|(_, answer)| answer.as_ref().err())
                .cloned()
                .collect(),
            Self::Page(answer) => answer.as_ref().err().cloned().into_iter().collect(),
            Self::Worker(answer) => answer.as_ref().err().cloned().into_iter().collect(),
        }
    }

    pub(crate) fn any_answer(&self) -> bool {
        match self {
            Self::Queue { answers, .. } => answers.iter().any(|(_, answer)| answer.is_ok()),
            Self::Page(answer) => answer.is_ok(),
            Self::Worker(answer) => answer.is_ok(),
        }
    }
}

/// What a read needs; every read consumes one.
pub(crate) struct Caller {
    pub(crate) stats: Arc<dyn QueueStats>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) clock: Clock,
    pub(crate) server_namespace: ServerNamespace,
    pub(crate) connection: ResolvedConnection,
    pub(crate) job: JobId,
    pub(crate) probe: bool,
}

impl Caller {
    /// Reads the statistics of all given types concurrently, or, past the server's cache, with one
    /// call for all types.
    pub(crate) fn describe(
        self,
        task_queue: String,
        types: Vec<TaskType>,
        past_cache: bool,
    ) -> BoxFuture<'static, Done> {
        async move {
            let sent = self.clock.now();
            let answers = if past_cache {
                let call = self
                    .stats
                    .describe_past_cache(&self.connection, &task_queue, &types);
                match self.observed(Method::DescribeTaskQueue, call).await {
                    Ok(answers) => answers
                        .into_iter()
                        .map(|(t, answer)| (t, Ok(answer)))
                        .collect(),
                    Err(error) => types.into_iter().map(|t| (t, Err(error.clone()))).collect(),
                }
            } else {
                let reads = types.into_iter().map(|task_type| {
                    let call = self
                        .stats
                        .describe(&self.connection, &task_queue, task_type);
                    self.observed(Method::DescribeTaskQueue, call)
                        .map(move |answer| (task_type, answer))
                });
                join_all(reads).await
            };
            self.done(
                sent,
                Outcome::Queue {
                    answers,
                    past_cache,
                },
            )
        }
        .boxed()
    }

    /// Reads one page of the worker list.
    pub(crate) fn page(self, token: Vec<u8>) -> BoxFuture<'static, Done> {
        async move {
            let sent = self.clock.now();
            let call = self.stats.list_workers(&self.connection, &token);
            let page = self.observed(Method::ListWorkers, call).await;
            self.done(sent, Outcome::Page(page))
        }
        .boxed()
    }

    /// Reads one worker.
    pub(crate) fn worker(self, instance_key: String) -> BoxFuture<'static, Done> {
        async move {
            let sent = self.clock.now();
            let call = self.stats.describe_worker(&self.connection, &instance_key);
            let worker = self.observed(Method::DescribeWorker, call).await;
            self.done(sent, Outcome::Worker(worker))
        }
        .boxed()
    }

    fn done(&self, sent: taskqueue_scaling::Time, outcome: Outcome) -> Done {
        Done {
            job: self.job,
            connection: self.connection.clone(),
            probe: self.probe,
            span: Span {
                sent,
                ended: self.clock.now(),
            },
            outcome,
        }
    }

    async fn observed<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let sent = self.clock.now();
        // One answer that we cannot stand is the error of its read alone.
        let answer = AssertUnwindSafe(call).catch_unwind().await;
        let answer = answer.unwrap_or_else(|panic| Err(panicked(method, &*panic)));
        let took = self.clock.now().since(sent);
        match &answer {
            Ok(_) => self
                .observer
                .call(&self.server_namespace, method, "Ok", took),
            Err(error) => {
                self.observer
                    .call(&self.server_namespace, error.method, error.code, took);
            }
        }
        answer
    }
}

/// A call that panicked: a bug of ours.
fn panicked(method: Method, panic: &(dyn Any + Send)) -> CallError {
    CallError {
        kind: CallErrorKind::Failed,
        method,
        code: "Internal",
        message: format!(
            "the operator panicked: {}; please report it",
            panic_text(panic)
        ),
        connection_lost: false,
        fault: None,
    }
}
