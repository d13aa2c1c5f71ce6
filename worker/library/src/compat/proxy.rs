//! The connection of one SDK worker, in front of a connection that successive workers share.
//! Forwards every request: those about polls and tasks through `polls`, those that need not be read
//! as bytes (`opaque`).
//!
//! The SDK refuses two workers for one queue on one connection (`ClientWorkerSet` in
//! client/src/worker.rs). Each worker has its own proxy, so replacing a worker opens no new
//! connection.

use std::sync::Arc;

use futures::FutureExt;
use prost::Message;
use temporalio_client::callback_based::{
    CallbackBasedGrpcService, GrpcRequest, GrpcSuccessResponse,
};
use temporalio_client::tonic::metadata::MetadataMap;
use temporalio_client::tonic::{Extensions, Request, Response, Status};
use temporalio_client::{Connection, ConnectionOptions, Url, errors::ClientConnectError};
use temporalio_common::protos::temporal::api::workflowservice::v1 as api;
use temporalio_common::telemetry::metrics::TemporalMeter;

use super::opaque::Opaque;
use super::polls::{Polls, TaskKind, encoded};
use super::unsent::was_never_sent;

/// The service that the requests of a worker belong to.
const WORKFLOW_SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";
/// The URL that the SDK believes it connects to. It never appears: requests go to the shared
/// connection.
const BEHIND: &str = "http://connection.behind.invalid";

/// Forwards the requests of one SDK worker.
#[derive(Clone)]
pub(super) struct Proxy {
    /// Tracks the polls and tasks of the worker.
    pub(super) polls: Polls,
    /// The shared connection.
    pub(super) behind: Connection,
    /// The connection for all requests that need not be read.
    pub(super) opaque: Opaque,
}

impl Proxy {
    /// Creates the connection of the SDK worker.
    pub(super) async fn connection(
        self,
        meter: TemporalMeter,
    ) -> Result<Connection, ClientConnectError> {
        let url = Url::parse(BEHIND)
            .map_err(|error| ClientConnectError::InvalidConfig(error.to_string()))?;
        let service = CallbackBasedGrpcService {
            callback: Arc::new(move |request| {
                let proxy = self.clone();
                async move { proxy.pass_on(request).await }.boxed()
            }),
        };
        let options = ConnectionOptions::new(url)
            .metrics_meter(meter)
            .dns_load_balancing(None)
            .service_override(service)
            .build();
        Connection::connect(options).await
    }

    /// Forwards a request. Temporal's frontends close every connection after five minutes, and a
    /// request at that moment fails without having been sent. The SDK would resend it, but
    /// recognizes such an error only by its cause, which does not survive the way back to the SDK.
    /// It would then give up the result of an activity, which would run again after its timeout. So
    /// the error is replaced by a status code on which the SDK resends.
    async fn pass_on(&self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        let rpc = request.rpc.clone();
        let outcome = self.pass_once(request).await;
        outcome.map_err(|status| {
            if was_never_sent(&status) {
                tracing::debug!(
                    rpc,
                    "the connection was closed; the SDK sends the request again"
                );
                return Status::unavailable("the connection was closed before it took the request");
            }
            // The SDK logs it, and stores it in histories.
            self.opaque.connector().without_credentials(status)
        })
    }

    async fn pass_once(&self, request: GrpcRequest) -> Result<GrpcSuccessResponse, Status> {
        if request.service != WORKFLOW_SERVICE {
            return self.opaque.pass(request).await;
        }
        let polls = &self.polls;
        let mut service = self.behind.workflow_service();
        /// Decodes a request, sends it, and encodes the answer.
        macro_rules! pass {
            ($method:ident) => {
                encoded(&service.$method(decoded(request)?).await?)
            };
        }
        /// The same for the outcome of a task.
        macro_rules! answer {
            ($method:ident, $message:ident, $next:expr) => {{
                let request: Request<api::$message> = decoded(request)?;
                let task_token = request.get_ref().task_token.clone();
                let call = service.$method(request);
                polls.answer(task_token, call, $next).await
            }};
            ($method:ident, $message:ident) => {
                answer!($method, $message, |_| None)
            };
        }
        /// The same for a poll, which identifies the worker.
        macro_rules! poll {
            ($method:ident, $message:ident, $kind:expr, $has_task:expr) => {{
                let request: Request<api::$message> = decoded(request)?;
                let poll = request.get_ref();
                let worker = [&poll.namespace, &poll.identity, &poll.worker_instance_key];
                polls.note_poll($kind, poll.task_queue.as_ref(), worker);
                polls.poll(service.$method(request), $has_task).await
            }};
        }
        match request.rpc.as_str() {
            "PollWorkflowTaskQueue" => poll!(
                poll_workflow_task_queue,
                PollWorkflowTaskQueueRequest,
                TaskKind::Workflow,
                |task| polls.note_workflow_task(task)
            ),
            "PollActivityTaskQueue" => poll!(
                poll_activity_task_queue,
                PollActivityTaskQueueRequest,
                TaskKind::Activity,
                |task| !task.task_token.is_empty()
            ),
            "RespondWorkflowTaskCompleted" => answer!(
                respond_workflow_task_completed,
                RespondWorkflowTaskCompletedRequest,
                // The answer may contain the workflow's next task.
                |answer| answer.workflow_task.as_ref()
            ),
            "RespondWorkflowTaskFailed" => {
                answer!(
                    respond_workflow_task_failed,
                    RespondWorkflowTaskFailedRequest
                )
            }
            "RespondQueryTaskCompleted" => {
                answer!(
                    respond_query_task_completed,
                    RespondQueryTaskCompletedRequest
                )
            }
            "RespondActivityTaskCanceled" => {
                answer!(
                    respond_activity_task_canceled,
                    RespondActivityTaskCanceledRequest
                )
            }
            "RespondActivityTaskCompleted" => {
                answer!(
                    respond_activity_task_completed,
                    RespondActivityTaskCompletedRequest
                )
            }
            "RespondActivityTaskFailed" => {
                answer!(
                    respond_activity_task_failed,
                    RespondActivityTaskFailedRequest
                )
            }
            "DescribeNamespace" => pass!(describe_namespace),
            "GetSystemInfo" => pass!(get_system_info),
            "GetWorkflowExecutionHistory" => pass!(get_workflow_execution_history),
            "PollNexusTaskQueue" => self.poll_nexus(decoded(request)?).await,
            "RecordActivityTaskHeartbeat" => pass!(record_activity_task_heartbeat),
            "RecordWorkerHeartbeat" => {
                let mut request: Request<api::RecordWorkerHeartbeatRequest> = decoded(request)?;
                polls.note_heartbeat(request.get_mut());
                encoded(&service.record_worker_heartbeat(request).await?)
            }
            "RespondNexusTaskCompleted" => pass!(respond_nexus_task_completed),
            "RespondNexusTaskFailed" => pass!(respond_nexus_task_failed),
            "ShutdownWorker" => pass!(shutdown_worker),
            _ => self.opaque.pass(request).await,
        }
    }

    async fn poll_nexus(
        &self,
        request: Request<api::PollNexusTaskQueueRequest>,
    ) -> Result<GrpcSuccessResponse, Status> {
        let mut service = self.behind.workflow_service();
        let call = service.poll_nexus_task_queue(request);
        let has_task = |task: &api::PollNexusTaskQueueResponse| !task.task_token.is_empty();
        match self.polls.poll(call, has_task).await {
            // This poller does not autoscale; after an error it would poll again without end.
            Err(_) if self.polls.is_released() => {
                encoded(&Response::new(api::PollNexusTaskQueueResponse::default()))
            }
            outcome => outcome,
        }
    }
}

/// Decodes a request for the shared connection, with the SDK's headers: the deadline, the
/// namespace, the SDK's name.
fn decoded<M: Message + Default>(request: GrpcRequest) -> Result<Request<M>, Status> {
    let message = M::decode(request.proto)
        .map_err(|error| Status::internal(format!("{}: {error}", request.rpc)))?;
    let headers = MetadataMap::from_headers(request.headers);
    Ok(Request::from_parts(headers, Extensions::new(), message))
}
