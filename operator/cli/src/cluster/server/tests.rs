//! Failures as they happen, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use taskqueue_kubernetes::client::bounded;
use taskqueue_testkit::api_server::{api, failure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

/// Where there is no network, a resolver may take its time.
const LIMIT: Duration = Duration::from_mins(1);

/// The two sentences about a call to a server: if the kubeconfig names it, and if `--metrics` does.
async fn sentences(config: Config, limit: Duration) -> [String; 2] {
    _ = rustls::crypto::ring::default_provider().install_default();
    let url = config.cluster_url.clone();
    let error = call(bounded(config, limit).unwrap()).await;
    let servers = [Server::of_kubeconfig(Some(&url)), Server::of_metrics(&url)];
    servers.map(|server| server.describe(&error))
}

async fn call(client: Client) -> kube::Error {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    client.request_text(request).await.unwrap_err()
}

fn config(url: &str) -> Config {
    Config::new(url.parse().unwrap())
}

#[tokio::test]
async fn a_server_that_does_not_run_refuses_the_connection() {
    // Nobody listens on a port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(
        sentences(config(&format!("http://{address}")), LIMIT).await,
        [
            format!(
                "the API server {address} refuses the connection; check its host and port in the \
                 kubeconfig, and whether it runs"
            ),
            format!(
                "the server {address} refuses the connection; check its host and port in \
                 --metrics, and whether it runs"
            ),
        ]
    );
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let [said, _] = sentences(config("https://api.invalid"), LIMIT).await;
    assert_eq!(
        said,
        "the host name of the API server api.invalid:443 does not resolve; check it in the \
         kubeconfig, and the DNS or VPN of this machine"
    );
}

#[tokio::test]
async fn a_silent_server_is_named_with_the_flag_that_allows_more_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(300);
    let [said, _] = sentences(config(&format!("http://{address}")), limit).await;
    assert_eq!(
        said,
        format!(
            "the API server {address} did not answer within 300ms; allow more with \
             --request-timeout, or try again later"
        )
    );
}

#[test]
fn a_server_behind_a_firewall_is_named_with_what_may_be_missing() {
    let said = |kind| {
        let error = io::Error::other(io::Error::from(kind));
        Server::of_kubeconfig(None).describe(&kube::Error::Service(error.into()))
    };
    assert_eq!(
        said(ErrorKind::TimedOut),
        "the API server cannot be reached in time; check its host and port in the kubeconfig, and \
         whether this machine needs a VPN or a proxy"
    );
    assert_eq!(
        said(ErrorKind::HostUnreachable),
        "no route leads to the API server; check its host in the kubeconfig, and whether this \
         machine needs a VPN or a proxy"
    );
    assert_eq!(said(ErrorKind::BrokenPipe), "broken pipe");
}

/// A server with a certificate for this name, that `signer` has signed; also the certificate.
async fn tls_server(name: &str, signer: &str, expired: bool) -> (SocketAddr, Vec<u8>) {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let subject = &mut parameters.distinguished_name;
    subject.push(rcgen::DnType::CommonName, signer);
    if expired {
        parameters.not_after = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            acceptor.accept(stream).await.ok();
        }
    });
    (address, certificate.to_vec())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_named_with_the_reason() {
    _ = rustls::crypto::ring::default_provider().install_default();
    // With the same name, only the signature is wrong.
    for other in ["a", "b"] {
        let (address, _) = tls_server("127.0.0.1", "a", false).await;
        let (_, other) = tls_server("127.0.0.1", other, false).await;
        let mut foreign = config(&format!("https://{address}"));
        foreign.root_cert = Some(vec![other]);
        let untrusted = "is not trusted: it is signed by an unknown authority; ";
        assert_eq!(
            sentences(foreign, LIMIT).await,
            [
                format!(
                    "the certificate of the API server {address} {untrusted}check \
                     certificate-authority and certificate-authority-data in the kubeconfig"
                ),
                format!(
                    "the certificate of the server {address} {untrusted}this machine must trust \
                     who signed it"
                ),
            ]
        );
    }
    let (address, certificate) = tls_server("127.0.0.1", "a", true).await;
    let mut old = config(&format!("https://{address}"));
    old.root_cert = Some(vec![certificate]);
    let [said, _] = sentences(old, LIMIT).await;
    assert_eq!(
        said,
        format!(
            "the certificate of the API server {address} has expired; who runs the server must \
             renew it, unless the clock of this machine is wrong"
        )
    );
    let (address, certificate) = tls_server("api.test", "a", false).await;
    let mut misnamed = config(&format!("https://{address}"));
    misnamed.root_cert = Some(vec![certificate]);
    assert_eq!(
        sentences(misnamed, LIMIT).await,
        [
            format!(
                "the certificate of the API server {address} is for another host; check the host \
                 in the kubeconfig, or set tls-server-name there"
            ),
            format!(
                "the certificate of the server {address} is for another host; check the host in \
                 --metrics"
            ),
        ]
    );
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_not_trusted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 4096];
            assert!(stream.read(&mut hello).await.unwrap() > 0);
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.ok();
            // Keeps the connection until the client ends it.
            stream.read_u8().await.ok();
        }
    });
    let [_, said] = sentences(config(&format!("https://{address}")), LIMIT).await;
    assert_eq!(
        said,
        format!(
            "the server {address} does not speak TLS; if it has none, its URL in --metrics begins \
             with http://"
        )
    );
}

#[tokio::test]
async fn an_expired_token_is_told_from_a_missing_right() {
    let (client, _) = api(|_| (401, failure(401, "Unauthorized", "Unauthorized")));
    let error = call(client).await;
    let url = "https://api.test:6443".parse().unwrap();
    assert_eq!(
        Server::of_kubeconfig(Some(&url)).describe(&error),
        "the API server api.test:6443 does not accept who you are (HTTP 401): the token or \
         certificate of the kubeconfig's user is wrong or has expired; log in again"
    );
    assert_eq!(Server::of_metrics(&url).describe(&error), "Unauthorized");
}

#[tokio::test]
async fn another_failure_is_told_by_its_causes_without_the_names_of_layers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
        }
    });
    let [said, _] = sentences(config(&format!("http://{address}")), LIMIT).await;
    assert_eq!(said, "connection closed before message completed");
}
