//! HTTP requests to a pod through a port-forward of the API server. Opens one connection, and two
//! tasks that serve it; both end with it.
//!
//! The port-forward is a web socket to the API server, which hands it on to the node of the pod. It
//! reaches the pod's loopback address, past network policies. No port of this machine is opened.

use std::pin::Pin;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use kube::{Api, Client};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long [`PortForward::close`] waits for the API server to confirm the end.
const CLOSE: Duration = Duration::from_secs(1);

/// Why a request through a port-forward has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not open it.
    #[error("{}", crate::kube_error::describe(.0))]
    Open(#[source] Box<kube::Error>),
    /// The pod's node reports that the port cannot be used.
    #[error("the node of pod {pod} cannot connect to its port {port}: {message}")]
    Node {
        /// The pod.
        pod: String,
        /// Its port.
        port: u16,
        /// The node's own words.
        message: String,
    },
    /// No complete answer within the time limit.
    #[error("pod {pod} did not answer through the port-forward within {limit:?}")]
    Silent {
        /// The pod.
        pod: String,
        /// The time limit.
        limit: Duration,
    },
    /// The connection ends, or what comes is not HTTP.
    #[error("the port-forward to port {port} of pod {pod} gives no answer in HTTP: {source}")]
    NotHttp {
        /// The pod.
        pod: String,
        /// Its port.
        port: u16,
        /// What the HTTP library says.
        source: hyper::Error,
    },
    /// An answer that is not 200.
    #[error("port {port} of pod {pod} answered with HTTP {}", .status.as_u16())]
    Status {
        /// The pod.
        pod: String,
        /// Its port.
        port: u16,
        /// The status of the answer.
        status: StatusCode,
    },
}

/// What the node may report about the port, once.
type Report = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// An open port-forward to one port of a pod, for one HTTP request at a time.
pub struct PortForward {
    pod: String,
    port: u16,
    limit: Duration,
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<()>,
    report: Option<Report>,
    forwarder: Portforwarder,
}

impl PortForward {
    /// Opens a port-forward within the time limit of the client; each request then has `limit`.
    /// Needs the right to get and create `pods/portforward`.
    ///
    /// # Errors
    /// [`Error::Open`] if the API server refuses or does not answer, and [`Error::NotHttp`].
    pub async fn open(
        client: Client,
        namespace: &str,
        pod: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Self, Error> {
        let pods = Api::<Pod>::namespaced(client, namespace);
        let opened = pods.portforward(pod, &[port]).await;
        let mut forwarder = opened.map_err(|error| Error::Open(Box::new(error)))?;
        let report = forwarder.take_error(port);
        let stream = forwarder.take_stream(port).ok_or_else(|| {
            // Each port has one stream, and nobody else has taken it.
            Error::Node {
                pod: pod.to_owned(),
                port,
                message: "there is no stream for it".to_owned(),
            }
        })?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|source| Error::NotHttp {
            pod: pod.to_owned(),
            port,
            source,
        })?;
        let connection = tokio::spawn(async move {
            // What goes wrong on it, the request reports.
            connection.await.ok();
        });
        Ok(Self {
            pod: pod.to_owned(),
            port,
            limit,
            sender,
            connection,
            report: report.map(|report| Box::pin(report) as Report),
            forwarder,
        })
    }

    /// The body of a `GET` of this path, which begins with a slash.
    ///
    /// # Errors
    /// If there is no complete answer with status 200 within the time limit. After an error other
    /// than [`Error::Status`], open another port-forward.
    pub async fn get(&mut self, path: &'static str) -> Result<String, Error> {
        let (pod, port, limit) = (self.pod.clone(), self.port, self.limit);
        let (sender, report) = (&mut self.sender, &mut self.report);
        let answered = timeout(limit, async {
            tokio::select! {
                // The node reports before it ends the connection.
                biased;
                message = reported(report) => Err(Error::Node { pod: pod.clone(), port, message }),
                answer = request(sender, path) => {
                    let (status, body) = answer.map_err(|source| Error::NotHttp {
                        pod: pod.clone(),
                        port,
                        source,
                    })?;
                    if status == StatusCode::OK {
                        Ok(body)
                    } else {
                        Err(Error::Status { pod: pod.clone(), port, status })
                    }
                }
            }
        });
        match answered.await {
            Ok(answered) => answered,
            Err(_) => Err(Error::Silent { pod, limit }),
        }
    }

    /// Ends the web socket as its protocol says, and waits for at most a second for the API server
    /// to confirm that. To drop the value ends it as well, in the background.
    pub async fn close(self) {
        let Self {
            sender,
            connection,
            forwarder,
            ..
        } = self;
        drop(sender);
        let ended = async {
            connection.await.ok();
            forwarder.join().await.ok();
        };
        // A server that confirms nothing keeps nobody waiting.
        timeout(CLOSE, ended).await.ok();
    }
}

/// Sends a request on an HTTP connection; the status and the body of the answer.
async fn request(
    sender: &mut SendRequest<Empty<Bytes>>,
    path: &'static str,
) -> Result<(StatusCode, String), hyper::Error> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static(path);
    let host = http::HeaderValue::from_static("localhost");
    request.headers_mut().insert(HOST, host);
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// What the node reports; never ends if it reports nothing.
async fn reported(report: &mut Option<Report>) -> String {
    if let Some(open) = report {
        let message = open.await;
        *report = None;
        if let Some(message) = message {
            return message;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
