//! The Kubernetes client through a proxy on loopback, to an API server that only the proxy finds.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Config};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;
use crate::client::{CALL, bounded};
use crate::kube_error::describe;

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}"#;

/// Reads a head of HTTP.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers one request with a pod.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    head(&mut stream).await;
    let length = POD.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{POD}");
    stream.write_all(answer.as_bytes()).await.ok();
    // Keeps the connection until the client ends it.
    stream.read_u8().await.ok();
}

/// An API server with TLS whose certificate is for `api.test`; also that certificate.
async fn api_server() -> (String, Vec<u8>) {
    let names = vec!["api.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream).await;
                }
            });
        }
    });
    (address, certificate.to_vec())
}

/// A proxy that connects every tunnel to `server`, or answers with `answer` instead; also the
/// requests that it gets.
async fn proxy(server: String, answer: Option<&'static str>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let request = head(&mut client).await;
            kept.lock().push(request);
            if let Some(answer) = answer {
                client.write_all(answer.as_bytes()).await.ok();
                continue;
            }
            let mut server = TcpStream::connect(&server).await.unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok();
            tokio::spawn(async move {
                let copied = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                copied.ok();
            });
        }
    });
    (address, requests)
}

/// Reads a pod from an API server through a proxy.
async fn read(server: &str, certificate: Option<Vec<u8>>, proxy: Option<&str>) -> String {
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(server.parse().unwrap());
    config.root_cert = certificate.map(|certificate| vec![certificate]);
    config.proxy_url = proxy.map(|proxy| proxy.parse().unwrap());
    let pods = Api::<Pod>::namespaced(bounded(config, CALL).unwrap(), "shop");
    match pods.get("a").await {
        Ok(pod) => pod.metadata.name.unwrap(),
        Err(error) => describe(&error),
    }
}

#[tokio::test]
async fn a_server_is_reached_through_the_tunnel_with_tls_to_the_server_itself() {
    let (server, certificate) = api_server().await;
    let (proxy, requests) = proxy(server, None).await;
    let url = format!("http://user:a%20password@{proxy}");
    let pod = read("https://api.test", Some(certificate), Some(&url)).await;
    assert_eq!(pod, "a");
    assert_eq!(
        *requests.lock(),
        ["CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\
          proxy-authorization: Basic dXNlcjphIHBhc3N3b3Jk\r\n\r\n"]
    );
}

#[tokio::test]
async fn a_server_without_tls_is_reached_through_a_tunnel_to_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    let (proxy, requests) = proxy(server.clone(), None).await;
    let url = format!("http://{proxy}");
    assert_eq!(read("http://api.test", None, Some(&url)).await, "a");
    let asked = "CONNECT api.test:80 HTTP/1.1\r\nhost: api.test:80\r\n\r\n";
    assert_eq!(*requests.lock(), [asked]);
    let direct = format!("http://{server}");
    assert_eq!(read(&direct, None, None).await, "a");
    assert_eq!(*requests.lock(), [asked]);
}

#[tokio::test]
async fn an_error_says_what_the_proxy_does_and_what_to_do() {
    let remedy = "check proxy-url of the kubeconfig and HTTPS_PROXY";
    let credentials = "write them into its URL, http://USER:PASSWORD@HOST:PORT, in proxy-url of \
                       the kubeconfig or HTTPS_PROXY";
    let table = [
        (
            "",
            "HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n",
            format!("the proxy PROXY requires a user name and password (HTTP 407); {credentials}"),
        ),
        (
            "user:wrong-password@",
            "HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n",
            format!(
                "the proxy PROXY requires another user name and password (HTTP 407); {credentials}"
            ),
        ),
        (
            "",
            "HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n",
            "the proxy PROXY does not connect to api.test:443 (HTTP 403); ask who runs it to allow \
             that, or add the server's host to NO_PROXY"
                .to_owned(),
        ),
        (
            "",
            "220 mail.example.com ESMTP\r\n",
            format!("the proxy PROXY gives no answer in HTTP; {remedy}"),
        ),
        (
            "",
            "",
            format!("the proxy PROXY gives no answer in HTTP; {remedy}"),
        ),
    ];
    for (user, answer, expected) in table {
        let (proxy, _) = proxy(String::new(), Some(answer)).await;
        let url = format!("http://{user}{proxy}");
        let text = read("https://api.test", None, Some(&url)).await;
        assert_eq!(text.replace(&proxy, "PROXY"), expected);
    }
    // Bound and closed again, so that nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unused = closed.local_addr().unwrap().to_string();
    drop(closed);
    let text = read("https://api.test", None, Some(&format!("http://{unused}"))).await;
    assert_eq!(
        text.replace(&unused, "PROXY"),
        format!(
            "the proxy PROXY cannot be reached: Connection refused (os error 111); {remedy}, or \
             add the server's host to NO_PROXY"
        )
    );
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let proxy = Proxy::parse(&address).unwrap();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let mut connector = Connector::new(tcp, Some(proxy));
    connector.limit = Duration::from_millis(100);
    let error = connector.oneshot("https://api.test".parse().unwrap()).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "the proxy {address} does not answer; check proxy-url of the kubeconfig and \
             HTTPS_PROXY, or add the server's host to NO_PROXY"
        )
    );
}
