//! `/livez`, `/readyz` and `/metrics`. Reads shared state; changes nothing.
//!
//! Live means that the controller's task runs. Ready means that the CRDs are installed and the
//! watch caches are filled, or that this process is a standby. Neither depends on Temporal:
//! restarting the operator would not bring Temporal back.
//!
//! Every listener has limits: a client that only opens connections costs a bounded amount, for a
//! bounded time.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use prometheus::TEXT_FORMAT;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::metrics::Metrics;

/// What the process is doing, as the two health endpoints report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet, and why.
    Waiting(String),
    /// Another process leads; this one is ready to take over.
    Standby,
    /// Reconciling.
    Running,
    /// The controller's task ended without being asked to.
    Dead(String),
    /// Asked to stop; finishing what is in flight.
    Stopping,
}

/// The phase, shared between the wiring (writes) and the endpoints (read).
#[derive(Debug, Clone)]
pub struct Health(Arc<Mutex<Phase>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Phase::Waiting("starting".to_owned()))))
    }
}

impl Health {
    /// Sets what the process is doing now.
    pub fn set(&self, phase: Phase) {
        *self.0.lock() = phase;
    }

    /// What the process is doing.
    pub fn phase(&self) -> Phase {
        self.0.lock().clone()
    }
}

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: Metrics,
}

/// Maximum connections that wait to be accepted, per listener.
const BACKLOG: u32 = 1024;
/// Maximum concurrent connections per listener. Further connections wait until one ends.
const CONNECTIONS: usize = 128;
/// How long a request's head may take to arrive, and how long a connection may be idle.
const HEAD: Duration = Duration::from_secs(5);
/// How long a connection may last, so that clients that read slowly do not keep others out.
const LASTS: Duration = Duration::from_secs(30);
/// How long connections may continue after `stop`.
const END: Duration = Duration::from_secs(2);
/// The pause after a failed accept, for example when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on an address. `[::]` stands for every address, of IPv4 as well as of IPv6; on a machine
/// without IPv6, for every one of IPv4.
///
/// # Errors
/// If the address cannot be bound.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        return listen_everywhere(TcpSocket::new_v6(), address).await;
    }
    TcpListener::bind(address).await
}

/// Listens on every address, with a new socket of IPv6 if the machine has such sockets.
async fn listen_everywhere(
    socket: io::Result<TcpSocket>,
    address: SocketAddr,
) -> io::Result<TcpListener> {
    let Ok(socket) = socket else {
        return TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await;
    };
    // Independent of the machine's default, net.ipv6.bindv6only.
    SockRef::from(&socket).set_only_v6(false)?;
    // A new process need not wait for the last connections of the former one.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    bounded(listener, router(health, metrics), stop).await;
}

/// Serves `router` within limits until `stop` resolves.
pub async fn bounded(listener: TcpListener, router: Router, stop: impl Future<Output = ()> + Send) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let stopped = CancellationToken::new();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let one = connection(stream, router.clone(), stopped.clone());
                    connections.spawn(async move {
                        one.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    debug!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = accept => {}
    }
    drop(listener);
    stopped.cancel();
    connections.close();
    if tokio::time::timeout(END, connections.wait()).await.is_err() {
        debug!("connections are cut off");
    }
}

/// Answers on one connection until it ends, lasts too long, or everything stops.
async fn connection(stream: TcpStream, router: Router, stopped: CancellationToken) {
    let served = tokio::time::timeout(LASTS, async {
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        tokio::pin!(serving);
        tokio::select! {
            served = serving.as_mut() => return served,
            () = stopped.cancelled() => {}
        }
        serving.as_mut().graceful_shutdown();
        serving.await
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection ended early"),
        Err(_) => debug!("a connection lasted too long and was cut off"),
    }
}

/// The endpoints as a router, without a socket.
pub fn router(health: Health, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(Shared { health, metrics })
}

async fn livez(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.health.phase() {
        Phase::Dead(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("dead: {why}\n")),
        Phase::Waiting(_) | Phase::Standby | Phase::Running | Phase::Stopping => {
            (StatusCode::OK, "ok\n".to_owned())
        }
    }
}

async fn readyz(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.health.phase() {
        Phase::Running => (StatusCode::OK, "ok\n".to_owned()),
        Phase::Standby => (
            StatusCode::OK,
            "ok: standing by, another process leads\n".to_owned(),
        ),
        Phase::Waiting(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        Phase::Dead(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("dead: {why}\n")),
    }
}

async fn exposition(State(shared): State<Shared>) -> Response {
    match shared.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tower::ServiceExt as _;

    use super::*;
    use crate::clock::Clock;

    fn metrics() -> Metrics {
        Metrics::new(Clock::start()).unwrap()
    }

    /// Serves on a new listener until the returned guard is dropped.
    async fn serving() -> (std::net::SocketAddr, tokio_util::sync::DropGuard) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = serve(
            listener,
            Health::default(),
            metrics(),
            stop.clone().cancelled_owned(),
        );
        tokio::spawn(served);
        (address, stop.drop_guard())
    }

    /// Sends `request` and returns all that is received until the connection closes.
    async fn answer_to(mut stream: TcpStream, request: &[u8]) -> String {
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn every_address_includes_those_of_ipv4_with_and_without_ipv6() {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let missing = io::ErrorKind::Unsupported.into();
        for socket in [TcpSocket::new_v6(), Err(missing)] {
            let listener = listen_everywhere(socket, every).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
            let (connected, accepted) = tokio::join!(connecting, listener.accept());
            connected.unwrap();
            accepted.unwrap();
        }
    }

    const LIVE: &[u8] = b"GET /livez HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn connections_that_say_nothing_keep_nobody_out_for_long() {
        let (address, _serving) = serving().await;
        let mut silent = Vec::new();
        for half in [&b""[..], &b"GET /livez HTTP/1.1\r\nhost:"[..]] {
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(half).await.unwrap();
                silent.push(stream);
            }
        }
        // All connections are taken, twice over. Each is freed after `HEAD`.
        let began = tokio::time::Instant::now();
        let probe = TcpStream::connect(address).await.unwrap();
        let answer = answer_to(probe, LIVE).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let waited = began.elapsed();
        assert!(waited < HEAD * 3, "{waited:?}");
    }

    #[tokio::test]
    async fn a_half_sent_request_does_not_delay_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(
            listener,
            Health::default(),
            metrics(),
            stop.clone().cancelled_owned(),
        ));
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        let probe = TcpStream::connect(address).await.unwrap();
        assert!(answer_to(probe, LIVE).await.starts_with("HTTP/1.1 200 OK"));
        stop.cancel();
        let ended = tokio::time::timeout(END * 2, served).await;
        ended.expect("it ends").unwrap();
    }

    async fn get(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health.clone(), metrics())
            .oneshot(request)
            .await
            .unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn live_and_ready_say_what_the_process_is_doing() {
        let table = [
            (
                Phase::Waiting("no CRD".to_owned()),
                200,
                503,
                "not ready: no CRD\n",
            ),
            (
                Phase::Standby,
                200,
                200,
                "ok: standing by, another process leads\n",
            ),
            (Phase::Running, 200, 200, "ok\n"),
            (Phase::Stopping, 200, 503, "stopping\n"),
            (
                Phase::Dead("it ended".to_owned()),
                503,
                503,
                "dead: it ended\n",
            ),
        ];
        for (phase, live, ready, says) in table {
            let health = Health::default();
            health.set(phase.clone());
            assert_eq!(get(&health, "/livez").await.0, live, "{phase:?}");
            assert_eq!(
                get(&health, "/readyz").await,
                (ready, says.to_owned()),
                "{phase:?}"
            );
        }
        assert_eq!(get(&Health::default(), "/metrics").await.0, 200);
    }
}
