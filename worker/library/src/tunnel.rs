//! A tunnel to Temporal through an HTTP proxy, by the method CONNECT. Opens one socket, and one
//! task for it.
//!
//! The SDK opens tunnels for its own connections only, and its errors do not say who is to blame.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, PROXY_AUTHORIZATION};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::settings::ProxySettings;

/// How long the proxy may take to open a tunnel. Shorter than the timeout of a whole connection, so
/// that the error names the proxy.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why a proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No connection to it.
    #[error("the proxy {proxy} (TASKQUEUE_PROXY_ADDRESS) cannot be reached: {source}")]
    Unreachable {
        /// host:port of the proxy.
        proxy: String,
        /// The error of the connection.
        source: std::io::Error,
    },
    /// It does not answer in time.
    #[error(
        "the proxy {proxy} (TASKQUEUE_PROXY_ADDRESS) does not answer; check that it is an HTTP \
         proxy, and that the network lets the pods reach it"
    )]
    Silent {
        /// host:port of the proxy.
        proxy: String,
    },
    /// It closes the connection, or its answer is not HTTP.
    #[error(
        "the proxy {proxy} (TASKQUEUE_PROXY_ADDRESS) gives no answer in HTTP; set the address of \
         an HTTP proxy"
    )]
    NotHttp {
        /// host:port of the proxy.
        proxy: String,
    },
    /// It requires a user name and a password, or others than those that were sent.
    #[error(
        "the proxy {proxy} requires {} (HTTP 407); set TASKQUEUE_PROXY_USERNAME and \
         TASKQUEUE_PROXY_PASSWORD",
        credentials(*.sent)
    )]
    Credentials {
        /// host:port of the proxy.
        proxy: String,
        /// Whether a user name and a password were sent.
        sent: bool,
    },
    /// It answers with another status than success.
    #[error(
        "the proxy {proxy} does not connect to {server} (HTTP {status}); ask who runs it to allow \
         CONNECT to this address"
    )]
    Refused {
        /// host:port of the proxy.
        proxy: String,
        /// host:port of the server.
        server: String,
        /// The status of the answer.
        status: u16,
    },
}

/// What a proxy requires that was sent a user name and a password, or none.
const fn credentials(sent: bool) -> &'static str {
    if sent {
        "another user name or password"
    } else {
        "a user name and a password"
    }
}

/// Opens a tunnel to `server`, host:port.
pub(crate) async fn open(
    proxy: &ProxySettings,
    server: &str,
) -> Result<TokioIo<Upgraded>, ProxyError> {
    open_within(TIMEOUT, proxy, server).await
}

async fn open_within(
    timeout: Duration,
    proxy: &ProxySettings,
    server: &str,
) -> Result<TokioIo<Upgraded>, ProxyError> {
    match tokio::time::timeout(timeout, request(proxy, server)).await {
        Ok(opened) => opened,
        Err(_) => Err(ProxyError::Silent {
            proxy: proxy.address.clone(),
        }),
    }
}

async fn request(proxy: &ProxySettings, server: &str) -> Result<TokioIo<Upgraded>, ProxyError> {
    let address = || proxy.address.clone();
    let not_http = |_: hyper::Error| ProxyError::NotHttp { proxy: address() };
    let unreachable = |source| ProxyError::Unreachable {
        proxy: address(),
        source,
    };
    let stream = TcpStream::connect(&proxy.address)
        .await
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(not_http)?;
    // Ends with the tunnel, or with an answer that opens none.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(server)
        .header(HOST, server);
    let authorization = proxy.authorization();
    let sent = authorization.is_some();
    if let Some(authorization) = authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let refused = |status: StatusCode| match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => ProxyError::Credentials {
            proxy: address(),
            sent,
        },
        status => ProxyError::Refused {
            proxy: address(),
            server: server.to_owned(),
            status: status.as_u16(),
        },
    };
    // The settings were checked: an address and a header that cannot be sent do not get here.
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| refused(StatusCode::BAD_REQUEST))?;
    let answer = sender.send_request(request).await.map_err(not_http)?;
    if !answer.status().is_success() {
        return Err(refused(answer.status()));
    }
    let tunnel = hyper::upgrade::on(answer).await.map_err(not_http)?;
    Ok(TokioIo::new(tunnel))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// What a proxy does with a request.
    enum ProxyBehavior {
        Answer(&'static str),
        Wait,
    }

    /// A proxy for one request; also the request that it gets.
    async fn proxy(behavior: ProxyBehavior) -> (ProxySettings, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = ProxySettings {
            address: listener.local_addr().unwrap().to_string(),
            credentials: Some(("user".to_owned(), "a password".to_owned())),
        };
        let request = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            match behavior {
                ProxyBehavior::Answer(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                // Until the client gives up.
                ProxyBehavior::Wait => drop(stream.read_u8().await),
            }
            String::from_utf8(head).unwrap()
        });
        (settings, request)
    }

    #[tokio::test]
    async fn a_tunnel_carries_what_the_server_says_first() {
        let (proxy, request) = proxy(ProxyBehavior::Answer(
            "HTTP/1.1 200 Connection established\r\n\r\nhello",
        ))
        .await;
        let mut tunnel = open(&proxy, "temporal:7233").await.unwrap();
        let mut said = String::new();
        tunnel.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
        assert_eq!(
            request.await.unwrap(),
            "CONNECT temporal:7233 HTTP/1.1\r\nhost: temporal:7233\r\n\
             proxy-authorization: Basic dXNlcjphIHBhc3N3b3Jk\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn an_error_says_what_the_proxy_does() {
        for (behavior, expected) in [
            (
                ProxyBehavior::Answer("HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"),
                "the proxy PROXY requires another user name or password (HTTP 407); set \
                 TASKQUEUE_PROXY_USERNAME and TASKQUEUE_PROXY_PASSWORD",
            ),
            (
                ProxyBehavior::Answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
                "the proxy PROXY does not connect to temporal:7233 (HTTP 403); ask who runs it to \
                 allow CONNECT to this address",
            ),
            (
                ProxyBehavior::Answer("220 mail.example.com ESMTP\r\n"),
                "the proxy PROXY (TASKQUEUE_PROXY_ADDRESS) gives no answer in HTTP; set the \
                 address of an HTTP proxy",
            ),
            (
                ProxyBehavior::Answer(""),
                "the proxy PROXY (TASKQUEUE_PROXY_ADDRESS) gives no answer in HTTP; set the \
                 address of an HTTP proxy",
            ),
            (
                ProxyBehavior::Wait,
                "the proxy PROXY (TASKQUEUE_PROXY_ADDRESS) does not answer; check that it is an \
                 HTTP proxy, and that the network lets the pods reach it",
            ),
        ] {
            let timeout = match behavior {
                ProxyBehavior::Wait => Duration::from_millis(100),
                ProxyBehavior::Answer(_) => TIMEOUT,
            };
            let (proxy, _) = proxy(behavior).await;
            let error = open_within(timeout, &proxy, "temporal:7233")
                .await
                .unwrap_err();
            let error = error.to_string().replace(&proxy.address, "PROXY");
            assert_eq!(error, expected);
        }
        let (unused, request) = proxy(ProxyBehavior::Wait).await;
        request.abort();
        // Ended, so that nobody listens.
        _ = request.await;
        let error = open(&unused, "temporal:7233").await.unwrap_err();
        let error = error.to_string().replace(&unused.address, "PROXY");
        assert_eq!(
            error,
            "the proxy PROXY (TASKQUEUE_PROXY_ADDRESS) cannot be reached: Connection refused (os \
             error 111)"
        );
    }
}
