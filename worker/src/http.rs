//! The process's HTTP endpoint: `/livez`, `/readyz`, `/metrics`. Serves HTTP and scrapes the SDK's
//! exporter on loopback; decides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::domain::metrics::Metrics;

/// The poll loop counts as dead after this long without a turn.
const STALLED: Duration = Duration::from_secs(30);

/// The health that the process reports.
#[derive(Clone)]
pub struct Health {
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
    pub fn new(stalled: Duration) -> Self {
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
    pub fn set_ready(&self, ready: bool) {
        self.inner.ready.store(ready, Ordering::Relaxed);
    }

    /// Records a turn of the current thread every `every`. Spawn it on the thread of the poll loop.
    /// Monitoring starts with this call, so a thread that gets stuck before its first turn counts
    /// as dead too.
    pub fn keep_turning(self, every: Duration) -> impl Future<Output = ()> {
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

/// Reads the SDK's metrics from its exporter on loopback.
#[derive(Clone)]
pub struct SdkMetrics {
    http: reqwest::Client,
    url: String,
}

impl SdkMetrics {
    /// Reads the exporter at `address`.
    pub fn new(address: SocketAddr) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .tls_certs_only([])
            .build()?;
        Ok(Self {
            http,
            url: format!("http://{address}/metrics"),
        })
    }

    /// Returns the exporter's text.
    pub async fn text(&self) -> Result<String, reqwest::Error> {
        self.http
            .get(&self.url)
            .send()
            .await?
            .error_for_status()?
            .text()
            .await
    }

    /// Whether the SDK has started polling for all of these task kinds, named as in its metric
    /// (`workflow_task`, `activity_task`).
    pub async fn polling(&self, kinds: &[&str]) -> bool {
        let Ok(text) = self.text().await else {
            return false;
        };
        kinds.iter().all(|kind| polls_for(&text, kind))
    }
}

fn polls_for(metrics: &str, kind: &str) -> bool {
    let label = format!("poller_type=\"{kind}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("temporal_num_pollers{") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next())
        .any(|value| value.parse::<f64>().is_ok_and(|pollers| pollers > 0.0))
}

#[derive(Clone)]
struct Served {
    health: Health,
    metrics: Metrics,
    sdk: SdkMetrics,
}

/// Serves until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    sdk: SdkMetrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(all_metrics))
        .with_state(Served {
            health,
            metrics,
            sdk,
        });
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
    let own = match served.metrics.text() {
        Ok(text) => text,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response();
        }
    };
    // Our own metrics are useful even when the exporter does not answer.
    let sdk = served.sdk.text().await.unwrap_or_default();
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4")],
        format!("{own}{sdk}"),
    )
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_for_one_kind_is_not_polling_for_another() {
        let metrics = "temporal_num_pollers{poller_type=\"workflow_task\",x=\"y\"} 2\n\
                       temporal_num_pollers{poller_type=\"activity_task\",x=\"y\"} 0\n";
        assert!(polls_for(metrics, "workflow_task"));
        assert!(!polls_for(metrics, "activity_task"));
        assert!(!polls_for("", "workflow_task"));
    }
}
