//! The Kubernetes client against servers on loopback that answer badly or not at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, WatchParams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;

/// A server that writes this to every connection once it has read a request, and then keeps the
/// connection open.
async fn server(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer, Arc::clone(&counted)));
        }
    });
    (address, requests)
}

async fn serve(mut stream: TcpStream, answer: &'static str, requests: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        requests.fetch_add(1, Ordering::Relaxed);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn pods(address: SocketAddr, call: Duration) -> Api<Pod> {
    let uri = format!("http://{address}").parse().unwrap();
    Api::namespaced(bounded(Config::new(uri), call).unwrap(), "shop")
}

const AWAY: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 60\r\n\r\n";
const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
const WATCH: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
const SHORT: Duration = Duration::from_millis(300);

fn ring() {
    // Fails in every test but the first, which does no harm.
    drop(rustls::crypto::ring::default_provider().install_default());
}

#[tokio::test]
async fn a_call_to_an_unavailable_server_fails_at_once_without_a_retry() {
    ring();
    let (address, requests) = server(AWAY).await;
    let began = Instant::now();
    let error = pods(address, CALL).get("a").await.unwrap_err();
    assert!(
        matches!(&error, kube::Error::Api(status) if status.code == 503),
        "{error}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_call_without_a_complete_answer_times_out() {
    ring();
    for answer in ["", HALF] {
        let (address, requests) = server(answer).await;
        let error = pods(address, SHORT).get("a").await.unwrap_err();
        let text = format!("{:#}", anyhow::Error::new(error));
        assert!(
            text.contains("did not answer within 300ms"),
            "{answer:?}: {text}"
        );
        assert_eq!(requests.load(Ordering::Relaxed), 1, "{answer:?}");
    }
}

/// Records the calls, without their durations.
#[derive(Default)]
struct Calls(parking_lot::Mutex<Vec<(String, String)>>);

impl Observer for Calls {
    fn call(&self, operation: Operation, code: &str, _: Duration) {
        let Operation { verb, resource, .. } = operation;
        self.0
            .lock()
            .push((format!("{verb} {resource}"), code.to_owned()));
    }
}

#[tokio::test]
async fn each_call_is_observed_with_its_operation_and_its_outcome() {
    ring();
    let calls = Arc::<Calls>::default();
    for answer in [EMPTY, AWAY, "", WATCH, "no HTTP\r\n\r\n"] {
        let (address, _) = server(answer).await;
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let client = build(config, Limits::of_calls(SHORT), Some(calls.clone())).unwrap();
        let pods = Api::<Pod>::namespaced(client, "shop");
        if answer == WATCH {
            drop(pods.watch(&WatchParams::default(), "0").await.unwrap());
        } else {
            pods.get("a").await.unwrap_err();
        }
    }
    let (address, _) = server("").await;
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let client = build(config, Limits::of_calls(CALL), Some(calls.clone())).unwrap();
    let pods = Api::<Pod>::namespaced(client, "shop");
    let answer = tokio::time::timeout(SHORT, pods.get("a")).await;
    assert!(answer.is_err(), "there is no answer");
    let calls = calls.0.lock();
    let calls: Vec<String> = calls
        .iter()
        .map(|(operation, code)| format!("{operation} {code}"))
        .collect();
    assert_eq!(
        calls,
        [
            "get pods 404",
            "get pods 503",
            "get pods timeout",
            "watch pods 200",
            "get pods error",
            "get pods abandoned"
        ]
    );
}

#[tokio::test]
async fn a_watch_may_last_but_must_begin_in_time() {
    ring();
    let (address, _) = server(WATCH).await;
    let pods = pods(address, SHORT);
    let events = pods.watch(&WatchParams::default(), "0").await.unwrap();
    let mut events = std::pin::pin!(events);
    let silent = tokio::time::timeout(SHORT * 4, futures::StreamExt::next(&mut events)).await;
    assert!(silent.is_err(), "it goes on: {silent:?}");

    let (address, _) = server("").await;
    let began = super::tests::pods(address, SHORT)
        .watch(&WatchParams::default(), "0")
        .await;
    assert!(began.is_err());
}

#[tokio::test]
async fn a_list_has_more_time_than_a_call() {
    ring();
    let (address, _) = server("").await;
    let pods = pods(address, SHORT);
    let page = ListParams::default().limit(500);
    let listed = tokio::time::timeout(SHORT * 4, pods.list(&page)).await;
    assert!(listed.is_err(), "it is still waited for: {listed:?}");
}

#[tokio::test]
async fn a_limit_for_everything_ends_a_list_as_well() {
    ring();
    let (address, _) = server("").await;
    let config = Config::new(format!("http://{address}").parse().unwrap());
    let pods = Api::<Pod>::namespaced(limited(config, SHORT).unwrap(), "shop");
    let error = pods.list(&ListParams::default().limit(500)).await;
    let text = format!("{:#}", anyhow::Error::new(error.unwrap_err()));
    assert!(text.contains("did not answer within 300ms"), "{text}");
}

/// Checks in /proc/net/tcp how the kernel treats the client's connections: the timer of an idle
/// connection is that of keep-alive (2), and it fires within the interval.
#[tokio::test]
async fn an_idle_connection_is_probed() {
    ring();
    let (address, _) = server(EMPTY).await;
    let pods = pods(address, CALL);
    assert!(pods.get("a").await.is_err());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let remote = format!("0100007F:{:04X}", address.port());
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = row
        .into_iter()
        .find(|row| row.get(2) == Some(&remote.as_str()));
    let timer = row.unwrap()[5].to_owned();
    let (kind, fires) = timer.split_once(':').unwrap();
    let hundredths = u64::from_str_radix(fires, 16).unwrap();
    assert_eq!(kind, "02", "{timer}");
    assert!(Duration::from_millis(hundredths * 10) <= PROBE, "{timer}");
}
