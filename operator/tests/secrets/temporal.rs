//! A Temporal server that terminates TLS, refuses every call, and repeats the API key in its
//! refusal.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The name in the server's certificate.
pub(crate) const NAME: &str = "temporal.test";

pub(crate) struct Temporal {
    pub(crate) address: String,
    /// The `authorization` headers received.
    given: Arc<Mutex<Vec<String>>>,
}

impl Temporal {
    pub(crate) fn was_given(&self, api_key: &str) -> bool {
        let given = self.given.lock().unwrap();
        given.iter().any(|header| header.contains(api_key))
    }
}

pub(crate) async fn start(certificate: &str, key: &str) -> Temporal {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let given = Arc::new(Mutex::default());
    let kept = Arc::clone(&given);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(refuse(acceptor.clone(), stream, Arc::clone(&kept)));
        }
    });
    Temporal { address, given }
}

async fn refuse(acceptor: TlsAcceptor, stream: TcpStream, given: Arc<Mutex<Vec<String>>>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let header = request.headers().get("authorization");
        let header = header.map_or("", |header| header.to_str().unwrap());
        given.lock().unwrap().push(header.to_owned());
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "16")
            .header("grpc-message", format!("no such key: {header}"))
            .body(())
            .unwrap();
        respond.send_response(response, true).ok();
    }
}
