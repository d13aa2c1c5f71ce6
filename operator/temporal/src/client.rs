//! The calls over the network: the official Temporal client, one connection per server, Temporal
//! namespace and credential, a deadline for every call. Reads only. Retries nothing, since the
//! reader decides what is worth another call.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use taskqueue_scaling::TaskType;
use temporalio_client::errors::ClientConnectError;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{IntoRequest, Request, Response, Status};
use temporalio_client::{
    ClientTlsOptions, Connection, ConnectionOptions, DnsLoadBalancingOptions, GrpcCompression,
    HttpConnectProxyOptions, TlsOptions,
};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DescribeTaskQueueRequest, DescribeWorkerRequest, ListWorkersRequest,
};

use crate::call::{
    CallError, CallErrorKind, Described, Heartbeat, Method, QueueStats, WorkersPage,
};
use crate::connection::{CredentialId, ResolvedConnection, ServerNamespace};
use crate::{fault, probe, tunnel, wire};

/// The deadline for opening a connection, and for a call. A cached answer takes two milliseconds,
/// an uncached one thirty; at five seconds the server is in trouble.
const DEADLINE: Duration = Duration::from_secs(5);

/// Workers per page of the list, at some 470 bytes each: a page is half a megabyte.
const WORKERS_PER_PAGE: i32 = 1_000;

/// Talks to Temporal. Opens a connection at the first call that needs it, and keeps connections
/// apart by address, Temporal namespace and credential.
#[derive(Debug)]
pub struct TemporalClient {
    identity: String,
    channels: Mutex<BTreeMap<(ServerNamespace, CredentialId), Arc<Channel>>>,
}

/// A connection, open or not.
#[derive(Default)]
struct Channel {
    /// Held while connecting, so that one attempt serves all waiting callers.
    state: tokio::sync::Mutex<State>,
    /// How many attempts have failed.
    failed: AtomicU64,
}

#[derive(Default)]
struct State {
    open: Option<Connection>,
    last_failure: Option<CallError>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl TemporalClient {
    /// A client without connections. The server sees `identity`; the operator uses
    /// `taskqueue-operator@<host>`.
    pub fn new(identity: impl Into<String>) -> Self {
        Self {
            identity: identity.into(),
            channels: Mutex::default(),
        }
    }

    /// The number of connections, open or opening.
    pub fn connections(&self) -> usize {
        self.channels.lock().len()
    }

    fn channel(&self, connection: &ResolvedConnection) -> Arc<Channel> {
        let key = (connection.server_namespace(), connection.credential_id());
        self.channels.lock().entry(key).or_default().clone()
    }

    async fn open(&self, to: &ResolvedConnection) -> Result<Connection, CallError> {
        let channel = self.channel(to);
        let failed_before = channel.failed.load(Ordering::Acquire);
        let mut state = channel.state.lock().await;
        if let Some(open) = &state.open {
            return Ok(open.clone());
        }
        // A caller that waited for a failed attempt shares its failure, instead of queueing for an
        // attempt of its own.
        if channel.failed.load(Ordering::Acquire) != failed_before
            && let Some(failure) = &state.last_failure
        {
            return Err(failure.clone());
        }
        let opened =
            match tokio::time::timeout(DEADLINE, Connection::connect(self.options(to))).await {
                Ok(Ok(open)) => Ok(open),
                Ok(Err(error)) => Err(failure(to, Some(&error)).await),
                Err(_) => Err(failure(to, None).await),
            };
        match opened {
            Ok(open) => {
                tracing::debug!(
                    address = to.address(),
                    temporal_namespace = to.temporal_namespace(),
                    credential = %to.credential_id(),
                    "connected to Temporal"
                );
                state.open = Some(open.clone());
                state.last_failure = None;
                Ok(open)
            }
            Err(failure) => {
                channel.failed.fetch_add(1, Ordering::Release);
                state.last_failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    fn options(&self, to: &ResolvedConnection) -> ConnectionOptions {
        let tls = to.tls().map(|tls| {
            let client = tls.client.as_ref().map(|client| {
                ClientTlsOptions::builder()
                    .client_cert(client.certificate_pem.clone())
                    .client_private_key(client.key_pem.expose().to_vec())
                    .build()
            });
            TlsOptions::builder()
                .maybe_server_root_ca_cert(tls.ca_pem.clone())
                .maybe_domain(tls.server_name.clone())
                .maybe_client_tls_options(client)
                .build()
        });
        let proxy = to.proxy().map(|proxy| {
            HttpConnectProxyOptions::new(proxy.address.clone())
                .maybe_basic_auth(to.proxy_credentials())
                .build()
        });
        ConnectionOptions::new(to.target().clone())
            .identity(self.identity.clone())
            .connect_timeout(DEADLINE)
            .grpc_compression(GrpcCompression::None)
            .maybe_tls_options(tls)
            // The proxy looks the address up.
            .dns_load_balancing(proxy.is_none().then(DnsLoadBalancingOptions::default))
            .maybe_http_connect_proxy(proxy)
            .maybe_api_key(to.api_key())
            .build()
    }

    /// Makes one call. Closes the connection if it proved unusable or the server denied the call,
    /// so that the next call opens a new one: this looks the address up again and lets the server
    /// check the credential again.
    async fn call<Q, A, F>(
        &self,
        to: &ResolvedConnection,
        method: Method,
        request: Q,
        send: impl FnOnce(Box<dyn WorkflowService>, Request<Q>) -> F,
    ) -> Result<A, CallError>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let connection = self.open(to).await?;
        let mut request = request.into_request();
        request.set_timeout(DEADLINE);
        let call = send(connection.workflow_service(), request);
        // The request carries its deadline to the server; this timeout also covers the time before
        // it is sent.
        let answer = match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => without_credentials(to, wire::call_error(method, &status)),
            Err(_) => timed_out(method),
        };
        if answer.connection_lost || answer.kind == CallErrorKind::Denied {
            let key = (to.server_namespace(), to.credential_id());
            let channel = self.channels.lock().get(&key).cloned();
            if let Some(channel) = channel {
                channel.state.lock().await.open = None;
            }
        }
        Err(answer)
    }
}

/// Why connecting failed, with the client's error; `None` if it took too long. Asks the proxy, if
/// there is one, and probes a server that answered in an unexpected way.
async fn failure(to: &ResolvedConnection, error: Option<&ClientConnectError>) -> CallError {
    if let Some(proxy) = to.proxy()
        && let Err(why) = tunnel::connect(to).await
    {
        return why.call_error(&proxy.address);
    }
    let Some(error) = error else {
        return timed_out(Method::Connect);
    };
    let encrypted = to.tls().is_some();
    let probed = if fault::is_unclear(error, encrypted) {
        fault::of_probe(probe::speaks(to).await, encrypted)
    } else {
        None
    };
    without_credentials(to, wire::connect_error(error, probed))
}

/// Drops the server's message if it repeats a credential that we sent.
fn without_credentials(to: &ResolvedConnection, error: CallError) -> CallError {
    if to.shows_credential(&error.message) {
        return CallError {
            message: "the server's message is omitted because it repeats a credential".to_owned(),
            ..error
        };
    }
    error
}

fn timed_out(method: Method) -> CallError {
    CallError {
        kind: CallErrorKind::Timeout,
        method,
        code: "DeadlineExceeded",
        message: format!("no answer within {} s", DEADLINE.as_secs()),
        connection_lost: method == Method::Connect,
        fault: None,
    }
}

impl QueueStats for TemporalClient {
    fn describe<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_type: TaskType,
    ) -> BoxFuture<'a, Result<Described, CallError>> {
        let request = DescribeTaskQueueRequest {
            namespace: connection.temporal_namespace().to_owned(),
            task_queue: Some(TaskQueue {
                name: task_queue.to_owned(),
                ..TaskQueue::default()
            }),
            task_queue_type: wire::task_queue_type(task_type),
            report_stats: true,
            report_config: true,
            ..DescribeTaskQueueRequest::default()
        };
        async move {
            let method = Method::DescribeTaskQueue;
            let send = |mut service: Box<dyn WorkflowService>, request| async move {
                service.describe_task_queue(request).await
            };
            wire::described(&self.call(connection, method, request, send).await?)
        }
        .boxed()
    }

    fn describe_past_cache<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        task_queue: &'a str,
        task_types: &'a [TaskType],
    ) -> BoxFuture<'a, Result<Vec<(TaskType, Described)>, CallError>> {
        let request = wire::past_cache_request(connection, task_queue, task_types);
        async move {
            let method = Method::DescribeTaskQueue;
            let send = |mut service: Box<dyn WorkflowService>, request| async move {
                service.describe_task_queue(request).await
            };
            let answer = self.call(connection, method, request, send).await?;
            wire::described_past_cache(&answer, task_types)
        }
        .boxed()
    }

    fn list_workers<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        page_token: &'a [u8],
    ) -> BoxFuture<'a, Result<WorkersPage, CallError>> {
        let request = ListWorkersRequest {
            namespace: connection.temporal_namespace().to_owned(),
            page_size: WORKERS_PER_PAGE,
            next_page_token: page_token.to_vec(),
            ..ListWorkersRequest::default()
        };
        async move {
            let send = |mut service: Box<dyn WorkflowService>, request| async move {
                service.list_workers(request).await
            };
            Ok(wire::page(
                self.call(connection, Method::ListWorkers, request, send)
                    .await?,
            ))
        }
        .boxed()
    }

    fn describe_worker<'a>(
        &'a self,
        connection: &'a ResolvedConnection,
        instance_key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Heartbeat>, CallError>> {
        let request = DescribeWorkerRequest {
            namespace: connection.temporal_namespace().to_owned(),
            worker_instance_key: instance_key.to_owned(),
        };
        async move {
            let method = Method::DescribeWorker;
            let send = |mut service: Box<dyn WorkflowService>, request| async move {
                service.describe_worker(request).await
            };
            match self.call(connection, method, request, send).await {
                Ok(answer) => Ok(answer.worker_info.and_then(wire::heartbeat)),
                Err(error) if error.code == "NotFound" && error.kind == CallErrorKind::Failed => {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn release(&self, connection: &ResolvedConnection) {
        self.channels
            .lock()
            .remove(&(connection.server_namespace(), connection.credential_id()));
    }
}

#[cfg(test)]
mod tests;
