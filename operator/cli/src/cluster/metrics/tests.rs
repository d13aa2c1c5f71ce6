//! The ways to the metrics, over an API server on loopback that plays port-forwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::{SinkExt as _, StreamExt as _};
use kube::Config;
use parking_lot::Mutex as Lock;
use serde_json::{Value, json};
use taskqueue_kubernetes::client::bounded;
use taskqueue_testkit::api_server::failure;
use taskqueue_testkit::port_forward::{PROTOCOL, accept, message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// What an API server answers.
#[derive(Clone)]
struct Script {
    proxied: (u16, Value),
    lease: (u16, Value),
    pod: (u16, Value),
    /// The refusal of a port-forward.
    forward: Option<(u16, Value)>,
    /// What the node reports about the port.
    report: Option<&'static str>,
    /// Whether the pod leads.
    leads: Arc<AtomicBool>,
}

fn refused(code: u16) -> (u16, Value) {
    (code, failure(code, "Other", "broken"))
}

fn held(holder: &str) -> (u16, Value) {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "tq-leader"},
        "spec": {"holderIdentity": holder},
    });
    (200, lease)
}

fn metrics(leads: bool) -> String {
    format!("taskqueue_operator_leader {}\n", u8::from(leads))
}

impl Script {
    /// The proxy is refused, but a port-forward is not.
    fn new() -> Self {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tq-1"},
            "spec": {"containers": [
                {"name": "sidecar", "ports": [{"name": "admin", "containerPort": 1}]},
                {"name": "operator", "ports": [{"name": "metrics", "containerPort": 9090}]},
            ]},
        });
        Self {
            proxied: refused(403),
            lease: held("tq-1"),
            pod: (200, pod),
            forward: None,
            report: None,
            leads: Arc::new(true.into()),
        }
    }

    async fn serve(self, mut stream: TcpStream, asked: Arc<Lock<Vec<String>>>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        asked.lock().push(path.clone());
        let (status, body) = match path.as_str() {
            path if path.contains("/services/") => self.proxied,
            path if path.contains("/leases/") => self.lease,
            path if path.contains("/portforward") => {
                let Some(refused) = self.forward else {
                    let port = path.rsplit('=').next().unwrap().parse().unwrap();
                    let socket = accept(stream, &head, PROTOCOL, port).await;
                    return play_pod(socket, self.report, &self.leads).await;
                };
                refused
            }
            _ => self.pod,
        };
        let body = match body {
            Value::String(text) => text,
            body => body.to_string(),
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Any\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).await.ok();
    }

    /// The operator in a cluster that answers like this; also the paths that are asked for.
    async fn operator(self) -> (Metrics, Arc<Lock<Vec<String>>>) {
        _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Lock<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(stream, Arc::clone(&kept)));
            }
        });
        let config = Config::new(format!("http://{address}").parse().unwrap());
        let operator = Operator {
            client: bounded(config, LIMIT).unwrap(),
            server: Server::of_kubeconfig(None),
            namespace: "tq-system".to_owned(),
            service: "tq-metrics".to_owned(),
            lease: "tq-leader".to_owned(),
            limit: LIMIT,
            open: Mutex::default(),
        };
        (Metrics::Operator(Arc::new(operator)), asked)
    }
}

/// The other end of a port-forward.
async fn play_pod(
    mut socket: WebSocketStream<TcpStream>,
    report: Option<&str>,
    leads: &AtomicBool,
) {
    if let Some(report) = report {
        socket.send(message(1, report)).await.ok();
    }
    while let Some(Ok(request)) = socket.next().await {
        if matches!(request, Message::Binary(_)) {
            let body = metrics(leads.load(Ordering::Relaxed));
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            socket.send(message(0, &answer)).await.ok();
        }
    }
}

const PROXIED: &str = "/api/v1/namespaces/tq-system/services/tq-metrics:metrics/proxy/metrics";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/tq-system/leases/tq-leader";
const POD: &str = "/api/v1/namespaces/tq-system/pods/tq-1";

fn leading() -> Result<Scrape, String> {
    figures::parse(&metrics(true)).map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_the_proxy_the_leader_is_found_and_read_as_long_as_it_leads() {
    let script = Script::new();
    let leads = Arc::clone(&script.leads);
    let (metrics, asked) = script.operator().await;
    let forward = format!("{POD}/portforward?&ports=9090");
    let whole = [PROXIED, LEASE, POD, &forward];
    assert_eq!(metrics.read().await, leading());
    assert_eq!(std::mem::take(&mut *asked.lock()), whole);
    assert_eq!(metrics.read().await, leading());
    assert_eq!(*asked.lock(), [""; 0], "it is still open");

    leads.store(false, Ordering::Relaxed);
    let lost = "you have no permission to get services/proxy in namespace tq-system; a \
                port-forward to the leader instead failed: pod tq-1, which holds Lease tq-leader, \
                does not lead; ask for that permission, or give --metrics URL";
    assert_eq!(metrics.read().await, Err(lost.to_owned()));
    leads.store(true, Ordering::Relaxed);
    asked.lock().clear();
    assert_eq!(metrics.read().await, leading());
    assert_eq!(std::mem::take(&mut *asked.lock()), whole);
    metrics.close().await;
    assert_eq!(metrics.read().await, leading());
    assert_eq!(*asked.lock(), whole);
}

#[tokio::test]
async fn the_leader_is_found_if_standbys_answer_or_nobody_does_behind_the_service() {
    for (answer, times) in [
        ((200, json!(metrics(false))), 16),
        (refused(404), 1),
        (refused(503), 1),
    ] {
        let script = Script {
            proxied: answer,
            ..Script::new()
        };
        let (metrics, asked) = script.operator().await;
        assert_eq!(metrics.read().await, leading());
        let proxied = asked.lock().iter().filter(|path| *path == PROXIED).count();
        assert_eq!(proxied, times);
    }
}

#[tokio::test]
async fn a_pod_that_may_not_be_read_is_asked_at_the_charts_port() {
    let script = Script {
        pod: refused(403),
        ..Script::new()
    };
    let (metrics, asked) = script.operator().await;
    assert_eq!(metrics.read().await, leading());
    let last = asked.lock().last().cloned();
    assert_eq!(last, Some(format!("{POD}/portforward?&ports=8080")));
}

#[tokio::test]
async fn who_may_do_neither_is_told_which_rights_there_are() {
    const NO_PROXY: &str = "you have no permission to get services/proxy in namespace tq-system; a \
                            port-forward to the leader instead failed: ";
    let lease = |lease| Script {
        lease,
        ..Script::new()
    };
    let table = [
        (
            lease(refused(403)),
            "you have no permission to get leases in namespace tq-system; ask for one of the two \
             permissions, or give --metrics URL",
        ),
        (
            Script {
                forward: Some(refused(403)),
                ..Script::new()
            },
            "you have no permission to get and create pods/portforward in namespace tq-system; ask \
             for one of the two permissions, or give --metrics URL",
        ),
        (
            lease(refused(404)),
            "there is no Lease tq-leader in namespace tq-system; ask for that permission, name the \
             Lease with --lease, or give --metrics URL",
        ),
        (
            lease(held("")),
            "nobody holds Lease tq-leader; ask for that permission, or give --metrics URL",
        ),
        (
            Script {
                pod: refused(404),
                ..Script::new()
            },
            "there is no pod tq-1, which holds Lease tq-leader; ask for that permission, or give \
             --metrics URL",
        ),
        (
            Script {
                report: Some("connection refused"),
                ..Script::new()
            },
            "the node of pod tq-1 cannot connect to its port 9090: connection refused; ask for \
             that permission, or give --metrics URL",
        ),
    ];
    for (script, expected) in table {
        let (metrics, _) = script.operator().await;
        assert_eq!(metrics.read().await, Err(format!("{NO_PROXY}{expected}")));
    }
}

#[tokio::test]
async fn a_failure_that_a_port_forward_would_share_is_reported_alone() {
    for (answer, expected) in [
        (refused(500), "tq-system/tq-metrics: broken"),
        (
            (200, json!("up 1\n")),
            "these are not the metrics of a taskqueue-operator: taskqueue_operator_leader is \
             missing",
        ),
    ] {
        let script = Script {
            proxied: answer,
            ..Script::new()
        };
        let (metrics, asked) = script.operator().await;
        assert_eq!(metrics.read().await, Err(expected.to_owned()));
        assert_eq!(*asked.lock(), [PROXIED]);
    }
}

/// A Service whose first `standbys` connections reach a standby, and all later ones the leader. The
/// replicas keep a connection open for as long as the client wants. Also the number of
/// connections so far.
async fn service(standbys: usize) -> (Metrics, Arc<AtomicUsize>) {
    _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let leads = counted.fetch_add(1, Ordering::Relaxed) >= standbys;
            tokio::spawn(replica(stream, leads));
        }
    });
    let uri: http::Uri = url.parse().unwrap();
    let direct = Direct {
        server: Server::of_metrics(&uri),
        client: bounded(Config::new(uri), LIMIT).unwrap(),
        url,
        path: PATH.to_owned(),
    };
    (Metrics::Direct(Arc::new(direct)), connections)
}

/// Answers every request of a connection.
async fn replica(mut stream: TcpStream, leads: bool) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let body = metrics(leads);
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn standbys_behind_a_url_are_passed_over_by_connecting_again() {
    let (metrics, connections) = service(3).await;
    assert_eq!(metrics.read().await, leading());
    assert_eq!(connections.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_url_behind_which_nobody_leads_is_named_with_the_remedy() {
    let (metrics, connections) = service(usize::MAX).await;
    let said = metrics.read().await.unwrap_err();
    assert!(
        said.starts_with("only standby replicas of the operator answer at http://127.0.0.1:"),
        "{said}"
    );
    assert!(
        said.ends_with("; name the leader with --metrics URL, or try again if none leads yet"),
        "{said}"
    );
    assert_eq!(connections.load(Ordering::Relaxed), 16);
}
