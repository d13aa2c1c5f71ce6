//! The polls of an SDK worker and the tasks that they brought, as the requests that pass through
//! `proxy` show them.
//!
//! From the moment a worker is asked to stop, temporalio-sdk-core 0.10.1 accepts no workflow task
//! (`WFStream::shutdown_done` checks only the workflows that it already has) and drops its polls. A
//! task that the server has just put into one of them comes back only after its timeout: 10 s for a
//! workflow task, an attempt for an activity. So this module ends the polls before the worker is
//! told to stop: it sends no new polls, open polls may return with a task, and those tasks are
//! answered. It also stops answering polls as empty: once the worker has been told to stop, the
//! first empty answer ends its stream of activities and loses the tasks queued behind it
//! (`TaskPollerStream`).
//!
//! Upstream: `WFStream` (sdk-core/src/worker/workflow/workflow_stream.rs) and `TaskPollerStream`
//! (sdk-core/src/pollers/mod.rs). Not needed once the SDK waits for
//! its polls and their tasks before it stops.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use prost::Message;
use temporalio_client::Connection;
use temporalio_client::callback_based::GrpcSuccessResponse;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::metadata::MetadataMap;
use temporalio_client::tonic::{IntoRequest, Response, Status};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1 as api;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::heartbeat::without_room;
use super::open_tasks::OpenTasks;
use super::pace::Pace;
use super::unsent::was_never_sent;

/// Time limit for a request that reports the shutdown of a worker.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// The reason that the server gets for the shutdown, and the error message of polls that are no
/// longer sent.
const REASON: &str = "the worker stops polling";

/// The polls of one SDK worker. Clones share the state.
#[derive(Clone, Default)]
pub(super) struct Polls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Cancelled: no further polls are sent.
    parked: CancellationToken,
    /// Cancelled: all polls end immediately.
    released: CancellationToken,
    state: Mutex<State>,
    changed: Notify,
}

/// A kind of task that a worker polls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TaskKind {
    /// Workflow tasks.
    Workflow,
    /// Activities.
    Activity,
}

#[derive(Default)]
struct State {
    under_way: usize,
    /// The kinds of tasks for which a poll was sent.
    polled: HashSet<TaskKind>,
    /// The workflow tasks that polls returned.
    tasks: OpenTasks,
    pace: Pace,
    /// The request that removes this worker from the server's list, filled in from its polls.
    shutdown: api::ShutdownWorkerRequest,
    /// The last report of this worker's slots.
    heartbeat: Option<api::RecordWorkerHeartbeatRequest>,
}

impl Polls {
    /// Sends no further polls, and waits until all open polls have returned and their workflow
    /// tasks are answered, up to `timeout`. With `if_quiet`, it also stops waiting when no poll
    /// has returned for a while: the remaining polls then wait on an idle queue.
    pub(super) async fn end(&self, behind: &Connection, timeout: Duration, if_quiet: bool) {
        self.0.parked.cancel();
        let returned = async {
            tokio::join!(self.announce_shutdown(behind), self.report_no_room(behind));
            self.all_returned(if_quiet).await;
        };
        let _late = tokio::time::timeout(timeout, returned).await;
        let mut state = self.state();
        let tasks_unanswered = state.tasks.count(tokio::time::Instant::now());
        // A task in a poll that is cut off, or a task that is not answered, comes back after its
        // timeout.
        tracing::info!(
            polls_cut_off = state.under_way,
            tasks_unanswered,
            "no more polls"
        );
    }

    /// Ends the remaining polls. The worker must already have been told to stop.
    pub(super) fn release(&self) {
        self.0.released.cancel();
    }

    /// Completes when a poll for each of these kinds of tasks was sent.
    pub(super) async fn polling(&self, kinds: &[TaskKind]) {
        loop {
            let changed = self.0.changed.notified();
            if kinds.iter().all(|kind| self.state().polled.contains(kind)) {
                return;
            }
            changed.await;
        }
    }

    /// Whether `release` was called.
    pub(super) fn is_released(&self) -> bool {
        self.0.released.is_cancelled()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    async fn all_returned(&self, if_quiet: bool) {
        loop {
            let changed = self.0.changed.notified();
            let (task_times_out, under_way, quiet) = {
                let mut state = self.state();
                let task_times_out = state.tasks.next_timeout(tokio::time::Instant::now());
                (
                    task_times_out,
                    state.under_way,
                    state.pace.quiet(Instant::now()),
                )
            };
            if let Some(at) = task_times_out {
                // Either way there may be fewer tasks now.
                let _timed_out = tokio::time::timeout_at(at, changed).await;
            } else if under_way == 0 {
                return;
            } else if !if_quiet {
                changed.await;
            } else if tokio::time::timeout(quiet, changed).await.is_err() {
                return;
            }
        }
    }

    /// Asks the server to unload the sticky queue. Its polls end, and its workflows go to any
    /// worker from now on instead of waiting for this one. A server with
    /// `frontend.enableCancelWorkerPollsOnShutdown` ends the other polls as well.
    async fn announce_shutdown(&self, behind: &Connection) {
        let shutdown = self.state().shutdown.clone();
        if shutdown.worker_instance_key.is_empty() {
            return;
        }
        let mut request = shutdown.into_request();
        request.set_timeout(SHUTDOWN_TIMEOUT);
        let asked = Instant::now();
        let mut retrying = behind.clone();
        if let Err(status) = WorkflowService::shutdown_worker(&mut retrying, request).await {
            // Without it, the next tasks of cached workflows are only late by the sticky timeout.
            tracing::debug!("the server did not accept the shutdown of the worker: {status}");
        }
        self.took(asked);
    }

    /// Reports at once that this worker has no free slots any more. Its next heartbeat, which would
    /// say so too, may be a minute away.
    async fn report_no_room(&self, behind: &Connection) {
        let Some(mut heartbeat) = self.state().heartbeat.clone() else {
            return;
        };
        without_room(&mut heartbeat);
        let mut request = heartbeat.into_request();
        request.set_timeout(SHUTDOWN_TIMEOUT);
        let mut service = behind.workflow_service();
        if let Err(status) = service.record_worker_heartbeat(request).await {
            tracing::debug!("the server did not accept a heartbeat of the worker: {status}");
        }
    }

    /// Remembers a report of this worker's slots. Once no polls are sent, its free slots can take
    /// no task, so they are reported as none.
    pub(super) fn note_heartbeat(&self, heartbeat: &mut api::RecordWorkerHeartbeatRequest) {
        if self.0.parked.is_cancelled() {
            without_room(heartbeat);
        }
        self.state().heartbeat = Some(heartbeat.clone());
    }

    fn took(&self, asked: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(asked);
        self.state().pace.note(now, took);
    }

    /// Sends a poll, unless polls are parked. Calls `has_task` on the answer before the poll counts
    /// as returned.
    pub(super) async fn poll<R: Message>(
        &self,
        call: impl Future<Output = Result<Response<R>, Status>>,
        has_task: impl FnOnce(&R) -> bool,
    ) -> Result<GrpcSuccessResponse, Status> {
        // Counted first: `end` parks and then counts, so no poll can slip through in between.
        let under_way = UnderWay::begin(self);
        if !self.0.parked.is_cancelled() {
            tokio::select! {
                biased;
                answer = call => {
                    let answer = answer?;
                    if has_task(answer.get_ref()) || !self.0.parked.is_cancelled() {
                        return encoded(&answer);
                    }
                }
                () = self.0.released.cancelled() => {}
            }
        }
        drop(under_way);
        self.0.released.cancelled().await;
        // Not an empty answer, which could get ahead of a task in the SDK's queue. The autoscaling
        // pollers of workflow tasks and activities swallow this error.
        Err(Status::cancelled(REASON))
    }

    /// Records the workflow task that a poll returned. Returns whether there is one.
    pub(super) fn note_workflow_task(&self, task: &api::PollWorkflowTaskQueueResponse) -> bool {
        self.state().tasks.add(task, tokio::time::Instant::now())
    }

    /// Sends the outcome of a task. `next` returns the workflow task in the answer, if there is
    /// one.
    pub(super) async fn answer<R: Message>(
        &self,
        task_token: Vec<u8>,
        call: impl Future<Output = Result<Response<R>, Status>>,
        next: impl FnOnce(&R) -> Option<&api::PollWorkflowTaskQueueResponse>,
    ) -> Result<GrpcSuccessResponse, Status> {
        let asked = Instant::now();
        let answer = call.await;
        self.took(asked);
        if let Ok(answer) = &answer
            && let Some(task) = next(answer.get_ref())
        {
            self.note_workflow_task(task);
        }
        // The SDK resends a request that was never sent.
        if !answer.as_ref().is_err_and(was_never_sent) {
            self.state().tasks.remove(&task_token);
            self.0.changed.notify_waiters();
        }
        encoded(&answer?)
    }

    /// Records which worker polls (Temporal namespace, identity, instance) and on which queue.
    pub(super) fn note_poll(
        &self,
        kind: TaskKind,
        queue: Option<&TaskQueue>,
        worker: [&String; 3],
    ) {
        let Some(queue) = queue else {
            return;
        };
        let mut state = self.state();
        if state.polled.insert(kind) {
            self.0.changed.notify_waiters();
        }
        let shutdown = &mut state.shutdown;
        if queue.kind == TaskQueueKind::Sticky as i32 {
            shutdown.sticky_task_queue.clone_from(&queue.name);
        } else if shutdown.task_queue.is_empty() {
            let [namespace, identity, instance] = worker.map(String::clone);
            *shutdown = api::ShutdownWorkerRequest {
                namespace,
                identity,
                reason: REASON.to_owned(),
                worker_instance_key: instance,
                task_queue: queue.name.clone(),
                ..std::mem::take(shutdown)
            };
        }
    }
}

/// One open poll, counted from before it is sent until its answer is processed.
struct UnderWay<'a>(&'a Polls);

impl<'a> UnderWay<'a> {
    fn begin(polls: &'a Polls) -> Self {
        polls.state().under_way += 1;
        Self(polls)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
        self.0.0.changed.notify_waiters();
    }
}

/// Encodes an answer.
#[expect(
    clippy::unnecessary_wraps,
    reason = "every answer of the proxy is one of these"
)]
pub(super) fn encoded<M: Message>(answer: &Response<M>) -> Result<GrpcSuccessResponse, Status> {
    Ok(GrpcSuccessResponse {
        headers: MetadataMap::new().into_headers(),
        proto: answer.get_ref().encode_to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use temporalio_client::tonic::Code;

    use super::*;

    fn task(task_token: &[u8]) -> api::PollActivityTaskQueueResponse {
        api::PollActivityTaskQueueResponse {
            task_token: task_token.to_vec(),
            ..api::PollActivityTaskQueueResponse::default()
        }
    }

    /// A poll that returns when `answer` receives a task token.
    async fn poll(
        polls: Polls,
        answer: tokio::sync::oneshot::Receiver<Vec<u8>>,
    ) -> Result<Vec<u8>, Status> {
        let call = async { Ok(Response::new(task(&answer.await.unwrap_or_default()))) };
        let outcome = polls.poll(call, |task| !task.task_token.is_empty()).await?;
        Ok(outcome.proto)
    }

    #[tokio::test]
    async fn what_comes_home_late_is_passed_on_and_no_empty_answer_with_it() {
        let polls = Polls::default();
        let mut answers = Vec::new();
        let mut under_way = Vec::new();
        for _ in 0..3 {
            let (answer, answered) = tokio::sync::oneshot::channel();
            answers.push(answer);
            under_way.push(tokio::spawn(poll(polls.clone(), answered)));
        }
        while polls.state().under_way < 3 {
            tokio::task::yield_now().await;
        }
        polls.0.parked.cancel();
        let not_sent = tokio::spawn(poll(polls.clone(), tokio::sync::oneshot::channel().1));
        // One returns a task, one returns empty, one is cut off.
        answers.remove(0).send(b"task".to_vec()).unwrap();
        answers.remove(0).send(Vec::new()).unwrap();
        let late = under_way.remove(0).await.unwrap();
        assert_eq!(late.unwrap(), task(b"task").encode_to_vec());
        while polls.state().under_way > 1 {
            tokio::task::yield_now().await;
        }
        assert!(under_way.iter().all(|poll| !poll.is_finished()));
        polls.release();
        under_way.push(not_sent);
        for poll in under_way {
            let status = poll.await.unwrap().unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Cancelled, REASON));
        }
        assert_eq!(polls.state().under_way, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_a_workflow_task_until_the_server_does_not() {
        let polls = Polls::default();
        let given_up = api::PollWorkflowTaskQueueResponse {
            task_token: b"given up".to_vec(),
            ..api::PollWorkflowTaskQueueResponse::default()
        };
        polls.note_workflow_task(&given_up);
        tokio::time::advance(Duration::from_secs(7)).await;
        let started = tokio::time::Instant::now();
        polls.all_returned(false).await;
        let waited = started.elapsed().as_secs_f64();
        assert!((3.0..3.1).contains(&waited), "{waited} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_is_given_longer_before_its_polls_are_cut_off() {
        let polls = Polls::default();
        let _waiting = UnderWay::begin(&polls);
        let quick = tokio::time::Instant::now();
        polls.all_returned(true).await;
        let quick = quick.elapsed();
        let now = Instant::now();
        polls.state().pace.note(now, Duration::from_secs(1));
        let slow = tokio::time::Instant::now();
        polls.all_returned(true).await;
        assert!(slow.elapsed() > quick * 3, "{:?}", slow.elapsed());
    }
}
