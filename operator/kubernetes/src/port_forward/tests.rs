//! Port-forwards over an API server on loopback, with and without TLS, on its bad days as well.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use kube::Config;
use parking_lot::Mutex;
use taskqueue_testkit::port_forward::{PROTOCOL, accept, message};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::client::bounded;

const LIMIT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);
const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfine\n";

/// What an API server does with a port-forward.
#[derive(Debug, Clone, Copy)]
enum Play {
    /// Refuses to open it.
    Refuse,
    /// Opens another protocol than that of Kubernetes.
    OtherProtocol,
    /// Says nothing once it is open.
    Silence,
    /// Ends the web socket once it is open.
    End,
    /// Names another port.
    OtherPort,
    /// Reports that the port cannot be used, and ends the web socket.
    Report(&'static str),
    /// Answers each request with these bytes.
    Answer(&'static str),
}

/// An API server, and what it has seen.
struct ApiServer {
    url: String,
    certificate: Option<Vec<u8>>,
    heads: Arc<Mutex<Vec<String>>>,
    /// How each web socket ended: whether by a message that says so.
    ends: UnboundedReceiver<bool>,
}

/// Reads a head of HTTP.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    play: Play,
    heads: Arc<Mutex<Vec<String>>>,
    ends: UnboundedSender<bool>,
) {
    let head = head(&mut stream).await;
    heads.lock().push(head.clone());
    if matches!(play, Play::Refuse) {
        let status = r#"{"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 403,
            "reason": "Forbidden", "message": "jane may not create pods/portforward"}"#;
        let length = status.len();
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{status}"
        );
        stream.write_all(answer.as_bytes()).await.ok();
        return;
    }
    let protocol = match play {
        Play::OtherProtocol => "SPDY/3.1+portforward.k8s.io",
        _ => PROTOCOL,
    };
    let port = match play {
        Play::OtherPort => 1,
        _ => 8080,
    };
    let mut socket = accept(stream, &head, protocol, port).await;
    match play {
        Play::Report(text) => {
            socket.send(message(1, text)).await.ok();
            socket.close(None).await.ok();
        }
        Play::End => {
            socket.close(None).await.ok();
        }
        _ => {}
    }
    let mut said = false;
    while let Some(Ok(received)) = socket.next().await {
        said |= received.is_close();
        if let (Play::Answer(answer), Message::Binary(_)) = (play, received) {
            socket.send(message(0, answer)).await.ok();
        }
    }
    ends.send(said).ok();
}

/// Starts an API server; with TLS, one that also offers HTTP/2.
async fn api_server(play: Play, tls: bool) -> ApiServer {
    _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let (ended, ends) = mpsc::unbounded_channel();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, heads, ended) = (acceptor.clone(), Arc::clone(&kept), ended.clone());
            tokio::spawn(async move {
                if tls {
                    let stream = acceptor.accept(stream).await.unwrap();
                    serve(stream, play, heads, ended).await;
                } else {
                    serve(stream, play, heads, ended).await;
                }
            });
        }
    });
    let scheme = if tls { "https" } else { "http" };
    ApiServer {
        url: format!("{scheme}://{address}"),
        certificate: tls.then(|| certificate.to_vec()),
        heads,
        ends,
    }
}

impl ApiServer {
    fn config(&self) -> Config {
        let mut config = Config::new(self.url.parse().unwrap());
        config.root_cert = self
            .certificate
            .clone()
            .map(|certificate| vec![certificate]);
        config
    }

    async fn open(&self, limit: Duration) -> Result<PortForward, Error> {
        let client = bounded(self.config(), LIMIT).unwrap();
        PortForward::open(client, "system", "leader", 8080, limit).await
    }
}

#[tokio::test]
async fn requests_reach_the_pod_one_after_the_other_over_one_web_socket() {
    for tls in [false, true] {
        let mut server = api_server(Play::Answer(FINE), tls).await;
        let mut forward = server.open(LIMIT).await.unwrap();
        for _ in 0..2 {
            assert_eq!(forward.get("/metrics").await.unwrap(), "fine\n");
        }
        forward.close().await;
        assert_eq!(server.ends.recv().await, Some(true), "it says that it ends");
        let heads = server.heads.lock();
        let lines: Vec<&str> = heads
            .iter()
            .filter_map(|head| head.lines().next())
            .collect();
        let asked = "GET /api/v1/namespaces/system/pods/leader/portforward?&ports=8080 HTTP/1.1";
        assert_eq!(lines, [asked]);
    }
}

#[tokio::test]
async fn a_port_forward_that_is_dropped_ends_as_well() {
    let mut server = api_server(Play::Answer(FINE), false).await;
    let mut forward = server.open(LIMIT).await.unwrap();
    assert_eq!(forward.get("/metrics").await.unwrap(), "fine\n");
    drop(forward);
    assert_eq!(server.ends.recv().await, Some(true));
}

#[tokio::test]
async fn it_goes_through_a_proxy_and_asks_as_whom_the_configuration_says() {
    let server = api_server(Play::Answer(FINE), true).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    config.proxy_url = Some(url.parse().unwrap());
    config.auth_info.impersonate = Some("jane".to_owned());
    let target = server.url.trim_start_matches("https://").to_owned();
    let tunnel = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let asked = head(&mut client).await;
        let mut server = tokio::net::TcpStream::connect(&target).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        tokio::spawn(async move {
            let copied = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            copied.ok();
        });
        asked
    });
    let client = bounded(config, LIMIT).unwrap();
    let opened = PortForward::open(client, "system", "leader", 8080, LIMIT).await;
    assert_eq!(opened.unwrap().get("/metrics").await.unwrap(), "fine\n");
    assert!(tunnel.await.unwrap().starts_with("CONNECT 127.0.0.1:"));
    let heads = server.heads.lock();
    assert!(
        heads[0].contains("impersonate-user: jane\r\n"),
        "{}",
        heads[0]
    );
}

#[tokio::test]
async fn a_port_forward_that_fails_names_what_failed() {
    let table = [
        (
            Play::Refuse,
            "jane may not create pods/portforward (HTTP 403)",
        ),
        (
            Play::OtherProtocol,
            "failed to upgrade to a WebSocket connection: Sec-WebSocket-Protocol mismatched",
        ),
        (
            Play::Silence,
            "pod leader did not answer through the port-forward within 300ms",
        ),
        (
            Play::End,
            "the port-forward to port 8080 of pod leader gives no answer in HTTP: ",
        ),
        (
            Play::OtherPort,
            "the port-forward to port 8080 of pod leader gives no answer in HTTP: ",
        ),
        (
            Play::Report("connection refused"),
            "the node of pod leader cannot connect to its port 8080: connection refused",
        ),
        (
            Play::Answer("220 mail\r\n\r\n"),
            "the port-forward to port 8080 of pod leader gives no answer in HTTP: invalid HTTP \
             version parsed",
        ),
        (
            Play::Answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            "port 8080 of pod leader answered with HTTP 404",
        ),
        (
            Play::Answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
            "pod leader did not answer through the port-forward within 300ms",
        ),
    ];
    for (play, expected) in table {
        let server = api_server(play, false).await;
        let answered = match server.open(SHORT).await {
            Ok(mut forward) => forward.get("/metrics").await,
            Err(error) => Err(error),
        };
        let text = answered.unwrap_err().to_string();
        // How a connection ends depends on when.
        let same = match play {
            Play::End | Play::OtherPort => text.starts_with(expected),
            _ => text == expected,
        };
        assert!(same, "{play:?}: {text}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_confirm_the_end_keeps_nobody_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config::new(
        format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap(),
    );
    _ = rustls::crypto::ring::default_provider().install_default();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        accept(stream, &head, PROTOCOL, 8080).await
    });
    let client = bounded(config, LIMIT).unwrap();
    let opened = PortForward::open(client, "system", "leader", 8080, LIMIT)
        .await
        .unwrap();
    // Open until the end of the test, and silent.
    let socket = silent.await.unwrap();
    let closed = timeout(CLOSE * 4, opened.close()).await;
    assert_eq!(closed, Ok(()));
    drop(socket);
}
