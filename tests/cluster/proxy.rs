//! A proxy between pods and the API server, in this process. It terminates TLS with the API
//! server's own certificate and forwards every request, or answers 503 instead. It can swallow
//! packets, and it records the requests.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{Method, StatusCode, header};
use kube::{Client, config::AuthInfo};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::json;
use socket2::{SockFilter, SockRef};
use taskqueue_kubernetes::client::client;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::harness::TestCluster;

/// A program for the kernel's packet filter that lets nothing through: "return 0 bytes".
const NOTHING: [SockFilter; 1] = [SockFilter::new(0x06, 0, 0, 0)];

/// A request and its answer.
#[derive(Debug, Clone)]
pub(crate) struct ApiRequest {
    /// When the answer began.
    pub(crate) at: Instant,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) status: StatusCode,
}

/// Listens until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// The state that the tasks of a proxy share.
struct Shared {
    /// Reaches the API server. It has no credentials: those of the requests are forwarded.
    behind: Client,
    unavailable: AtomicBool,
    requests: Mutex<Vec<ApiRequest>>,
    open: Mutex<Vec<Open>>,
    /// Not closed before the proxy ends: the kernel would send a FIN.
    silenced: Mutex<Vec<Open>>,
}

/// A connection that was accepted.
struct Open {
    socket: std::net::TcpStream,
    silent: Arc<AtomicBool>,
}

impl Open {
    /// Whether the server has not dropped its side yet.
    fn is_served(&self) -> bool {
        Arc::strong_count(&self.silent) > 1
    }

    fn close(&self) {
        // Fails if the other side has closed it already.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl Proxy {
    pub(crate) async fn start(cluster: &TestCluster) -> anyhow::Result<Self> {
        let mut config = cluster.config().await?;
        config.auth_info = AuthInfo::default();
        let shared = Arc::new(Shared {
            behind: client(config)?,
            unavailable: AtomicBool::new(false),
            requests: Mutex::default(),
            open: Mutex::default(),
            silenced: Mutex::default(),
        });
        let pki = cluster.sandbox.paths().pki();
        let certificate = CertificateDer::from_pem_file(pki.join("apiserver.crt"))?;
        let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key"))?;
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let listener = cluster.sandbox.listener_for_pods()?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (accepted, incoming) = mpsc::unbounded_channel();
        let accepting = accept(
            listener,
            TlsAcceptor::from(Arc::new(tls)),
            shared.clone(),
            accepted,
        );
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let serving = async move {
            // Never ends by itself.
            drop(axum::serve(Incoming(incoming), router).await);
        };
        Ok(Self {
            address,
            shared,
            tasks: [tokio::spawn(accepting), tokio::spawn(serving)],
        })
    }

    /// Where pods reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes every open connection and answers every request with 503 from now on.
    pub(crate) fn refuse(&self) -> Instant {
        self.shared.unavailable.store(true, Ordering::SeqCst);
        self.shared.take_open().iter().for_each(Open::close);
        Instant::now()
    }

    /// Forwards every request from now on.
    pub(crate) fn serve(&self) -> Instant {
        let now = Instant::now();
        self.shared.unavailable.store(false, Ordering::SeqCst);
        now
    }

    /// Swallows every packet on the open connections from now on, in both directions: nothing is
    /// acknowledged, and no FIN or RST is sent. New connections are served. Returns how many
    /// connections are affected.
    pub(crate) fn swallow(&self) -> anyhow::Result<usize> {
        self.silence(|open| SockRef::from(&open.socket).attach_filter(&NOTHING))
    }

    /// Neither reads from the open connections nor writes to them from now on. The kernel still
    /// acknowledges packets. New connections are served. Returns how many connections are affected.
    pub(crate) fn stall(&self) -> anyhow::Result<usize> {
        self.silence(|_| Ok(()))
    }

    fn silence(&self, also: impl Fn(&Open) -> io::Result<()>) -> anyhow::Result<usize> {
        let open = self.shared.take_open();
        for one in &open {
            one.silent.store(true, Ordering::SeqCst);
            also(one)?;
        }
        let number = open.len();
        let silenced = self.shared.silenced.lock();
        silenced.expect("the lock is not poisoned").extend(open);
        Ok(number)
    }

    /// The requests so far that match, in the order of their answers.
    pub(crate) fn requests(&self, of: impl Fn(&ApiRequest) -> bool) -> Vec<ApiRequest> {
        let requests = self.shared.requests.lock();
        let requests = requests.expect("the lock is not poisoned");
        requests
            .iter()
            .filter(|request| of(request))
            .cloned()
            .collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.take_open().iter().for_each(Open::close);
    }
}

impl ApiRequest {
    pub(crate) fn is_write(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether it was answered with 503.
    pub(crate) fn is_refused(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    /// Whether it is a page of a list that fills a cache.
    pub(crate) fn is_list(&self) -> bool {
        self.method == Method::GET && self.query.contains("limit=")
    }

    /// Whether it changed the replicas of a Deployment.
    pub(crate) fn has_scaled(&self, deployment: &str) -> bool {
        self.is_write()
            && self.status.is_success()
            && self
                .path
                .ends_with(&format!("/deployments/{deployment}/scale"))
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    accepted: mpsc::UnboundedSender<TlsStream<Silenceable>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(stream) = shared.keep(stream) else {
            continue;
        };
        let (tls, accepted) = (tls.clone(), accepted.clone());
        tokio::spawn(async move {
            // A client that fails the handshake gets an alert, and may go away at any time.
            if let Ok(stream) = tls.accept(stream).await {
                drop(accepted.send(stream));
            }
        });
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = if shared.unavailable.load(Ordering::SeqCst) {
        unavailable()
    } else {
        let forwarded = shared.forward(request).await;
        forwarded
            .unwrap_or_else(|error| (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response())
    };
    let request = ApiRequest {
        at: Instant::now(),
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        status: response.status(),
    };
    let mut all = shared.requests.lock().expect("the lock is not poisoned");
    all.push(request);
    drop(all);
    response
}

/// The answer of an API server that is not ready.
fn unavailable() -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the server is currently unable to handle the request",
        "reason": "ServiceUnavailable", "code": 503,
    });
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(status)).into_response()
}

impl Shared {
    async fn forward(&self, request: Request) -> anyhow::Result<Response> {
        let (mut head, body) = request.into_parts();
        // Names the proxy.
        head.headers.remove(header::HOST);
        let body = axum::body::to_bytes(body, usize::MAX).await?;
        let request = http::Request::from_parts(head, kube::client::Body::from(body));
        let mut response = self.behind.send(request).await?;
        // These are about the other connection.
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        response.headers_mut().remove(header::CONNECTION);
        Ok(response.map(axum::body::Body::new))
    }

    /// Registers a connection.
    fn keep(&self, stream: TcpStream) -> io::Result<Silenceable> {
        let stream = stream.into_std()?;
        let socket = stream.try_clone()?;
        let silent = Arc::new(AtomicBool::new(false));
        let kept = Open {
            socket,
            silent: silent.clone(),
        };
        let mut open = self.open.lock().expect("the lock is not poisoned");
        open.retain(Open::is_served);
        open.push(kept);
        drop(open);
        Ok(Silenceable {
            stream: TcpStream::from_std(stream)?,
            silent,
        })
    }

    fn take_open(&self) -> Vec<Open> {
        let mut open = self.open.lock().expect("the lock is not poisoned");
        open.drain(..).filter(Open::is_served).collect()
    }
}

/// Connections after the TLS handshake.
struct Incoming(mpsc::UnboundedReceiver<TlsStream<Silenceable>>);

impl axum::serve::Listener for Incoming {
    type Io = TlsStream<Silenceable>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A connection on which nothing arrives once it is silent. What is written to it is discarded, its
/// own end too.
struct Silenceable {
    stream: TcpStream,
    silent: Arc<AtomicBool>,
}

impl AsyncRead for Silenceable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.silent.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Silenceable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.silent.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.silent.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
