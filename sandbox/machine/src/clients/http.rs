//! HTTP client for ports on loopback. Network I/O.

use std::{sync::LazyLock, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::{Agent, Body, config::ConfigBuilder, http::Response, typestate::AgentScope};

use crate::error::{Error, Result};

/// How long the server may be silent.
const SERVER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of the body that an error shows.
const SHOWN: usize = 300;
/// The characters that are percent-encoded in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A server may have been restarted since the last request, so no connection is kept.
static AGENT: LazyLock<Agent> =
    LazyLock::new(|| config().max_idle_connections(0).build().new_agent());

/// The configuration of a client for servers on this machine: it ignores the proxy settings of the
/// environment, and a status other than 2xx is no error.
pub fn config() -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(SERVER_TIMEOUT))
        .timeout_recv_response(Some(SERVER_TIMEOUT))
        .timeout_recv_body(Some(SERVER_TIMEOUT))
}

/// The body of the answer to `GET path` at `address` (`127.0.0.1:PORT`), if its status is 200.
pub fn get(address: &str, path: &str) -> Result<String> {
    let url = format!("http://{address}{path}");
    let answer = AGENT.get(&url).header("Accept", "application/json").call();
    let (status, body) = text(answer).map_err(|error| Error::source(&url, error.to_string()))?;
    if status == 200 {
        return Ok(body);
    }
    let shown = &body[..body.floor_char_boundary(SHOWN)];
    Err(Error::source(
        url,
        format!("status {status}: {}", shown.trim()),
    ))
}

/// The status of the answer to `GET path`, which has to come within `timeout`.
pub(crate) fn status(address: &str, path: &str, timeout: Duration) -> Result<u16> {
    let url = format!("http://{address}{path}");
    let request = AGENT.get(&url).config().timeout_global(Some(timeout));
    let answer = request.build().call();
    answer
        .map(|answer| answer.status().as_u16())
        .map_err(|error| Error::source(url, error.to_string()))
}

/// Status and body of an answer, however long the body is.
pub fn text(answer: Result<Response<Body>, ureq::Error>) -> Result<(u16, String), ureq::Error> {
    let mut answer = answer?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config();
    let body = body.limit(u64::MAX).lossy_utf8(true).read_to_string()?;
    Ok((status, body))
}

/// Percent-encodes everything but ASCII letters, digits and `-._~`.
pub fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use super::*;

    /// A server that gives this answer to one request, and returns the request.
    fn serve(answer: String) -> (String, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, server)
    }

    fn got(answer: &str) -> Result<String> {
        let (address, server) = serve(answer.to_owned());
        let body = get(&address, "/");
        server.join().unwrap();
        body
    }

    #[test]
    fn a_body_is_read_by_its_length_or_from_its_chunks() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}trailing";
        assert_eq!(got(plain).unwrap(), "{}");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: \
                       chunked\r\n\r\n4\r\nab\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(got(chunked).unwrap(), "ab\r\n0123456789");
    }

    #[test]
    fn a_truncated_response_is_an_error() {
        assert!(got("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}").is_err());
        for broken in ["5\r\nab", "5\r\nabcde", "5", "xyz\r\n", "2\r\nab\r\n"] {
            let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{broken}");
            assert!(got(&answer).is_err(), "{broken:?}");
        }
        assert!(got("").is_err());
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(
            escape("a = 'b-1' OR {c}"),
            "a%20%3D%20%27b-1%27%20OR%20%7Bc%7D"
        );
    }

    #[test]
    fn a_refusal_is_reported_with_its_text() {
        let refusal = "HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nbad query";
        let (address, server) = serve(refusal.to_owned());
        let error = get(&address, "/x?y=1").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("reading http://{address}/x?y=1: status 400: bad query")
        );
        let request = server.join().unwrap().to_lowercase();
        assert!(request.starts_with("get /x?y=1 http/1.1\r\n"), "{request}");
        assert!(
            request.contains(&format!("\r\nhost: {address}\r\n")),
            "{request}"
        );
    }
}
