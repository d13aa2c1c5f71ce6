//! Connections to an API server: directly, or in a tunnel that an HTTP proxy opens by the method
//! CONNECT. Opens sockets, and one task for each tunnel.
//!
//! Not with hyper-util's `Tunnel`: it does not tell which status a proxy answers, and takes 443 for
//! the port of every server that names none.

use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{BoxError, Service, ServiceExt as _};

use crate::proxy::{self, Proxy};

/// How long the proxy may take to open a tunnel. Shorter than the limit of a call, so that the
/// error names the proxy.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why a proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum NoTunnel {
    /// No connection to it.
    #[error(
        "the proxy {proxy} cannot be reached: {source}; check proxy-url of the kubeconfig and \
         HTTPS_PROXY, or add the server's host to NO_PROXY"
    )]
    Unreachable {
        /// host:port of the proxy.
        proxy: String,
        /// The error of the connection.
        source: BoxError,
    },
    /// It does not answer in time.
    #[error(
        "the proxy {proxy} does not answer; check proxy-url of the kubeconfig and HTTPS_PROXY, or \
         add the server's host to NO_PROXY"
    )]
    Silent {
        /// host:port of the proxy.
        proxy: String,
    },
    /// It closes the connection, or its answer is not HTTP.
    #[error(
        "the proxy {proxy} gives no answer in HTTP; check proxy-url of the kubeconfig and \
         HTTPS_PROXY"
    )]
    NotHttp {
        /// host:port of the proxy.
        proxy: String,
    },
    /// It requires a user name and a password, or others.
    #[error(
        "the proxy {proxy} requires {} user name and password (HTTP 407); write them into its URL, \
         http://USER:PASSWORD@HOST:PORT, in proxy-url of the kubeconfig or HTTPS_PROXY",
        if *given { "another" } else { "a" }
    )]
    Credentials {
        /// host:port of the proxy.
        proxy: String,
        /// Whether its URL has a user name.
        given: bool,
    },
    /// It answers with another status than success.
    #[error(
        "the proxy {proxy} does not connect to {server} (HTTP {status}); ask who runs it to allow \
         that, or add the server's host to NO_PROXY"
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

/// The error of a proxy among the causes of another.
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a NoTunnel> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.find_map(|error| error.downcast_ref())
}

/// Connects to servers, through a proxy if there is one.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    proxy: Option<Proxy>,
    limit: Duration,
}

impl Connector {
    /// Connects with `tcp`: to the proxy, or without one to the server.
    pub fn new(tcp: HttpConnector, proxy: Option<Proxy>) -> Self {
        Self {
            tcp,
            proxy,
            limit: TIMEOUT,
        }
    }
}

type Stream = TokioIo<TcpStream>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.clone() else {
            let direct = self.tcp.call(server);
            return Box::pin(async move { Ok(direct.await?) });
        };
        let (tcp, limit) = (self.tcp.clone(), self.limit);
        Box::pin(async move {
            let opened = tokio::time::timeout(limit, open(tcp, &proxy, &server)).await;
            let silent = |_| NoTunnel::Silent {
                proxy: proxy.to_string(),
            };
            Ok(opened.map_err(silent)??)
        })
    }
}

async fn open(tcp: HttpConnector, proxy: &Proxy, server: &Uri) -> Result<Stream, NoTunnel> {
    let server = proxy::address(server);
    let not_http = |_: hyper::Error| NoTunnel::NotHttp {
        proxy: proxy.to_string(),
    };
    let refused = |status: StatusCode| match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => NoTunnel::Credentials {
            proxy: proxy.to_string(),
            given: proxy.authorization.is_some(),
        },
        status => NoTunnel::Refused {
            proxy: proxy.to_string(),
            server: server.clone(),
            status: status.as_u16(),
        },
    };
    let connected = tcp.oneshot(proxy.url.clone()).await;
    let stream = connected.map_err(|error| NoTunnel::Unreachable {
        proxy: proxy.to_string(),
        source: innermost(&error).into(),
    })?;
    let (mut sender, connection) = http1::handshake(stream).await.map_err(not_http)?;
    // Ends with the tunnel, or with an answer that opens none.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(&server)
        .header(HOST, &server);
    if let Some(authorization) = &proxy.authorization {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    // The host of a URL is valid in a request.
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|_| refused(StatusCode::BAD_REQUEST))?;
    let answer = sender.send_request(request).await.map_err(not_http)?;
    if !answer.status().is_success() {
        return Err(refused(answer.status()));
    }
    let tunnel = hyper::upgrade::on(answer).await.map_err(not_http)?;
    match tunnel.downcast::<Stream>() {
        // In TLS and in HTTP the client speaks first.
        Ok(parts) if parts.read_buf.is_empty() => Ok(parts.io),
        Ok(_) | Err(_) => Err(NoTunnel::NotHttp {
            proxy: proxy.to_string(),
        }),
    }
}

/// The last cause of an error: the connector's own message names only a step.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests;
