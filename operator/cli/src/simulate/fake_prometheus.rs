//! A server on loopback that answers instant queries as Prometheus does, on good and on bad days.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Prometheus refuses more, as if by its limit of samples.
const LONGEST_RANGE_MS: u64 = 6 * 3_600_000;

/// What the server does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// It answers, with a warning.
    Warns,
    /// It answers this status with this body.
    Answers(&'static str, &'static str),
    /// It sends the beginning of an answer and closes the connection.
    BreaksOff,
    /// It keeps the connection and says nothing.
    Silent,
}

/// One series: its labels, and its samples in seconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) samples: Vec<(f64, String)>,
}

/// The server. It ends with the test.
pub(crate) struct FakePrometheus {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl FakePrometheus {
    pub(crate) fn start(series: Vec<Stored>, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        thread::spawn(move || {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                let head = head(&mut stream);
                seen.lock().push(head.clone());
                match mood {
                    Mood::Well | Mood::Warns => {
                        let (status, body) = answer(&series, &head, matches!(mood, Mood::Warns));
                        send(&mut stream, status, &body, body.len());
                    }
                    Mood::Answers(status, body) => send(&mut stream, status, body, body.len()),
                    Mood::BreaksOff => send(&mut stream, "200 OK", "{", 1_000),
                    Mood::Silent => kept.push(stream),
                }
            }
        });
        Self { url, heads }
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// The queries so far, with their times.
    pub(crate) fn queries(&self) -> Vec<(String, String)> {
        let heads = self.heads();
        heads.iter().map(|head| asked(head)).collect()
    }
}

fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}

fn send(stream: &mut TcpStream, status: &str, body: &str, length: usize) {
    let text =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).ok();
}

/// The query and the time of a request.
fn asked(head: &str) -> (String, String) {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let any: reqwest::Url = "http://any".parse().unwrap();
    let url = any.join(target).unwrap();
    let find = |name: &str| {
        let mut pairs = url.query_pairs();
        let found = pairs.find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    (find("query"), find("time"))
}

fn answer(series: &[Stored], head: &str, warns: bool) -> (&'static str, String) {
    let (query, time) = asked(head);
    let time: f64 = time.parse().unwrap();
    let refused = |kind: &str, message: &str| {
        json!({"status": "error", "errorType": kind, "error": message}).to_string()
    };
    let Some((selector, range)) = query.split_once('[') else {
        return (
            "400 Bad Request",
            refused("bad_data", "parse error: no range"),
        );
    };
    let (range, rest) = range.split_once(']').unwrap();
    let selected = series.iter().filter(|one| selects(selector, &one.labels));
    let (kind, result): (&str, Vec<Value>) = if rest.is_empty() {
        let millis: u64 = range.strip_suffix("ms").unwrap().parse().unwrap();
        if millis > LONGEST_RANGE_MS {
            let message = "query processing would load too many samples into memory";
            return ("422 Unprocessable Entity", refused("execution", message));
        }
        // With its beginning, as before version 3.
        let range = std::time::Duration::from_millis(millis);
        let begin = time - range.as_secs_f64();
        let matrix = selected.map(|one| {
            let within = |(at, _): &&(f64, String)| (begin..=time).contains(at);
            let samples: Vec<_> = one.samples.iter().filter(within).collect();
            json!({"metric": one.labels, "values": samples})
        });
        ("matrix", matrix.collect())
    } else {
        let vector = selected.map(|one| {
            let kept = ["namespace", "name", "queue"];
            let labels = one
                .labels
                .iter()
                .filter(|(l, _)| kept.contains(&l.as_str()));
            let labels: BTreeMap<_, _> = labels.collect();
            json!({"metric": labels, "value": [time, "1"]})
        });
        ("vector", vector.collect())
    };
    let warnings: &[&str] = if warns {
        &["a store does not answer"]
    } else {
        &[]
    };
    let body = json!({
        "status": "success",
        "data": {"resultType": kind, "result": result},
        "warnings": warnings,
    });
    ("200 OK", body.to_string())
}

/// Whether labels have what a selector with `=` and alternatives after `=~` wants.
fn selects(selector: &str, labels: &BTreeMap<String, String>) -> bool {
    let (_, matchers) = selector.split_once('{').unwrap();
    let matchers = matchers.trim_end_matches('}').split("\",");
    matchers
        .map(|matcher| matcher.trim_end_matches('"'))
        .all(|matcher| {
            let (label, value) = matcher.split_once('=').unwrap();
            let found = labels.get(label).map_or("", String::as_str);
            let value = value.trim_start_matches('~').trim_start_matches('"');
            value.split('|').any(|value| value == found)
        })
}
