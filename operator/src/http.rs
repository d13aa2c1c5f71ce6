//! `/livez`, `/readyz` and `/metrics`. Reads shared state; changes nothing.
//!
//! Live means that the controller's task runs. Ready means that the resources are installed and
//! the watch caches are filled (or that this process stands by for the leader). Neither depends
//! on Temporal: restarting the operator would not bring Temporal back.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;

/// What the process is doing, as the two health endpoints tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet, and why.
    Waiting(String),
    /// Another process leads; this one is ready to take over.
    Standby,
    /// Reconciling.
    Running,
    /// The controller's task ended although nobody asked it to.
    Dead(String),
    /// Told to stop; finishing what is in flight.
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
    /// Says what the process is doing now.
    pub fn set(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// What the process is doing.
    pub fn phase(&self) -> Phase {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(Clone)]
struct Shared {
    health: Health,
    registry: Registry,
}

/// Serves until `stop` resolves.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    registry: Registry,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(health, registry))
        .with_graceful_shutdown(stop)
        .await
}

/// The endpoints, without a socket.
pub fn router(health: Health, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shared { health, registry })
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

async fn metrics(State(shared): State<Shared>) -> Response {
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    match encoder.encode(&shared.registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(health: &Health, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health.clone(), Registry::new())
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
