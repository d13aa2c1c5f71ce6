//! Connections through an HTTP proxy, over real sockets on loopback: what reaches the server, and
//! what a proxy may answer instead.

use tokio::sync::mpsc;

use super::*;
use crate::connection::{Proxy, ProxyCredentials};

/// The address of the server: only the proxy knows where it is.
const SERVER: &str = "temporal.test:7233";
const PASSWORD: &str = "a-password-that-nobody-may-see";

/// What a proxy does with a request.
#[derive(Clone)]
enum ProxyBehavior {
    /// Connects to the server, which is here.
    Connect(String),
    Answer(&'static str),
    Close,
    Wait,
}

/// A proxy, with the requests that it gets.
struct Running {
    address: String,
    requests: mpsc::UnboundedReceiver<String>,
}

impl Running {
    /// The requests so far.
    fn requests(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.requests.try_recv().ok()).collect()
    }
}

async fn start(behavior: ProxyBehavior) -> Running {
    let (sender, requests) = mpsc::unbounded_channel();
    let address = serve(move |stream| act(stream, behavior.clone(), sender.clone())).await;
    Running { address, requests }
}

async fn act(
    mut client: TcpStream,
    behavior: ProxyBehavior,
    requests: mpsc::UnboundedSender<String>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    requests.send(String::from_utf8(head).unwrap()).ok();
    match behavior {
        ProxyBehavior::Connect(server) => {
            let mut server = TcpStream::connect(server).await.unwrap();
            let answer = b"HTTP/1.1 200 Connection established\r\nVia: a proxy\r\n\r\n";
            client.write_all(answer).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut server)
                .await
                .ok();
        }
        ProxyBehavior::Answer(answer) => client.write_all(answer.as_bytes()).await.unwrap(),
        ProxyBehavior::Close => {}
        ProxyBehavior::Wait => {
            // Until the client gives up.
            client.read_u8().await.ok();
        }
    }
}

fn through(proxy: &str, fields: ConnectionFields) -> ConnectionFields {
    ConnectionFields {
        proxy: Some(Proxy {
            address: proxy.to_owned(),
            credentials: Some(ProxyCredentials {
                username: Secret::new("operator"),
                password: Secret::new(PASSWORD),
            }),
        }),
        ..fields
    }
}

/// A server behind TLS, which refuses every API key and repeats it.
async fn encrypted(authority: &Authority) -> String {
    let tls = server(&authority.sign(|_| {}), &["h2"], None);
    serve(move |stream| https(tls.clone(), stream)).await
}

#[tokio::test]
async fn the_proxy_connects_to_the_server_by_name_and_gets_the_credentials() {
    let authority = Authority::new();
    let mut proxy = start(ProxyBehavior::Connect(encrypted(&authority).await)).await;
    let fields = through(&proxy.address, trusting(SERVER, &authority));
    // The server has seen the call: TLS passed through the tunnel.
    assert_eq!(failure(fields).await.kind, CallErrorKind::Denied);
    let requests = proxy.requests();
    // The first is the client's. The second asks the proxy why the first call failed.
    assert!(!requests.is_empty());
    for request in requests {
        let mut lines = request.trim_end().split("\r\n");
        assert_eq!(lines.next(), Some("CONNECT temporal.test:7233 HTTP/1.1"));
        let authorization = lines.find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("proxy-authorization")
                .then_some(value)
        });
        // Base64 of the user name, a colon and the password.
        assert_eq!(
            authorization,
            Some("Basic b3BlcmF0b3I6YS1wYXNzd29yZC10aGF0LW5vYm9keS1tYXktc2Vl")
        );
    }
}

/// A certificate has no dot at the end of a name, and the name in the handshake has none.
#[tokio::test]
async fn an_absolute_name_matches_the_certificate() {
    let authority = Authority::new();
    let mut proxy = start(ProxyBehavior::Connect(encrypted(&authority).await)).await;
    let mut fields = through(&proxy.address, trusting("temporal.test.:7233", &authority));
    fields.tls.as_mut().unwrap().server_name = None;
    assert_eq!(failure(fields).await.kind, CallErrorKind::Denied);
    let request = proxy.requests().remove(0);
    assert!(
        request.starts_with("CONNECT temporal.test.:7233 "),
        "{request}"
    );
}

#[tokio::test]
async fn what_a_proxy_answers_instead_is_named() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = unused.local_addr().unwrap().to_string();
    drop(unused);
    let (unavailable, timeout) = (CallErrorKind::Unavailable, CallErrorKind::Timeout);
    let table = [
        (
            Some(ProxyBehavior::Answer(
                "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            )),
            (unavailable, Fault::ProxyCredentials),
            "the proxy requires a user name and a password that the connection does not have (HTTP \
             407 from PROXY)",
        ),
        (
            Some(ProxyBehavior::Answer(
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            )),
            (unavailable, Fault::ProxyRefuses),
            "the proxy refuses to connect to the server (HTTP 403 from PROXY)",
        ),
        (
            Some(ProxyBehavior::Answer(
                "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
            )),
            (unavailable, Fault::NotAProxy),
            "no HTTP proxy answers at the address of the proxy (HTTP 405 from PROXY)",
        ),
        (
            Some(ProxyBehavior::Answer("220 mail.example.com ESMTP\r\n\r\n")),
            (unavailable, Fault::NotAProxy),
            "no HTTP proxy answers at the address of the proxy (PROXY)",
        ),
        (
            Some(ProxyBehavior::Answer(
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            )),
            (unavailable, Fault::ProxyUnavailable),
            "the proxy PROXY does not reach the server: it answers HTTP 503",
        ),
        (
            Some(ProxyBehavior::Close),
            (unavailable, Fault::ProxyUnavailable),
            "the proxy PROXY closes the connection without an answer",
        ),
        (
            Some(ProxyBehavior::Wait),
            (timeout, Fault::ProxyUnavailable),
            "the proxy PROXY does not answer",
        ),
        (
            None,
            (unavailable, Fault::ProxyUnavailable),
            "the proxy PROXY cannot be reached: Connection refused (os error 111)",
        ),
    ];
    let failures = table.clone().map(|(behavior, ..)| {
        let nobody = nobody.clone();
        async move {
            let address = match behavior {
                Some(behavior) => start(behavior).await.address,
                None => nobody,
            };
            let failure = failure(through(&address, plain(SERVER))).await;
            assert!(failure.connection_lost, "{failure}");
            let message = failure.message.replace(&address, "PROXY");
            (failure.kind, failure.fault, message)
        }
    });
    // Together, since the silent proxy takes seconds.
    let failures = futures::future::join_all(failures).await;
    let expected = table.map(|(_, (kind, fault), message)| (kind, Some(fault), message.to_owned()));
    assert_eq!(failures, expected);
}

#[tokio::test]
async fn a_mistake_behind_the_proxy_is_recognized_through_it() {
    let authority = Authority::new();
    let proxy = start(ProxyBehavior::Connect(encrypted(&authority).await)).await;
    let found = fault(through(&proxy.address, plain(SERVER))).await;
    assert_eq!(found, Some(Fault::ServerWantsTls));
    let other = Authority::new();
    let found = fault(through(&proxy.address, trusting(SERVER, &other))).await;
    assert_eq!(found, Some(Fault::UnknownIssuer));
    let web = start(ProxyBehavior::Connect(serve(http1).await)).await;
    let found = fault(through(&web.address, plain(SERVER))).await;
    assert_eq!(found, Some(Fault::NotGrpc));
}

/// A proxy may answer in the place of the server.
#[tokio::test]
async fn a_password_in_a_message_is_not_repeated() {
    let impostor = serve(|stream| async {
        http2(
            stream,
            200,
            &[
                ("content-type", "application/grpc"),
                ("grpc-status", "16"),
                ("grpc-message", PASSWORD),
            ],
        )
        .await;
    })
    .await;
    let proxy = start(ProxyBehavior::Connect(impostor)).await;
    let failure = failure(through(&proxy.address, plain(SERVER))).await;
    assert_eq!(failure.kind, CallErrorKind::Denied);
    let shown = format!("{failure} {failure:?}");
    assert_eq!(exposed(&[PASSWORD.as_bytes()], &shown), None, "{shown}");
}
