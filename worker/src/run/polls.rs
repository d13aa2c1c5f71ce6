//! Stands between an SDK worker and its connection, and knows which polls are under way. Passes
//! every request on as it is.
//!
//! temporalio-sdk-core 0.10.1 takes in no workflow task any more from the moment a worker is told
//! to stop (`WFStream::shutdown_done` looks only at the workflows it already has), and drops its
//! polls then. A task that the server has just put into one of them comes back only after its
//! timeout: 10 s for a workflow task, an attempt for an activity. So polls are ended here, before
//! the worker is told: no new one goes out, those under way may bring home what they have, and what
//! they brought is answered.
//!
//! The SDK also refuses two workers for one queue on one connection. Each worker has one of these,
//! and all of them share the connection behind it, so that replacing a worker opens nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use prost::Message;
use temporalio_client::callback_based::{
    CallbackBasedGrpcService, GrpcRequest, GrpcSuccessResponse,
};
use temporalio_client::tonic::metadata::MetadataMap;
use temporalio_client::tonic::{Code, Extensions, IntoRequest, Request, Response, Status};
use temporalio_client::{Connection, ConnectionOptions, Url, errors::ClientConnectError};
use temporalio_common::protos::temporal::api::enums::v1::TaskQueueKind;
use temporalio_common::protos::temporal::api::workflowservice::v1 as api;
use temporalio_common::telemetry::metrics::TemporalMeter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Where the SDK believes to connect to. It appears nowhere: requests go to the connection behind.
const BEHIND: &str = "http://connection.behind.invalid";
/// A queue on which nothing has come home for this long has no tasks. The polls of a busy one
/// return within a few hundredths of a second.
const QUIET: Duration = Duration::from_millis(300);
/// Longest wait for the server to take note that a worker leaves.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a request is sent again because its connection was closed, and the pause before.
const RECONNECTS: u32 = 3;
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// What the server is told of a worker that leaves.
const REASON: &str = "the worker stops polling";
/// More workflow tasks than any worker has at once. Beyond it the list holds tasks that the SDK
/// gave up, and starts anew.
const MOST_TASKS: usize = 20_000;

/// The polls of one SDK worker. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Polls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// No further poll goes out.
    parked: CancellationToken,
    /// Every poll is answered at once, as empty.
    released: CancellationToken,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    /// Tokens of workflow tasks that were brought home and are not answered yet.
    tasks: HashSet<Vec<u8>>,
    /// What takes this worker off the server's list, as far as its polls have told.
    farewell: api::ShutdownWorkerRequest,
}

impl Polls {
    /// A connection for one SDK worker, on top of another.
    pub(super) async fn connection(
        &self,
        behind: &Connection,
        meter: TemporalMeter,
    ) -> Result<Connection, ClientConnectError> {
        let url = Url::parse(BEHIND)
            .map_err(|error| ClientConnectError::InvalidConfig(error.to_string()))?;
        let (polls, behind) = (self.clone(), behind.clone());
        let service = CallbackBasedGrpcService {
            callback: Arc::new(move |request| {
                let (polls, behind) = (polls.clone(), behind.clone());
                async move { polls.pass_on(&behind, request).await }.boxed()
            }),
        };
        let options = ConnectionOptions::new(url)
            .metrics_meter(meter)
            .dns_load_balancing(None)
            .service_override(service)
            .build();
        Connection::connect(options).await
    }

    /// Sends no further poll, and waits until all that are under way have come home and the
    /// workflow tasks they brought are answered, but not longer than `patience`. With `if_quiet`,
    /// also no longer than until nothing has come home for a while: what is left then waits on a
    /// queue without tasks.
    pub(super) async fn end(&self, behind: &Connection, patience: Duration, if_quiet: bool) {
        self.0.parked.cancel();
        let home = async {
            let asked = Instant::now();
            self.say_farewell(behind).await;
            // A server that is slow to answer is as slow to fill polls.
            let quiet = QUIET.max(asked.elapsed() * 5);
            self.all_home(if_quiet.then_some(quiet)).await;
        };
        let _late = tokio::time::timeout(patience, home).await;
        let state = self.state();
        // A task in a poll that is cut off, or not answered, comes back by its timeout.
        tracing::info!(
            polls_cut_off = state.under_way,
            tasks_unanswered = state.tasks.len(),
            "no more polls"
        );
    }

    /// Answers the polls that are left. The worker must have been told to stop before.
    pub(super) fn release(&self) {
        self.0.released.cancel();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock still holds a whole state: no step in it can fail halfway.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn all_home(&self, quiet: Option<Duration>) {
        loop {
            let changed = self.0.changed.notified();
            let answered = {
                let state = self.state();
                if state.under_way == 0 && state.tasks.is_empty() {
                    return;
                }
                state.tasks.is_empty()
            };
            match quiet {
                Some(quiet) if answered => {
                    if tokio::time::timeout(quiet, changed).await.is_err() {
                        return;
                    }
                }
                _ => changed.await,
            }
        }
    }

    /// Has the server unload the sticky queue: its polls end, and the workflows that it was for go
    /// to any worker from now on, instead of waiting for this one. A server with
    /// `frontend.enableCancelWorkerPollsOnShutdown` ends the other polls as well.
    async fn say_farewell(&self, behind: &Connection) {
        let farewell = self.state().farewell.clone();
        if farewell.worker_instance_key.is_empty() {
            return;
        }
        let mut request = farewell.into_request();
        request.set_timeout(FAREWELL_TIMEOUT);
        if let Err(status) = behind.workflow_service().shutdown_worker(request).await {
            // The next tasks of cached workflows are late by the sticky timeout, no more.
            tracing::debug!("the server did not take the farewell: {status}");
        }
    }

    /// Sends a poll, unless none may go out any more. `brought` sees the answer before the poll
    /// counts as home.
    async fn poll<R: Message + Default>(
        &self,
        call: impl Future<Output = Result<Response<R>, Status>>,
        brought: impl FnOnce(&R),
    ) -> Result<GrpcSuccessResponse, Status> {
        // Counted first: `end` parks and then counts, so that none slips through between.
        let under_way = UnderWay::begin(self);
        let empty = || encoded(&Response::new(R::default()));
        if self.0.parked.is_cancelled() {
            drop(under_way);
            self.0.released.cancelled().await;
            return empty();
        }
        tokio::select! {
            biased;
            answer = call => {
                let answer = answer?;
                brought(answer.get_ref());
                encoded(&answer)
            }
            () = self.0.released.cancelled() => empty(),
        }
    }

    fn brought(&self, task_token: &[u8]) {
        if !task_token.is_empty() {
            let mut state = self.state();
            if state.tasks.len() >= MOST_TASKS {
                state.tasks.clear();
            }
            state.tasks.insert(task_token.to_owned());
        }
    }

    fn answered(&self, task_token: &[u8]) {
        self.state().tasks.remove(task_token);
        self.0.changed.notify_waiters();
    }

    /// Passes a request on, and again if the connection was closed before it was sent. Temporal's
    /// frontends close every connection after five minutes, and the SDK gives a request up that
    /// comes at that moment: an activity's result would be lost, and the activity run again after
    /// its timeout.
    async fn pass_on(
        &self,
        behind: &Connection,
        request: GrpcRequest,
    ) -> Result<GrpcSuccessResponse, Status> {
        for _ in 0..RECONNECTS {
            let copy = GrpcRequest {
                service: request.service.clone(),
                rpc: request.rpc.clone(),
                headers: request.headers.clone(),
                proto: request.proto.clone(),
            };
            match self.pass_once(behind, copy).await {
                Err(status) if was_never_sent(&status) => {
                    tracing::debug!(rpc = request.rpc, "sent again on a new connection");
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
        self.pass_once(behind, request).await
    }

    async fn pass_once(
        &self,
        behind: &Connection,
        request: GrpcRequest,
    ) -> Result<GrpcSuccessResponse, Status> {
        let mut service = behind.workflow_service();
        /// Decodes a request, has it sent, and encodes the answer.
        macro_rules! pass {
            ($method:ident) => {
                encoded(&service.$method(decoded(request)?).await?)
            };
        }
        match request.rpc.as_str() {
            "PollWorkflowTaskQueue" => {
                let request: Request<api::PollWorkflowTaskQueueRequest> = decoded(request)?;
                self.note_workflow_poll(request.get_ref());
                let call = service.poll_workflow_task_queue(request);
                self.poll(call, |task| self.brought(&task.task_token)).await
            }
            "PollActivityTaskQueue" => {
                let request: Request<api::PollActivityTaskQueueRequest> = decoded(request)?;
                self.note_activity_poll(request.get_ref());
                let call = service.poll_activity_task_queue(request);
                self.poll(call, |_| {}).await
            }
            "RespondWorkflowTaskCompleted" => {
                let request: Request<api::RespondWorkflowTaskCompletedRequest> = decoded(request)?;
                let task_token = request.get_ref().task_token.clone();
                let answer = service.respond_workflow_task_completed(request).await;
                // The answer may hold the workflow's next task.
                let next = answer
                    .as_ref()
                    .ok()
                    .and_then(|a| a.get_ref().workflow_task.as_ref());
                self.brought(next.map(|task| &*task.task_token).unwrap_or_default());
                self.answered(&task_token);
                encoded(&answer?)
            }
            "RespondWorkflowTaskFailed" => {
                let request: Request<api::RespondWorkflowTaskFailedRequest> = decoded(request)?;
                let task_token = request.get_ref().task_token.clone();
                let answer = service.respond_workflow_task_failed(request).await;
                self.answered(&task_token);
                encoded(&answer?)
            }
            "RespondQueryTaskCompleted" => {
                let request: Request<api::RespondQueryTaskCompletedRequest> = decoded(request)?;
                let task_token = request.get_ref().task_token.clone();
                let answer = service.respond_query_task_completed(request).await;
                self.answered(&task_token);
                encoded(&answer?)
            }
            "DescribeNamespace" => pass!(describe_namespace),
            "GetSystemInfo" => pass!(get_system_info),
            "GetWorkflowExecutionHistory" => pass!(get_workflow_execution_history),
            "PollNexusTaskQueue" => {
                let call = service.poll_nexus_task_queue(decoded(request)?);
                self.poll(call, |_| {}).await
            }
            "RecordActivityTaskHeartbeat" => pass!(record_activity_task_heartbeat),
            "RecordWorkerHeartbeat" => pass!(record_worker_heartbeat),
            "RespondActivityTaskCanceled" => pass!(respond_activity_task_canceled),
            "RespondActivityTaskCompleted" => pass!(respond_activity_task_completed),
            "RespondActivityTaskFailed" => pass!(respond_activity_task_failed),
            "RespondNexusTaskCompleted" => pass!(respond_nexus_task_completed),
            "RespondNexusTaskFailed" => pass!(respond_nexus_task_failed),
            "ShutdownWorker" => pass!(shutdown_worker),
            other => Err(Status::unimplemented(format!(
                "{other} is not among the requests of a worker that this program knows"
            ))),
        }
    }

    fn note_workflow_poll(&self, poll: &api::PollWorkflowTaskQueueRequest) {
        let queue = poll.task_queue.clone().unwrap_or_default();
        let mut state = self.state();
        let farewell = &mut state.farewell;
        if queue.kind == TaskQueueKind::Sticky as i32 {
            if farewell.sticky_task_queue.is_empty() {
                farewell.sticky_task_queue = queue.name;
            }
        } else if farewell.task_queue.is_empty() {
            *farewell = api::ShutdownWorkerRequest {
                namespace: poll.namespace.clone(),
                identity: poll.identity.clone(),
                reason: REASON.to_owned(),
                worker_instance_key: poll.worker_instance_key.clone(),
                task_queue: queue.name,
                ..std::mem::take(farewell)
            };
        }
    }

    fn note_activity_poll(&self, poll: &api::PollActivityTaskQueueRequest) {
        let mut state = self.state();
        let farewell = &mut state.farewell;
        if farewell.task_queue.is_empty() {
            *farewell = api::ShutdownWorkerRequest {
                namespace: poll.namespace.clone(),
                identity: poll.identity.clone(),
                reason: REASON.to_owned(),
                worker_instance_key: poll.worker_instance_key.clone(),
                task_queue: poll.task_queue.clone().unwrap_or_default().name,
                ..std::mem::take(farewell)
            };
        }
    }
}

/// Whether the connection went away before it took the request: what hyper says of a request that
/// it still had in hand. Nobody else cancels a request that is being awaited here; one that is too
/// late says "Timeout expired".
fn was_never_sent(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "operation was canceled"
}

/// One poll, from before it is sent until its answer is taken in.
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

/// The request as the connection behind takes it, with the SDK's headers: the deadline, the
/// namespace, the SDK's name.
fn decoded<M: Message + Default>(request: GrpcRequest) -> Result<Request<M>, Status> {
    let message = M::decode(request.proto)
        .map_err(|error| Status::internal(format!("{}: {error}", request.rpc)))?;
    let headers = MetadataMap::from_headers(request.headers);
    Ok(Request::from_parts(headers, Extensions::new(), message))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "every answer of `pass_on` is one of these"
)]
fn encoded<M: Message>(answer: &Response<M>) -> Result<GrpcSuccessResponse, Status> {
    Ok(GrpcSuccessResponse {
        headers: MetadataMap::new().into_headers(),
        proto: answer.get_ref().encode_to_vec(),
    })
}
