//! Checks the API key of every request and limits reads, like Temporal Cloud or a server with an
//! authorizer: terminates HTTP/2 and opens a new HTTP/2 connection to the server behind.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, server::SendResponse};
use http::{HeaderMap, Request, Response, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};

use super::read_limit::ReadLimit;

/// The gRPC status code `ResourceExhausted`.
const RESOURCE_EXHAUSTED: &str = "8";
/// The gRPC status code `Unauthenticated`.
const UNAUTHENTICATED: &str = "16";

/// The accepted keys, and which client came with which key. A request without a key counts as the
/// empty key.
#[derive(Default)]
pub(crate) struct Keys {
    accepted: Mutex<BTreeSet<String>>,
    let_in: Mutex<BTreeSet<(IpAddr, String)>>,
    refused: Mutex<Vec<(IpAddr, String)>>,
    /// Applies to requests with an accepted key.
    pub(crate) reads: ReadLimit,
}

impl Keys {
    /// Accepts exactly these keys from now on.
    pub(crate) fn accept(&self, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        *self.accepted.lock().expect("the lock is not poisoned") = keys;
    }

    /// Whether a client that satisfies `client` was admitted with the key.
    pub(crate) fn saw(&self, key: &str, client: impl Fn(&IpAddr) -> bool) -> bool {
        let let_in = self.let_in.lock().expect("the lock is not poisoned");
        let mut with_it = let_in.iter().filter(|(_, seen)| seen == key);
        with_it.any(|(peer, _)| client(peer))
    }

    /// Removes and returns the clients refused since the last call, each with its key.
    pub(crate) fn take_refused(&self) -> Vec<(IpAddr, String)> {
        std::mem::take(&mut self.refused.lock().expect("the lock is not poisoned"))
    }

    fn accepts(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION);
        let value = value.and_then(|value| value.to_str().ok());
        let key = value.and_then(|value| value.strip_prefix("Bearer "));
        let key = key.unwrap_or_default().to_owned();
        let accepted = self.accepted.lock().expect("the lock is not poisoned");
        if accepted.contains(&key) {
            let mut let_in = self.let_in.lock().expect("the lock is not poisoned");
            let_in.insert((peer, key));
            return true;
        }
        let mut refused = self.refused.lock().expect("the lock is not poisoned");
        refused.push((peer, key));
        false
    }
}

/// Serves one client, on a server connection of its own, until the client disconnects.
pub(super) async fn pass(
    client: impl AsyncRead + AsyncWrite + Unpin,
    peer: IpAddr,
    keys: &Arc<Keys>,
    behind: &str,
) -> anyhow::Result<()> {
    let mut client = h2::server::handshake(client).await?;
    let (behind, driver) = h2::client::handshake(TcpStream::connect(behind).await?).await?;
    // All of them end with this client.
    let mut tasks = JoinSet::new();
    tasks.spawn(driver);
    while let Some(accepted) = client.accept().await {
        let (request, respond) = accepted?;
        if !keys.accepts(peer, request.headers()) {
            refuse(respond, UNAUTHENTICATED, "the API key is not accepted")?;
        } else if !keys.reads.admits(request.uri().path(), request.headers()) {
            refuse(respond, RESOURCE_EXHAUSTED, "namespace rate limit exceeded")?;
        } else {
            tasks.spawn(exchange(request, respond, behind.clone()));
        }
    }
    Ok(())
}

fn refuse(mut respond: SendResponse<Bytes>, status: &str, message: &str) -> anyhow::Result<()> {
    let refusal = Response::builder()
        .header(header::CONTENT_TYPE, "application/grpc")
        .header("grpc-status", status)
        .header("grpc-message", message);
    respond.send_response(refusal.body(())?, true)?;
    Ok(())
}

/// Passes on one request and its response.
async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behind: SendRequest<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, question) = request.into_parts();
    let mut behind = behind.ready().await?;
    let (answer, stream) = behind.send_request(Request::from_parts(parts, ()), false)?;
    relay(question, stream).await?;
    let answer = tokio::select! {
        answer = answer => answer?,
        // The client has given up. Dropping the streams here cancels the request at the server too.
        given_up = poll_fn(|context| respond.poll_reset(context)) => {
            return given_up.map(|_reason| ());
        }
    };
    let (parts, answer) = answer.into_parts();
    let ended = answer.is_end_stream();
    let sender = respond.send_response(Response::from_parts(parts, ()), ended)?;
    if ended {
        return Ok(());
    }
    relay(answer, sender).await
}

/// Relays the body and the trailers of one direction.
async fn relay(mut from: RecvStream, mut to: SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(chunk) = from.data().await {
        let chunk = chunk?;
        from.flow_control().release_capacity(chunk.len())?;
        to.send_data(chunk, false)?;
    }
    match from.trailers().await? {
        Some(trailers) => to.send_trailers(trailers),
        None => to.send_data(Bytes::new(), true),
    }
}
