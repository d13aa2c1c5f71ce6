//! Connections that fail, over real sockets on loopback: each cause has its own name.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use taskqueue_testkit::exposure::exposed;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::connection::{ClientCertificate, ConnectionFields, Secret, Tls};
use crate::fault::Fault;

mod through_proxy;

/// The name in the servers' certificates.
const NAME: &str = "temporal.test";

/// A CA.
struct Authority {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
type Signed = (String, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            pem: params.self_signed(&key).unwrap().pem(),
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }
}

/// The server side of TLS with this certificate and these protocols. Requires client certificates
/// of `clients` if that is given.
fn server(of: &Signed, protocols: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(of.1.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(certificate(&authority.pem)).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = builder
        .with_single_cert(vec![certificate(&of.0)], key)
        .unwrap();
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves every connection with `way`, on a port of its own; returns the address.
async fn serve<F>(way: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    serve_on("127.0.0.1:0", way).await
}

async fn serve_on<F>(address: &str, way: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(way(stream));
        }
    });
    address
}

/// Speaks HTTP/1, like a web interface.
async fn http1(mut stream: TcpStream) {
    let mut received = [0; 1024];
    if stream.read(&mut received).await.is_ok_and(|read| read > 0) {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer).await.ok();
    }
}

/// Speaks HTTP/2 and answers everything with these headers. `{key}` becomes the request's
/// `authorization`.
async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin, status: u16, headers: &[(&str, &str)]) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let key = request.headers().get("authorization");
        let key = key.map_or("", |key| key.to_str().unwrap());
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, value.replace("{key}", key));
        }
        respond.send_response(response.body(()).unwrap(), true).ok();
    }
}

async fn https(acceptor: TlsAcceptor, stream: TcpStream) {
    if let Ok(stream) = acceptor.accept(stream).await {
        http2(
            stream,
            200,
            &[
                ("content-type", "application/grpc"),
                ("grpc-status", "16"),
                ("grpc-message", "no such key: {key}"),
            ],
        )
        .await;
    }
}

fn plain(address: &str) -> ConnectionFields {
    ConnectionFields {
        address: address.to_owned(),
        temporal_namespace: "default".to_owned(),
        ..ConnectionFields::default()
    }
}

/// Connection fields that trust a CA.
fn trusting(address: &str, authority: &Authority) -> ConnectionFields {
    ConnectionFields {
        tls: Some(Tls {
            ca_pem: Some(authority.pem.clone().into_bytes()),
            server_name: Some(NAME.to_owned()),
            client: None,
        }),
        ..plain(address)
    }
}

fn with_client(mut fields: ConnectionFields, (certificate, key): Signed) -> ConnectionFields {
    fields.tls.as_mut().unwrap().client = Some(ClientCertificate {
        certificate_pem: certificate.into_bytes(),
        key_pem: Secret::new(key),
    });
    fields
}

async fn failure(fields: ConnectionFields) -> CallError {
    let connection = ResolvedConnection::new(fields).unwrap();
    TemporalClient::new("test")
        .describe(&connection, "orders", TaskType::Activity)
        .await
        .unwrap_err()
}

async fn fault(fields: ConnectionFields) -> Option<Fault> {
    let failure = failure(fields).await;
    println!("{failure}");
    failure.fault
}

#[tokio::test]
async fn a_tls_mismatch_with_the_server_is_recognized() {
    let authority = Authority::new();
    let signed = authority.sign(|_| {});
    let tls = server(&signed, &["h2"], None);
    let encrypted = serve(move |stream| https(tls.clone(), stream)).await;
    assert_eq!(fault(plain(&encrypted)).await, Some(Fault::ServerWantsTls));

    // Like Go's servers: does not answer anything that is not a ClientHello.
    let tls = server(&signed, &["h2"], None);
    let terse = serve(move |stream| {
        let tls = tls.clone();
        async move {
            let mut first = [0];
            stream.peek(&mut first).await.unwrap();
            if first == [22] {
                https(tls, stream).await;
            }
        }
    })
    .await;
    assert_eq!(fault(plain(&terse)).await, Some(Fault::ServerWantsTls));

    let plaintext = serve(|stream| async {
        http2(stream, 200, &[]).await;
    })
    .await;
    assert_eq!(
        fault(trusting(&plaintext, &authority)).await,
        Some(Fault::ServerWithoutTls)
    );
    let failure = failure(trusting(&plaintext, &authority)).await;
    assert_eq!(
        failure.to_string(),
        "Connect failed with Unavailable: the connection has tls, but the server at this address \
         does not use TLS"
    );
    assert_eq!(failure.kind, CallErrorKind::Unavailable);
}

#[tokio::test]
async fn an_ipv6_address_in_brackets_works_with_and_without_tls() {
    let authority = Authority::new();
    let by_address = authority.sign(|params| {
        let ip = std::net::Ipv6Addr::LOCALHOST.into();
        params.subject_alt_names = vec![rcgen::SanType::IpAddress(ip)];
    });
    let tls = server(&by_address, &["h2"], None);
    let address = serve_on("[::1]:0", move |stream| https(tls.clone(), stream)).await;
    let mut fields = trusting(&address, &authority);
    fields.tls.as_mut().unwrap().server_name = None;
    assert_eq!(failure(fields).await.kind, CallErrorKind::Denied);
    let plaintext = serve_on("[::1]:0", |stream| async {
        let headers = [("content-type", "application/grpc"), ("grpc-status", "16")];
        http2(stream, 200, &headers).await;
    })
    .await;
    assert_eq!(failure(plain(&plaintext)).await.kind, CallErrorKind::Denied);
    // The probe reaches it too.
    assert_eq!(fault(plain(&address)).await, Some(Fault::ServerWantsTls));
}

#[tokio::test]
async fn an_http_server_instead_of_grpc_is_recognized() {
    let authority = Authority::new();
    let address = serve(http1).await;
    assert_eq!(fault(plain(&address)).await, Some(Fault::NotGrpc));
    assert_eq!(
        fault(trusting(&address, &authority)).await,
        Some(Fault::NotGrpc)
    );

    let address = serve(|stream| async {
        http2(stream, 404, &[("content-type", "text/html")]).await;
    })
    .await;
    assert_eq!(fault(plain(&address)).await, Some(Fault::NotGrpc));

    for protocols in [&["http/1.1"][..], &[]] {
        let tls = server(&authority.sign(|_| {}), protocols, None);
        let address = serve(move |stream| https(tls.clone(), stream)).await;
        let found = fault(trusting(&address, &authority)).await;
        assert_eq!(found, Some(Fault::NotGrpc), "{protocols:?}");
    }
}

#[tokio::test]
async fn problems_of_the_servers_certificate_are_recognized() {
    let (authority, other) = (Authority::new(), Authority::new());
    let own = (authority.pem.clone(), authority.key_pem.clone());
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = authority.sign(|params| params.not_before = date_time_ymd(2090, 1, 1));
    let elsewhere = CertificateParams::new(vec!["elsewhere.test".to_owned()]).unwrap();
    let elsewhere = authority.sign(|params| *params = elsewhere);
    for (signed, expected) in [
        (own, Fault::CaAsServer),
        (other.sign(|_| {}), Fault::UnknownIssuer),
        (expired, Fault::ServerExpired),
        (early, Fault::ServerNotYetValid),
        (elsewhere.clone(), Fault::OtherName),
    ] {
        let tls = server(&signed, &["h2"], None);
        let address = serve(move |stream| https(tls.clone(), stream)).await;
        assert_eq!(fault(trusting(&address, &authority)).await, Some(expected));
    }
    let tls = server(&elsewhere, &["h2"], None);
    let address = serve(move |stream| https(tls.clone(), stream)).await;
    let message = failure(trusting(&address, &authority)).await.message;
    let begins = "the server's certificate is for another name (";
    assert!(
        message.starts_with(begins) && message.contains("elsewhere.test"),
        "{message}"
    );
}

#[tokio::test]
async fn a_missing_or_untrusted_client_certificate_is_recognized() {
    let (authority, other) = (Authority::new(), Authority::new());
    let tls = server(&authority.sign(|_| {}), &["h2"], Some(&authority));
    let address = serve(move |stream| https(tls.clone(), stream)).await;
    let bare = trusting(&address, &authority);
    assert_eq!(
        fault(bare.clone()).await,
        Some(Fault::ClientCertificateMissing)
    );
    let strange = with_client(bare.clone(), other.sign(|_| {}));
    assert_eq!(fault(strange).await, Some(Fault::ClientCertificateRefused));
    let expired = authority.sign(|params| params.not_after = date_time_ymd(2020, 1, 1));
    let expired = with_client(bare.clone(), expired);
    assert_eq!(fault(expired).await, Some(Fault::ClientCertificateRefused));
    // With the right certificate the server gets as far as denying the call.
    let right = failure(with_client(bare, authority.sign(|_| {}))).await;
    assert_eq!((right.kind, right.fault), (CallErrorKind::Denied, None));
}

#[tokio::test]
async fn a_failure_that_passes_by_itself_has_no_fault() {
    let closed = serve(|stream| async { drop(stream) }).await;
    let authority = Authority::new();
    assert_eq!(fault(plain(&closed)).await, None);
    assert_eq!(fault(trusting(&closed, &authority)).await, None);
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap().to_string();
    drop(unused);
    assert_eq!(fault(plain(&address)).await, None);
    assert_eq!(fault(trusting(&address, &authority)).await, None);
    let busy = serve(|stream| async {
        http2(stream, 503, &[]).await;
    })
    .await;
    assert_eq!(fault(plain(&busy)).await, None);
}

#[tokio::test]
async fn an_api_key_in_a_servers_message_is_not_repeated() {
    let key = "an-api-key-that-nobody-may-see";
    let authority = Authority::new();
    let tls = server(&authority.sign(|_| {}), &["h2"], None);
    let address = serve(move |stream| https(tls.clone(), stream)).await;
    let fields = ConnectionFields {
        api_key: Some(Secret::new(key)),
        ..trusting(&address, &authority)
    };
    let failure = failure(fields).await;
    assert_eq!(failure.kind, CallErrorKind::Denied);
    let shown = format!("{failure} {failure:?}");
    assert_eq!(exposed(&[key.as_bytes()], &shown), None, "{shown}");
    // Without a key to hide, the server's message is shown.
    let failure = self::failure(trusting(&address, &authority)).await;
    assert_eq!(failure.message, "no such key: ");
}
