//! Asks an HTTP proxy for a tunnel, to find out why a connection through it failed. Opens one
//! socket, within a deadline.
//!
//! The Temporal client opens tunnels of its own, but reduces what goes wrong with them to text.
//!
//! Neither with hyper-util, whose `Tunnel` does not tell which status a proxy answers, nor with
//! hyper as in `taskqueue-worker`, whose connection needs a task of its own: here, one request and
//! one status line are enough.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::connection::ResolvedConnection;

/// A proxy opens a connection of its own before it answers.
const DEADLINE: Duration = Duration::from_secs(2);
/// The longest answer that is read, up to the empty line that ends it.
const LONGEST_ANSWER: usize = 8 * 1024;

/// Why a proxy opens no tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoTunnel {
    /// No connection to it; holds the error.
    Unreachable(String),
    /// No answer in time.
    Silent,
    /// It closes the connection without an answer.
    Closed,
    /// It answers with this HTTP status.
    Status(u16),
    /// Its answer is not HTTP.
    NotHttp,
}

/// A tunnel through the proxy of a connection to its server, or the server itself without a proxy.
pub(crate) async fn connect(to: &ResolvedConnection) -> Result<TcpStream, NoTunnel> {
    match tokio::time::timeout(DEADLINE, open(to)).await {
        Ok(opened) => opened,
        Err(_) => Err(NoTunnel::Silent),
    }
}

async fn open(to: &ResolvedConnection) -> Result<TcpStream, NoTunnel> {
    let unreachable = |error: std::io::Error| NoTunnel::Unreachable(error.to_string());
    let Some(proxy) = to.proxy() else {
        return TcpStream::connect(to.address()).await.map_err(unreachable);
    };
    let mut stream = TcpStream::connect(&proxy.address)
        .await
        .map_err(unreachable)?;
    let request = request(to.address(), to.proxy_credentials());
    let answer = match stream.write_all(request.as_bytes()).await {
        Ok(()) => answer(&mut stream).await,
        Err(_) => Vec::new(),
    };
    match status(&answer) {
        Some(200..=299) => Ok(stream),
        Some(status) => Err(NoTunnel::Status(status)),
        None if answer.is_empty() => Err(NoTunnel::Closed),
        None => Err(NoTunnel::NotHttp),
    }
}

/// The request for a tunnel to `server`.
fn request(server: &str, credentials: Option<(String, String)>) -> String {
    let authorization = credentials.map(|(username, password)| {
        let basic = STANDARD.encode(format!("{username}:{password}"));
        format!("Proxy-Authorization: Basic {basic}\r\n")
    });
    let authorization = authorization.unwrap_or_default();
    format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n{authorization}\r\n")
}

/// The answer up to its empty line, or as far as it comes. Not a byte more: what follows is the
/// server's.
async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    while answer.len() < LONGEST_ANSWER && !answer.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    answer
}

/// The HTTP status in an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (version, rest) = line.split_once(' ')?;
    let code = rest.split(' ').next()?;
    version.starts_with("HTTP/1.").then(|| code.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_if_it_is_http() {
        let table: [(&[u8], Option<u16>); 6] = [
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Some(200)),
            (b"HTTP/1.0 407\r\n\r\n", Some(407)),
            (b"HTTP/1.1 nonsense\r\n", None),
            (b"220 smtp.example.com ESMTP\r\n", None),
            // A TLS alert.
            (&[21, 3, 1, 0, 2, 2, 70], None),
            (b"", None),
        ];
        let read = table.map(|(answer, _)| status(answer));
        assert_eq!(read, table.map(|(_, expected)| expected));
    }

    #[test]
    fn a_request_has_credentials_only_if_the_proxy_wants_them() {
        assert_eq!(
            request("temporal:7233", None),
            "CONNECT temporal:7233 HTTP/1.1\r\nHost: temporal:7233\r\n\r\n"
        );
        let credentials = Some(("user".to_owned(), "a password".to_owned()));
        assert_eq!(
            request("[::1]:7233", credentials),
            "CONNECT [::1]:7233 HTTP/1.1\r\nHost: [::1]:7233\r\n\
             Proxy-Authorization: Basic dXNlcjphIHBhc3N3b3Jk\r\n\r\n"
        );
    }
}
