//! Certificate authorities for the tests, and server configurations with their certificates.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// The name in the certificates of servers, for `TEMPORAL_TLS_SERVER_NAME`.
pub const SERVER_NAME: &str = "temporal.test";

/// A certificate authority.
pub struct Authority {
    /// Its certificate in PEM.
    pub ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority with a new key.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap().pem();
        Self {
            ca,
            issuer: Issuer::new(params, key),
        }
    }

    /// Issues a certificate and a key for a name.
    pub fn sign(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    /// The configuration of a server that accepts any client.
    pub fn open_server(&self) -> Arc<ServerConfig> {
        self.open_server_for(SERVER_NAME)
    }

    /// Like `open_server`, with another name in the certificate.
    pub fn open_server_for(&self, name: &str) -> Arc<ServerConfig> {
        let (cert, key) = self.sign(name);
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate(&cert)], private_key(&key));
        with_http2(config.unwrap())
    }

    /// The configuration of a server that accepts only clients of this CA.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.server_for_clients_of(&[self])
    }

    /// The configuration of a server that accepts only clients of these CAs.
    pub fn server_for_clients_of(&self, authorities: &[&Self]) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(certificate(&authority.ca)).unwrap();
        }
        let clients = WebPkiClientVerifier::builder(Arc::new(roots));
        let (cert, key) = self.sign(SERVER_NAME);
        let config = ServerConfig::builder()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(vec![certificate(&cert)], private_key(&key));
        with_http2(config.unwrap())
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn private_key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn with_http2(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
