//! The process's HTTP endpoint: `/livez`, `/readyz`, `/metrics`. Serves HTTP; decides nothing.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::metrics::Sources;

/// Maximum connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The poll loop counts as dead after this long without a turn.
const STALLED: Duration = Duration::from_secs(30);

/// The health that the process reports.
#[derive(Clone)]
pub(crate) struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    born: Instant,
    /// The loop counts as dead after this long without a turn.
    stalled: Duration,
    ready: AtomicBool,
    /// Milliseconds from `born` to the last turn of the poll loop's thread; 0 until its first turn.
    last_turn: AtomicU64,
}

impl Default for Health {
    fn default() -> Self {
        Self::new(STALLED)
    }
}

impl Health {
    /// `/livez` fails after the poll loop has been stuck for `stalled` (default: 30 s).
    pub(crate) fn new(stalled: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                born: Instant::now(),
                stalled,
                ready: AtomicBool::new(false),
                last_turn: AtomicU64::new(0),
            }),
        }
    }

    /// Sets whether the worker is polling.
    pub(crate) fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Relaxed);
    }

    /// Records a turn of the current thread every `every`. Spawn it on the thread of the poll loop.
    /// Monitoring starts with this call, so a thread that gets stuck before its first turn counts
    /// as dead too.
    pub(crate) fn keep_turning(self, every: Duration) -> impl Future<Output = ()> {
        self.turned();
        async move {
            let mut interval = tokio::time::interval(every);
            loop {
                interval.tick().await;
                self.turned();
            }
        }
    }

    fn turned(&self) {
        self.inner
            .last_turn
            .store(self.age().max(1), Ordering::Relaxed);
    }

    fn age(&self) -> u64 {
        u64::try_from(self.inner.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn ready(&self) -> bool {
        self.inner.ready.load(Ordering::Relaxed)
    }

    /// True during start-up, and as long as the loop turns.
    fn alive(&self) -> bool {
        let last = self.inner.last_turn.load(Ordering::Relaxed);
        last == 0 || u128::from(self.age().saturating_sub(last)) < self.inner.stalled.as_millis()
    }
}

#[derive(Clone)]
struct Served {
    health: Health,
    metrics: Sources,
}

/// Listens on an address. `[::]` stands for every address, of IPv4 as well as of IPv6; on a machine
/// without IPv6, for every one of IPv4.
pub(crate) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

/// Serves until `stop` is cancelled.
pub(crate) async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Sources,
    stop: CancellationToken,
) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(all_metrics))
        .with_state(Served { health, metrics });
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn livez(State(served): State<Served>) -> Response {
    if served.health.alive() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the poll loop does not turn\n",
        )
            .into_response()
    }
}

async fn readyz(State(served): State<Served>) -> Response {
    if served.health.ready() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not polling\n").into_response()
    }
}

async fn all_metrics(State(served): State<Served>) -> Response {
    match served.metrics.text().await {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests;
