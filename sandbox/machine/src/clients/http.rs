//! Plain HTTP/1.1 to a port on loopback, and nothing more: one request per connection, no redirects, no TLS. Network
//! I/O; understanding the answer is pure.

use std::{
    io::{Read, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::error::{Error, Result};

/// How long the server may be silent.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of a refusal's text an error repeats.
const SHOWN: usize = 300;

/// The body of the answer to `GET path` at `address` (`127.0.0.1:PORT`), if its status is 200.
pub(crate) fn get(address: &str, path: &str) -> Result<String> {
    let what = || format!("http://{address}{path}");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    let (status, body) = TcpStream::connect(address)
        .map_err(|error| Error::source(what(), error.to_string()))
        .and_then(|stream| exchange(stream, &request, &what()))?;
    if status == 200 {
        return Ok(body);
    }
    let shown = &body[..body.floor_char_boundary(SHOWN)];
    Err(Error::source(
        what(),
        format!("status {status}: {}", shown.trim()),
    ))
}

/// Status and text of the answer to an empty `POST path` over a connection that is open already.
pub(crate) fn post(
    stream: TcpStream,
    path: &str,
    authorization: Option<&str>,
) -> Result<(u16, String)> {
    let authorization = authorization
        .map(|value| format!("Authorization: {value}\r\n"))
        .unwrap_or_default();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    exchange(stream, &request, path)
}

/// Text as one part of a query: everything but letters, digits and `-._~` is escaped.
pub(crate) fn escape(text: &str) -> String {
    let escaped = text.bytes().map(|byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    });
    escaped.collect()
}

/// Sends the whole request and reads the answer to the end of the connection.
fn exchange(mut stream: TcpStream, request: &str, what: &str) -> Result<(u16, String)> {
    let mut exchange = || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let bytes =
        exchange().map_err(|error: std::io::Error| Error::source(what, error.to_string()))?;
    let (status, body) = parse(&bytes).map_err(|why| Error::source(what, why))?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Status and body of an answer that was read to the end of its connection.
fn parse(bytes: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let end = find(bytes, b"\r\n\r\n").ok_or("the answer has no end of its headers")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let body = &bytes[end + 4..];
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| {
            format!(
                "{:?} is no HTTP status line",
                head.lines().next().unwrap_or("")
            )
        })?;
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok((status, join_chunks(body)?));
    }
    match header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) if length > body.len() => Err(format!(
            "the answer broke off after {} of {length} bytes",
            body.len()
        )),
        Some(length) => Ok((status, body[..length].to_vec())),
        None => Ok((status, body.to_vec())),
    }
}

fn join_chunks(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let line = find(rest, b"\r\n").ok_or("the answer broke off between two chunks")?;
        let size = String::from_utf8_lossy(&rest[..line]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| format!("{size:?} is no size of a chunk"))?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(body);
        }
        let chunk = rest
            .get(..size)
            .ok_or("the answer broke off within a chunk")?;
        body.extend_from_slice(chunk);
        rest = rest
            .get(size + 2..)
            .ok_or("the answer broke off behind a chunk")?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_body_is_cut_to_its_length_and_put_together_from_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}trailing";
        assert_eq!(parse(plain), Ok((200, b"{}".to_vec())));
        let chunked =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n4\r\nab\r\n\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Ok((200, b"ab\r\n0123456789".to_vec())));
        assert_eq!(
            parse(b"HTTP/1.0 404 no\r\n\r\nwhere"),
            Ok((404, b"where".to_vec()))
        );
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error_and_not_a_shorter_answer() {
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}";
        assert_eq!(
            parse(short),
            Err("the answer broke off after 2 of 9 bytes".to_owned())
        );
        for broken in ["5\r\nab", "5\r\nabcde", "5", "xyz\r\n", "2\r\nab\r\n"] {
            let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{broken}");
            assert!(parse(answer.as_bytes()).is_err(), "{broken:?}");
        }
        assert!(parse(b"").is_err());
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(
            escape("a = 'b-1' OR {c}"),
            "a%20%3D%20%27b-1%27%20OR%20%7Bc%7D"
        );
    }

    #[test]
    fn a_refusal_is_told_with_its_text() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 200];
            let read = stream.read(&mut request).unwrap();
            stream
                .write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nbad query")
                .unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let error = get(&address, "/x?y=1").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("reading http://{address}/x?y=1: status 400: bad query")
        );
        assert!(
            server
                .join()
                .unwrap()
                .starts_with("GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
        );
    }
}
