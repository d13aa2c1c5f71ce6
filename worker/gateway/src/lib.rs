//! A stand-in for a payment provider: idempotency keys, declines, server errors, rate limits, slow
//! and lost answers, and a ledger of all charges. HTTP server; the rules are in `faults` (pure) and
//! `ledger` (pure, apart from its optional file).

mod args;
mod charge;
mod faults;
mod ledger;
mod options;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use charge::ChargeRequest;
use faults::Fault;
use ledger::Ledger;

pub use args::GatewayArgs;
pub use faults::FaultOptions;
pub use ledger::{Entry, Status, Summary};
pub use options::GatewayOptions;

/// The message of a declined payment.
const DECLINED_MESSAGE: &str = "Payment declined";
/// The header by which a repeated request is recognized.
const IDEMPOTENCY_HEADER: &str = "Idempotency-Key";

const LONGEST_KEY: usize = 1000;

/// A running stand-in.
pub struct Gateway {
    address: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Serves until SIGTERM or SIGINT.
pub async fn serve(args: GatewayArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let gateway = Gateway::start(args.listen, args.options()).await?;
    tracing::info!(address = %gateway.address(), "serving the payment gateway stand-in");
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    gateway.stop().await
}

impl Gateway {
    /// Binds `address` and serves until it is stopped.
    pub async fn start(address: SocketAddr, options: GatewayOptions) -> anyhow::Result<Self> {
        let ledger = Arc::new(Mutex::new(Ledger::open(
            options.ledger.as_deref(),
            options.keep,
        )?));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let router = router(Shared {
            ledger: ledger.clone(),
            options: Arc::new(options),
        });
        let serve =
            axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(serve.into_future());
        Ok(Self {
            address,
            ledger,
            stop,
            serving,
        })
    }

    /// The address it serves on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        self.ledger.lock().entries()
    }

    /// Lets it run until the process ends.
    pub fn detach(self) {}

    /// Stops serving.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.serving.await??;
        Ok(())
    }
}

#[derive(Clone)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    options: Arc<GatewayOptions>,
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/charge", post(charge))
        .route("/charges/{key}", get(one_charge))
        .route("/charges/{key}/void", post(void))
        .route("/ledger", get(whole_ledger))
        .route("/ledger/summary", get(summary))
        .route("/livez", get(|| async { "ok\n" }))
        .with_state(shared)
}

fn problem(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}

async fn charge(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let key = headers
        .get(IDEMPOTENCY_HEADER)
        .and_then(|value| value.to_str().ok());
    let Some(key) = key.filter(|key| (1..=LONGEST_KEY).contains(&key.len())) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "no_key",
            "the Idempotency-Key header is missing",
        );
    };
    let request: ChargeRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(_) => {
            return problem(
                StatusCode::BAD_REQUEST,
                "bad_request",
                "the body is not a charge",
            );
        }
    };
    if request.order_id.is_empty() || request.amount <= 0 {
        return problem(
            StatusCode::BAD_REQUEST,
            "bad_request",
            "order_id must not be empty and amount must be positive",
        );
    }
    let (response, wait) = decide(&shared, key, &request);
    let wait = wait + shared.options.delay;
    if !wait.is_zero() {
        // The charge is already decided; only the answer is late, as with a real provider.
        tokio::time::sleep(wait).await;
    }
    response
}

/// Decides one attempt: the answer, and how long to delay it.
fn decide(shared: &Shared, key: &str, request: &ChargeRequest) -> (Response, Duration) {
    let faults = &shared.options.faults;
    let mut ledger = shared.ledger.lock();
    let Some(entry) = ledger.attempt(key, request) else {
        let refused = problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key_reused",
            "this key was used with another body",
        );
        return (refused, Duration::ZERO);
    };
    let fault = faults.fault(key, entry.attempts, request.card.as_deref());
    match fault {
        Some(Fault::ServerError) => {
            let error = "the stand-in fails this attempt on purpose";
            return (
                problem(StatusCode::INTERNAL_SERVER_ERROR, "injected", error),
                Duration::ZERO,
            );
        }
        Some(Fault::RateLimit(seconds)) => {
            let mut limited = problem(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "too many requests",
            );
            limited.headers_mut().insert(RETRY_AFTER, seconds.into());
            return (limited, Duration::ZERO);
        }
        Some(Fault::Slow(_) | Fault::LostAnswer) | None => {}
    }
    let fresh = entry.status == Status::Pending;
    if fresh {
        let declines = faults.declines(key, request.card.as_deref(), request.amount);
        let status = if declines {
            Status::Declined
        } else {
            Status::Charged
        };
        ledger.close(key, status);
    }
    let wait = match fault {
        Some(Fault::Slow(wait)) if fresh => wait,
        _ => Duration::ZERO,
    };
    if fault == Some(Fault::LostAnswer) {
        let error = "the charge went through, but its answer is lost on purpose";
        return (
            problem(StatusCode::INTERNAL_SERVER_ERROR, "injected", error),
            wait,
        );
    }
    (answer(ledger.get(key)), wait)
}

fn answer(entry: Option<&Entry>) -> Response {
    match entry {
        None => problem(StatusCode::NOT_FOUND, "unknown_key", "this key is unknown"),
        Some(entry) => match entry.status {
            Status::Charged => Json(entry).into_response(),
            Status::Declined => problem(StatusCode::PAYMENT_REQUIRED, "declined", DECLINED_MESSAGE),
            Status::Voided => problem(StatusCode::CONFLICT, "voided", "this key was voided"),
            Status::Pending => problem(
                StatusCode::INTERNAL_SERVER_ERROR,
                "pending",
                "not decided yet",
            ),
        },
    }
}

async fn one_charge(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    match shared.ledger.lock().get(&key) {
        Some(entry) => Json(entry).into_response(),
        None => answer(None),
    }
}

async fn void(State(shared): State<Shared>, Path(key): Path<String>) -> Response {
    let mut ledger = shared.ledger.lock();
    Json(ledger.void(&key)).into_response()
}

async fn whole_ledger(State(shared): State<Shared>) -> Response {
    Json(shared.ledger.lock().entries()).into_response()
}

async fn summary(State(shared): State<Shared>) -> Response {
    Json(shared.ledger.lock().summary()).into_response()
}
