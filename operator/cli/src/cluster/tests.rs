//! The flags, and whole commands against an API server on loopback.

use std::sync::Arc;

use clap::Parser;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::color::Ink;
use crate::top;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: top::Arguments,
}

fn arguments(line: &[&str]) -> Result<top::Arguments, String> {
    let line = std::iter::once("top").chain(line.iter().copied());
    let parsed = Line::try_parse_from(line);
    parsed
        .map(|line| line.arguments)
        .map_err(|error| error.to_string())
}

#[test]
fn the_flags_of_kubectl_select_what_they_select_there() {
    let none = arguments(&[]).unwrap().cluster;
    assert_eq!(none.selection(), Selection::default());
    assert_eq!(none.request_timeout, None);
    let line = "--kubeconfig file --context a --cluster b --user c --as d --as-group e \
                --as-group f --request-timeout 5 -n shop -A -l team=shop";
    let line: Vec<&str> = line.split_whitespace().collect();
    let all = arguments(&line).unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        all.cluster.selection(),
        Selection {
            kubeconfig: Some("file".into()),
            context: some("a"),
            cluster: some("b"),
            user: some("c"),
            impersonate: some("d"),
            impersonate_groups: vec!["e".to_owned(), "f".to_owned()],
        }
    );
    assert_eq!(all.cluster.request_timeout, Some(Duration::from_secs(5)));
    assert_eq!(all.cluster.namespace, some("shop"));
    assert_eq!(
        (all.all_namespaces, all.selector),
        (true, some("team=shop"))
    );
    let alone = arguments(&["--as-group", "e"]).unwrap_err();
    assert!(alone.contains("--as <USER>"), "{alone}");
}

/// An API server without fleets that answers each connection once; also the heads of its requests.
async fn api_server() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            kept.lock().push(String::from_utf8(head).unwrap());
            let list = r#"{"apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorkerList",
                "metadata": {}, "items": []}"#;
            let length = list.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{list}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, heads)
}

#[tokio::test]
async fn a_command_asks_as_whom_and_for_what_the_flags_say() {
    _ = rustls::crypto::ring::default_provider().install_default();
    let (address, heads) = api_server().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kubeconfig");
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    let line = [
        "--kubeconfig",
        file.to_str().unwrap(),
        "--context=c",
        "--as=jane",
        "--as-group=a",
        "--as-group=b",
        "--selector=team=shop",
    ];
    let arguments = arguments(&line).unwrap();
    let cluster = Cluster::connect(&arguments.cluster).await.unwrap();
    let text = top::once(&cluster, &arguments, Ink::PLAIN).await;
    assert_eq!(
        text.unwrap(),
        "There are no fleets in namespace shop with the labels team=shop.\n"
    );
    let heads = heads.lock();
    let list = heads.iter().find(|head| head.contains("taskqueueworkers"));
    let list: Vec<&str> = list.unwrap().lines().collect();
    assert_eq!(
        list[0],
        "GET /apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers?\
         &labelSelector=team%3Dshop&limit=250 HTTP/1.1"
    );
    let mut impersonated: Vec<&str> = list
        .into_iter()
        .filter(|line| line.starts_with("impersonate-"))
        .collect();
    impersonated.sort_unstable();
    assert_eq!(
        impersonated,
        [
            "impersonate-group: a",
            "impersonate-group: b",
            "impersonate-user: jane"
        ]
    );
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_named() {
    let line = ["--kubeconfig", "/nowhere/kubeconfig"];
    let arguments = arguments(&line).unwrap();
    let error = Cluster::connect(&arguments.cluster).await.map(|_| ());
    assert_eq!(
        error.unwrap_err().to_string(),
        "cannot use the kubeconfig: /nowhere/kubeconfig cannot be read: No such file or directory \
         (os error 2)"
    );
}
