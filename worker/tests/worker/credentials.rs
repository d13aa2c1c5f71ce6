//! Credentials on the wire, and their rotation under load: a proxy in front of Temporal terminates
//! TLS and HTTP/2, checks the API key of every request, and closes its connections as Temporal's
//! frontends do every few minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use order_worker::commands::OrderHandle;
use order_worker::domain::order::{OrderInput, OrderState};
use rustls::ServerConfig;
use taskqueue_worker::testing::{Authority, SERVER_NAME, temporal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::drains::late;
use crate::support::{Shop, Variables, Worker, eventually, start};

/// The gRPC status code of a request without a valid key.
const UNAUTHENTICATED: &str = "16";

/// Connections of a worker: one for workflows, one for activities. In these tests it reports its
/// slots every second on both.
const CONNECTIONS: usize = 2;

/// The state of the proxy.
struct Desk {
    config: Mutex<Arc<ServerConfig>>,
    /// Accepted `authorization` headers; empty accepts all.
    accepted: Mutex<BTreeSet<String>>,
    refused: Mutex<u64>,
    /// The last `authorization` header of each connection, by connection number.
    last: Mutex<BTreeMap<usize, String>>,
    /// Incremented to close all connections.
    away: watch::Sender<u64>,
}

/// The proxy in front of Temporal.
struct Front {
    port: u16,
    desk: Arc<Desk>,
}

impl Front {
    async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk = Arc::new(Desk {
            config: Mutex::new(config),
            accepted: Mutex::default(),
            refused: Mutex::default(),
            last: Mutex::default(),
            away: watch::Sender::new(0),
        });
        let (front, target) = (desk.clone(), temporal());
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let acceptor = TlsAcceptor::from(front.config.lock().unwrap().clone());
                let (desk, target) = (front.clone(), target.clone());
                tokio::spawn(async move {
                    // The tests include clients that are refused or disconnect.
                    if let Ok(client) = acceptor.accept(client).await {
                        client.get_ref().0.set_nodelay(true).unwrap();
                        let _gone = serve(desk, number, client, &target).await;
                    }
                });
            }
        });
        Self { port, desk }
    }

    fn accept(&self, keys: &[&str]) {
        let headers = keys.iter().map(|key| format!("Bearer {key}")).collect();
        *self.desk.accepted.lock().unwrap() = headers;
    }

    fn refused(&self) -> u64 {
        *self.desk.refused.lock().unwrap()
    }

    fn connections(&self) -> usize {
        self.desk.last.lock().unwrap().len()
    }

    /// Waits until the last request of every connection carried this key.
    async fn all_carry(&self, key: &str) {
        let header = format!("Bearer {key}");
        eventually("every connection carries the key", async || {
            let last = self.desk.last.lock().unwrap();
            let all = last.values().all(|seen| *seen == header);
            (last.len() >= CONNECTIONS && all).then_some(())
        })
        .await;
    }

    /// Switches to this configuration and asks all clients to reconnect. Requests in flight may
    /// finish.
    fn send_away(&self, config: Arc<ServerConfig>) {
        *self.desk.config.lock().unwrap() = config;
        self.desk.last.lock().unwrap().clear();
        self.desk.away.send_modify(|times| *times += 1);
    }
}

async fn serve(
    desk: Arc<Desk>,
    number: usize,
    client: tokio_rustls::server::TlsStream<TcpStream>,
    target: &str,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(client).await?;
    let behind = TcpStream::connect(target).await.unwrap();
    behind.set_nodelay(true).unwrap();
    let (behind, driver) = h2::client::handshake(behind).await?;
    tokio::spawn(driver);
    let mut away = desk.away.subscribe();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else {
                    return Ok(());
                };
                let (request, respond) = accepted?;
                let passing = pass(desk.clone(), number, request, respond, behind.clone());
                tokio::spawn(passing);
            }
            _ = away.changed() => connection.graceful_shutdown(),
        }
    }
}

/// Forwards one request, unless its key is not accepted.
async fn pass(
    desk: Arc<Desk>,
    number: usize,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    behind: h2::client::SendRequest<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, mut body) = request.into_parts();
    let key = parts.headers.get("authorization");
    let key = key
        .map(|key| key.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let accepted = {
        let accepted = desk.accepted.lock().unwrap();
        accepted.is_empty() || accepted.contains(&key)
    };
    desk.last.lock().unwrap().insert(number, key);
    if !accepted {
        *desk.refused.lock().unwrap() += 1;
        let refusal = Response::builder()
            .status(StatusCode::OK)
            .header("content-type", "application/grpc")
            .header("grpc-status", UNAUTHENTICATED);
        respond.send_response(refusal.body(()).unwrap(), true)?;
        return Ok(());
    }
    let mut message = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let (answer, mut sending) = behind
        .ready()
        .await?
        .send_request(Request::from_parts(parts, ()), false)?;
    sending.send_data(message.freeze(), true)?;
    let answer = tokio::select! {
        answer = answer => answer?,
        _ = std::future::poll_fn(|context| respond.poll_reset(context)) => {
            sending.send_reset(Reason::CANCEL);
            return Ok(());
        }
    };
    let (parts, mut body) = answer.into_parts();
    let ended = body.is_end_stream();
    let mut back = respond.send_response(Response::from_parts(parts, ()), ended)?;
    if ended {
        return Ok(());
    }
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        back.send_data(chunk, false)?;
    }
    back.send_trailers(body.trailers().await?.unwrap_or_default())
}

fn variables(shop: &Shop, port: u16, more: &[(&str, &str)]) -> Variables {
    let path = |name: &str| shop.dir.path().join(name).display().to_string();
    let mut variables = shop.variables();
    let address = format!("127.0.0.1:{port}");
    for (name, value) in [
        ("TEMPORAL_ADDRESS", address),
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME.to_owned()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_PATH", path("ca.crt")),
        (
            "TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS",
            "1".to_owned(),
        ),
    ] {
        variables.insert(name.to_owned(), value);
    }
    for (name, file) in more {
        variables.insert((*name).to_owned(), path(file));
    }
    variables
}

/// Places enough orders to keep the worker busy for a while.
async fn place_some(shop: &Shop, name: &str) -> Vec<OrderHandle> {
    stream::iter(0..30)
        .map(|n| shop.place(OrderInput::new(&format!("{name}-{n}"), 100)))
        .buffered(10)
        .collect()
        .await
}

/// Checks that every order completes, that no request of the worker failed, and that nothing was
/// lost.
async fn nothing_failed(shop: &Shop, worker: &Worker, orders: &[OrderHandle]) {
    for handle in orders {
        assert_eq!(shop.end_of(handle).await.state, OrderState::Completed);
    }
    late(orders).await.nothing_was_lost();
    let log = worker.log();
    let failed: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("Network error") || line.contains("\"ERROR\""))
        .collect();
    assert_eq!(failed, Vec::<&str>::new());
}

async fn log_says(worker: &Worker, what: &str) {
    eventually(what, async || worker.log().contains(what).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_key_is_on_the_wire_and_rotating_it_fails_nothing() {
    let shop = Shop::open("api-key").await;
    let authority = Authority::new();
    let front = Front::start(authority.open_server()).await;
    let dir = shop.dir.path();
    std::fs::write(dir.join("ca.crt"), &authority.ca).unwrap();

    // With a key that is not accepted, the worker is not ready and says why. The right key needs no
    // restart.
    front.accept(&["first"]);
    std::fs::write(dir.join("api-key"), "wrong\n").unwrap();
    let variables = variables(&shop, front.port, &[("TEMPORAL_API_KEY_FILE", "api-key")]);
    let worker = start(dir.join("worker.log"), &variables).await;
    log_says(&worker, "not connected to Temporal yet").await;
    assert_eq!(worker.status("/readyz").await, 503);
    std::fs::write(dir.join("api-key"), "first\n").unwrap();
    let worker = worker.wait_ready().await;
    let refused = front.refused();
    assert!(refused > 0);
    // Connections that were refused are gone.
    front.desk.last.lock().unwrap().clear();

    let mut orders = place_some(&shop, "first").await;
    front.accept(&["first", "second"]);
    std::fs::write(dir.join("api-key"), "second\n").unwrap();
    front.all_carry("second").await;
    orders.extend(place_some(&shop, "both").await);
    nothing_failed(&shop, &worker, &orders).await;
    front.accept(&["second"]);
    orders.extend(place_some(&shop, "second").await);
    nothing_failed(&shop, &worker, &orders).await;
    assert_eq!(front.refused(), refused);
    let log = worker.drain().await;
    assert!(!log.contains("Bearer"), "{log}");
}

fn write_client(dir: &Path, authority: &Authority) {
    let (cert, key) = authority.sign("worker");
    std::fs::write(dir.join("tls.key"), key).unwrap();
    std::fs::write(dir.join("tls.crt"), cert).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_the_client_certificate_under_load_fails_nothing() {
    let shop = Shop::open("client-cert").await;
    let (server, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let front = Front::start(server.server_for_clients_of(&[&old])).await;
    let dir = shop.dir.path();
    std::fs::write(dir.join("ca.crt"), &server.ca).unwrap();
    write_client(dir, &old);
    let files = [
        ("TEMPORAL_TLS_CLIENT_CERT_PATH", "tls.crt"),
        ("TEMPORAL_TLS_CLIENT_KEY_PATH", "tls.key"),
    ];
    let variables = variables(&shop, front.port, &files);
    let worker = start(dir.join("worker.log"), &variables).await;
    let worker = worker.wait_ready().await;

    let mut orders = place_some(&shop, "old").await;
    write_client(dir, &new);
    log_says(&worker, "TLS files have changed").await;
    // All clients must reconnect while orders are running, and only the new certificate is
    // accepted.
    orders.extend(place_some(&shop, "both").await);
    front.send_away(server.server_for_clients_of(&[&new]));
    orders.extend(place_some(&shop, "new").await);
    nothing_failed(&shop, &worker, &orders).await;
    eventually("the worker has connected again", async || {
        (front.connections() >= CONNECTIONS).then_some(())
    })
    .await;
    assert_eq!(worker.status("/readyz").await, 200);
    worker.drain().await;
}
