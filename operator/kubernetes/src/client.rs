//! The Kubernetes client of every command. Opens connections; decides nothing.
//!
//! By default kube silently retries a request up to 15 times, for minutes, and waits for an answer
//! without a limit. This client sends each call once and ends it within its time limit; the caller
//! decides when to try again. It detects a connection whose peer has vanished, and closes it.

mod operation;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, Service, ServiceBuilder};

use crate::kube_error;
use crate::kubeconfig::{self, Selection};
use crate::proxy::Proxy;
use crate::proxy::tunnel::Connector;

pub use operation::Operation;

/// Time limit for opening a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time limit for one call, its body included. A little longer than the 10 s that the API server
/// gives an admission webhook by default, so that its answer, which names the webhook, arrives
/// first.
pub const CALL: Duration = Duration::from_secs(12);
/// Time limit for one page of a list.
const LIST: Duration = Duration::from_secs(30);
/// A connection is probed once it has been silent for this long, and at this interval.
const PROBE: Duration = Duration::from_secs(3);
/// A connection is closed if what was sent on it, probes included, stays unacknowledged for this
/// long.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Observes every call to the API server.
pub trait Observer: Send + Sync {
    /// A call ended; a watch takes until it begins. `code`: the status of HTTP; without an answer
    /// `timeout`, `error`, or `abandoned` if the caller stopped waiting.
    fn call(&self, operation: Operation, code: &str, took: Duration);
}

/// An observed client for the cluster of the kubeconfig or, in a pod, of the ServiceAccount.
///
/// # Errors
/// If neither is there, or it cannot be used.
pub async fn inferred(observer: Arc<dyn Observer>) -> anyhow::Result<Client> {
    let config = kubeconfig::config(&Selection::default()).await?;
    build(config, Limits::of_calls(CALL), Some(observer))
        .map_err(|error| described(&error))
        .context("the kubeconfig cannot be used")
}

/// A client for this cluster. Ignores the timeouts and retries of `config`.
///
/// # Errors
/// If the configuration cannot be used: a certificate that cannot be read, a proxy that is none of
/// HTTP.
pub fn client(config: Config) -> anyhow::Result<Client> {
    bounded(config, CALL)
}

/// A client whose calls, except lists, end within `call`.
///
/// # Errors
/// As for [`client`]. The message quotes nothing that may be secret.
pub fn bounded(config: Config, call: Duration) -> anyhow::Result<Client> {
    build(config, Limits::of_calls(call), None).map_err(|error| described(&error))
}

/// A client whose calls, lists included, end within `limit`; `Duration::MAX` is no limit.
///
/// # Errors
/// As for [`bounded`].
pub fn limited(config: Config, limit: Duration) -> anyhow::Result<Client> {
    let limits = Limits {
        call: limit,
        list: limit,
    };
    build(config, limits, None).map_err(|error| described(&error))
}

/// Time limits of the calls of a client.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Of a call, or the beginning of a watch.
    call: Duration,
    /// Of one page of a list.
    list: Duration,
}

impl Limits {
    fn of_calls(call: Duration) -> Self {
        Self { call, list: LIST }
    }
}

fn described(error: &kube::Error) -> anyhow::Error {
    anyhow::Error::msg(kube_error::describe(error))
}

fn build(
    config: Config,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
) -> kube::Result<Client> {
    let proxy = config.proxy_url.as_ref();
    let proxy = proxy.map(|url| {
        Proxy::parse(&url.to_string()).ok_or_else(|| kube::Error::ProxyProtocolUnsupported {
            proxy_url: Box::new(url.clone()),
        })
    });
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(PROBE));
    tcp.set_keepalive_interval(Some(PROBE));
    tcp.set_keepalive_retries(Some(3));
    // Other systems have no such limit; there the probes alone find out.
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let connector = Connector::new(tcp, proxy.transpose()?);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    let bounded = Bounded {
        inner: service,
        limits,
        observer,
    };
    Ok(Client::new(bounded, config.default_namespace))
}

/// No answer arrived within this time.
#[derive(Debug)]
pub struct Silence(pub Duration);

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the API server did not answer within {:?}", self.0)
    }
}

impl std::error::Error for Silence {}

/// Ends calls that take too long. For a watch the limit covers only its beginning; its events may
/// take any time, since the watcher itself notices when they end.
struct Bounded<S> {
    inner: S,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
}

/// A call in flight. It is observed when it is dropped, so that a call counts whose caller stops
/// waiting.
struct Timed {
    observer: Arc<dyn Observer>,
    operation: Operation,
    began: Instant,
    code: String,
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.observer
            .call(self.operation, &self.code, self.began.elapsed());
    }
}

type Answer<B> = Response<Either<B, Full<Bytes>>>;
type Answered<B> = Pin<Box<dyn Future<Output = Result<Answer<B>, BoxError>> + Send>>;

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer<B>;
    type Error = BoxError;
    type Future = Answered<B>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answered<B> {
        let watch = operation::is_watch(&request);
        let list = operation::has_parameter(&request, "limit=");
        let limit = if list {
            self.limits.list
        } else {
            self.limits.call
        };
        let operation = Operation::of(&request);
        let observer = self.observer.clone();
        let mut timed = observer.map(|observer| Timed {
            observer,
            operation,
            began: Instant::now(),
            code: "abandoned".to_owned(),
        });
        let answer = self.inner.call(request);
        let whole = async move {
            let (head, body) = answer.await?.into_parts();
            let body = if watch {
                Either::Left(body)
            } else {
                Either::Right(Full::new(
                    body.collect().await.map_err(Into::into)?.to_bytes(),
                ))
            };
            Ok(Response::from_parts(head, body))
        };
        Box::pin(async move {
            let answered = tokio::time::timeout(limit, whole).await;
            if let Some(timed) = &mut timed {
                timed.code = match &answered {
                    Ok(Ok(answer)) => answer.status().as_u16().to_string(),
                    Ok(Err(_)) => "error".to_owned(),
                    Err(_) => "timeout".to_owned(),
                };
            }
            answered.map_err(|_| Silence(limit))?
        })
    }
}

#[cfg(test)]
mod tests;
