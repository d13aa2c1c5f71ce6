//! A Kubernetes API server that answers from a script and records its requests. No network.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// One request as the API server received it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiRequest {
    /// Method, path and query.
    pub line: String,
    /// The body; `null` if there is none.
    pub body: Value,
}

/// The requests received so far.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<ApiRequest>>>);

impl Log {
    /// Removes and returns the requests.
    pub fn take(&self) -> Vec<ApiRequest> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Whether a request since the last `take` matches.
    pub fn peek(&self, is: impl FnMut(&ApiRequest) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(is)
    }

    /// Removes the requests and returns their lines.
    pub fn lines(&self) -> Vec<String> {
        self.take()
            .into_iter()
            .map(|request| request.line)
            .collect()
    }
}

/// An API server that answers with the status and body of `answer`.
pub fn api(answer: impl Fn(&ApiRequest) -> (u16, Value) + Send + Sync + 'static) -> (Client, Log) {
    slow_api(move |request| (Duration::ZERO, answer(request)))
}

/// An API server that answers with the status and body of `answer`, after its delay.
pub fn slow_api(
    answer: impl Fn(&ApiRequest) -> (Duration, (u16, Value)) + Send + Sync + 'static,
) -> (Client, Log) {
    let log = Log::default();
    let kept = log.clone();
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let (kept, answer) = (kept.clone(), Arc::clone(&answer));
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let bytes = request.into_body().collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let request = ApiRequest { line, body };
            let (after, (status, body)) = answer(&request);
            kept.0.lock().unwrap().push(request);
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            // A string is sent as plain text, for /metrics.
            let bytes = match body {
                Value::String(text) => text.into_bytes(),
                body => serde_json::to_vec(&body).unwrap(),
            };
            let response = Response::builder()
                .status(StatusCode::from_u16(status).unwrap())
                .body(Body::from(bytes))
                .unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (Client::new(service, "default"), log)
}

/// The answer to a refused request.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}
