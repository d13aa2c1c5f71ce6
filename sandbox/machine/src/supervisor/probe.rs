//! Runs readiness probes against local servers: TCP, HTTP, a greeting, a unix socket. Network I/O
//! on loopback only.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::{clients::http, components::readiness::Probe};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Probes once; `Err` says what was missing. The caller runs probes that are commands.
pub(super) fn ask(probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Http(port, path) => http_ok(*port, path),
        Probe::Tcp(port) => connect(*port).map(drop),
        Probe::Greeting(port, text) => greeting(*port, text),
        Probe::Socket(path) => socket(path),
        Probe::File(path) if path.exists() => Ok(()),
        Probe::File(path) => Err(format!("{} does not exist", path.display())),
        Probe::Command(..) | Probe::FreshTrue(_) => Err("a command must check this".into()),
    }
}

/// Whether the output of [`Probe::FreshTrue`]'s command says that the condition is true since
/// `start` or later.
pub(super) fn is_fresh_true(output: &str, start: jiff::Timestamp) -> bool {
    let mut words = output.split_whitespace();
    // The API's times have whole seconds.
    let second_of_start = start.as_second();
    words.next() == Some("True")
        && words
            .next()
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .is_some_and(|time| time.as_second() >= second_of_start)
}

fn connect(port: u16) -> Result<TcpStream, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)
        .map_err(|error| format!("port {port}: {error}"))?;
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// `GET path` on a loopback port.
fn http_ok(port: u16, path: &str) -> Result<(), String> {
    match http::status(&format!("127.0.0.1:{port}"), path, ANSWER_TIMEOUT) {
        Ok(200) => Ok(()),
        Ok(status) => Err(format!("port {port}{path} answers with status {status}")),
        Err(error) => Err(error.to_string()),
    }
}

fn greeting(port: u16, text: &str) -> Result<(), String> {
    let mut stream = connect(port)?;
    let mut start = vec![0; text.len()];
    stream
        .read_exact(&mut start)
        .map_err(|error| format!("port {port}: {error}"))?;
    if start == text.as_bytes() {
        // A polite end: the server's log stays free of broken connections.
        drop(stream.write_all(b"QUIT\r\n"));
        Ok(())
    } else {
        Err(format!(
            "port {port} greets with {:?}",
            String::from_utf8_lossy(&start)
        ))
    }
}

fn socket(path: &Path) -> Result<(), String> {
    UnixStream::connect(path)
        .map(drop)
        .map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, thread};

    /// Answers one connection; `after` is what it waits for first.
    fn serve(after: &'static str, answer: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            while !asked.ends_with(after) {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                asked.push(char::from(byte[0]));
            }
            stream.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn only_status_200_is_ready() {
        assert_eq!(
            http_ok(serve("\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nok"), "/healthz"),
            Ok(())
        );
        let port = serve("\r\n\r\n", "HTTP/1.1 500 no\r\n\r\n");
        assert_eq!(
            http_ok(port, "/healthz"),
            Err(format!("port {port}/healthz answers with status 500"))
        );
    }

    #[test]
    fn a_mail_server_is_recognized_by_its_greeting() {
        assert_eq!(
            ask(&Probe::Greeting(serve("", "220 hello"), "220 ")),
            Ok(())
        );
        assert!(ask(&Probe::Greeting(serve("", "554 hello"), "220 ")).is_err());
    }

    #[test]
    fn a_condition_from_before_the_start_is_not_fresh() {
        let start = "2026-01-01T10:00:05.700Z".parse().unwrap();
        assert!(is_fresh_true("True 2026-01-01T10:00:05Z", start));
        assert!(!is_fresh_true("True 2026-01-01T10:00:04Z", start));
        assert!(!is_fresh_true("Unknown 2026-01-01T10:00:09Z", start));
        assert!(!is_fresh_true("", start));
    }
}
