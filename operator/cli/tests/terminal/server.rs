//! An API server with one fleet, and its operator: answers every request by its path.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use taskqueue_testkit::resource::resource;

/// A server, until the test ends.
pub(crate) struct Server {
    /// Its URL.
    pub(crate) url: String,
    reads: Arc<AtomicUsize>,
}

impl Server {
    /// How often the fleet was read.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

/// Starts one whose fleet has this many queues: q01 and so on. The backlog of each is its number,
/// and the first one's oldest task has waited for too long.
pub(crate) fn start(queues: usize) -> Server {
    let names: Vec<String> = (1..=queues).map(|number| format!("q{number:02}")).collect();
    let spec = |name: &String| json!({"name": name, "replicas": {"min": 0, "max": 5}});
    let spec: Vec<Value> = names.iter().map(spec).collect();
    let fleets = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorkerList", "metadata": {},
        "items": [resource(&json!(spec))],
    });
    let samples = names.iter().enumerate().map(|(index, name)| {
        let labels = format!(
            "{{namespace=\"shop\",name=\"orders\",queue=\"{name}\",task_queue=\"{name}\",\
             task_type=\"activity\"}}"
        );
        let (backlog, age) = (index + 1, if index == 0 { 60 } else { 0 });
        format!(
            "taskqueue_operator_backlog_tasks{labels} {backlog}\n\
             taskqueue_operator_backlog_age_seconds{labels} {age}\n"
        )
    });
    let metrics: String = std::iter::once("taskqueue_operator_leader 1\n".to_owned())
        .chain(samples)
        .collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reads = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&reads);
    let fleets = fleets.to_string();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let (fleets, metrics, counted) =
                (fleets.clone(), metrics.clone(), Arc::clone(&counted));
            thread::spawn(move || answer(stream, &fleets, &metrics, &counted));
        }
    });
    Server { url, reads }
}

fn answer(mut stream: TcpStream, fleets: &str, metrics: &str, reads: &AtomicUsize) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        head.extend(byte);
    }
    let body = if head.starts_with(b"GET /metrics ") {
        metrics
    } else {
        reads.fetch_add(1, Ordering::Relaxed);
        fleets
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // The client may have gone.
    stream.write_all(answer.as_bytes()).ok();
}
