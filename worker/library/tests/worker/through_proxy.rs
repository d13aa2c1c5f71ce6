//! A worker behind an HTTP proxy: everything that it sends goes through a tunnel, since only the
//! proxy knows where Temporal is.

use taskqueue_worker::testing::{Authority, Proxy, SERVER_NAME};
use taskqueue_worker::{Connector, Environment, TemporalSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::probe::looks_around;
use crate::support::address;

/// What the workers call the server.
const SERVER: &str = "temporal.invalid:7233";

/// A proxy that requires the user name `worker` and the password `a password`, and connects to
/// `server`; returns its address.
async fn proxy(server: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(carry(client, server.clone()));
        }
    });
    address
}

async fn carry(mut client: TcpStream, server: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(
        head.starts_with(&format!("CONNECT {SERVER} HTTP/1.1\r\n")),
        "{head}"
    );
    if !head.contains("roxy-authorization: Basic d29ya2VyOmEgcGFzc3dvcmQ=\r\n") {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
        client.write_all(answer).await.unwrap();
        return;
    }
    let mut server = TcpStream::connect(server).await.unwrap();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    // Either side may disconnect at any time.
    let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn variables(proxy: String, password: &str) -> Vec<(&'static str, String)> {
    vec![
        ("TEMPORAL_ADDRESS", SERVER.to_owned()),
        ("TASKQUEUE_PROXY_ADDRESS", proxy),
        ("TASKQUEUE_PROXY_USERNAME", "worker".to_owned()),
        ("TASKQUEUE_PROXY_PASSWORD", password.to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_works_through_a_proxy() {
    let proxy = proxy(address().await).await;
    looks_around("through-proxy", variables(proxy, "a password")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_presents_its_certificate_through_a_proxy() {
    let authority = Authority::new();
    let front = Proxy::start(authority.server(), address().await).await;
    let proxy = proxy(format!("127.0.0.1:{}", front.port)).await;
    let (cert, key) = authority.sign("worker");
    let mut variables = variables(proxy, "a password");
    variables.extend([
        ("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME.to_owned()),
        ("TEMPORAL_TLS_SERVER_CA_CERT_DATA", authority.ca.clone()),
        ("TEMPORAL_TLS_CLIENT_CERT_DATA", cert),
        ("TEMPORAL_TLS_CLIENT_KEY_DATA", key),
    ]);
    looks_around("through-proxy-tls", variables).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_named() {
    let proxy = proxy(address().await).await;
    let environment = Environment::from_iter(variables(proxy.clone(), "another password"));
    let settings = TemporalSettings::from_environment(&environment).unwrap();
    let outcome = Connector::new(settings).unwrap().connect().await;
    let Err(error) = outcome else {
        panic!("the proxy refuses")
    };
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to Temporal at {SERVER}: the proxy {proxy} requires another user name \
             or password (HTTP 407); set TASKQUEUE_PROXY_USERNAME and TASKQUEUE_PROXY_PASSWORD"
        )
    );
}
