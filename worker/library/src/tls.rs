//! TLS to Temporal with files that may change while the process runs: each handshake uses the
//! current client certificate and CA. Reads files; opens no socket.
//!
//! rustls-cert-reloadable-resolver (0.7.1) does not fit: it resolves server certificates only, and
//! does not handle the CA.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use temporalio_client::{ClientTlsOptions, TlsOptions};

use crate::environment::SettingError;
use crate::settings::{Pem, TemporalSettings, TlsSettings};

/// The ALPN name of HTTP/2, which gRPC needs.
const HTTP2: &[u8] = b"h2";

/// One of the settings that hold PEM. Its variables end in `_PATH` and `_DATA`.
struct Setting<'a> {
    name: &'static str,
    pem: &'a Pem,
}

impl Setting<'_> {
    fn read(&self) -> Result<Vec<u8>, SettingError> {
        match self.pem {
            Pem::Value(bytes) => Ok(bytes.clone()),
            Pem::File(path) => std::fs::read(path)
                .map_err(|error| self.unusable(format!("which cannot be read: {}", error.kind()))),
        }
    }

    /// The error for this setting. `problem` is a relative clause.
    fn unusable(&self, problem: impl std::fmt::Display) -> SettingError {
        let name = self.name;
        match self.pem {
            Pem::File(path) => SettingError::new(
                &format!("TEMPORAL_TLS_{name}_PATH"),
                format!("names {}, {problem}", path.display()),
            ),
            Pem::Value(_) => SettingError::new(
                &format!("TEMPORAL_TLS_{name}_DATA"),
                format!("holds a value {problem}"),
            ),
        }
    }
}

/// The files as last read. Clones share the content.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    settings: TlsSettings,
    current: Arc<RwLock<Current>>,
}

#[derive(Clone, Debug)]
struct Current {
    bytes: Vec<Vec<u8>>,
    client: Option<Arc<CertifiedKey>>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl TlsFiles {
    /// Reads and checks all files.
    pub(crate) fn load(settings: &TlsSettings) -> Result<Self, SettingError> {
        let current = Current::read(settings)?;
        Ok(Self {
            settings: settings.clone(),
            current: Arc::new(RwLock::new(current)),
        })
    }

    /// Reads the files again; true if something changed. On an error the previous content stays.
    pub(crate) fn reload(&self) -> Result<bool, SettingError> {
        let fresh = Current::read(&self.settings)?;
        let mut current = self.current.write();
        let changed = current.bytes != fresh.bytes;
        if changed {
            *current = fresh;
        }
        Ok(changed)
    }

    /// The client certificate and its key as last read, as PEM.
    fn client_pem(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.settings.client.as_ref()?;
        // They are the last two that are read.
        match self.current().bytes.as_slice() {
            [.., certificate, key] => Some((certificate.clone(), key.clone())),
            _ => None,
        }
    }

    fn current(&self) -> Current {
        self.current.read().clone()
    }
}

impl Current {
    fn read(settings: &TlsSettings) -> Result<Self, SettingError> {
        let mut bytes = Vec::new();
        let mut read = |name, pem| {
            let setting = Setting { name, pem };
            let content = setting.read()?;
            bytes.push(content.clone());
            Ok::<_, SettingError>((setting, content))
        };
        let verifier = match &settings.ca {
            None => None,
            Some(ca) => {
                let (setting, ca) = read("SERVER_CA_CERT", ca)?;
                Some(verifier_of(&ca).map_err(|problem| setting.unusable(problem))?)
            }
        };
        let client = match &settings.client {
            None => None,
            Some((cert, key)) => {
                let (setting, cert) = read("CLIENT_CERT", cert)?;
                let (_, key) = read("CLIENT_KEY", key)?;
                Some(client_of(&cert, &key).map_err(|problem| setting.unusable(problem))?)
            }
        };
        Ok(Self {
            bytes,
            client,
            verifier,
        })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let list: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match list {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err("which holds no PEM certificate".to_owned()),
    }
}

fn verifier_of(pem: &[u8]) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots
            .add(certificate)
            .map_err(|_| "which holds a certificate that is not a CA's".to_owned())?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| format!("which cannot be used: {error}"))
}

fn client_of(cert: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, String> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| no_key(key).to_owned())?;
    let signer = any_supported_type(&key).map_err(|_| {
        "whose key is damaged, or of a type that is not supported (supported: RSA of 2048 to 4096 \
         bits, ECDSA on P-256 or P-384, Ed25519)"
            .to_owned()
    })?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        // rustls cannot compare an unknown kind of key; the handshake will show whether it fits.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err("which does not belong to the key of TEMPORAL_TLS_CLIENT_KEY_*".to_owned())
        }
        Err(_) => Err("which holds a certificate that cannot be read".to_owned()),
    }
}

/// Why a text holds no private key. The parser's own error quotes the offending line, which can be
/// the whole key.
fn no_key(pem: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(pem);
    let text = text.trim();
    let begin = text
        .split(['\n', '\r'])
        .find(|line| line.contains("-----BEGIN"));
    let joined = begin
        .map(str::trim_end)
        .is_some_and(|line| line.matches("-----").count() != 2 || !line.ends_with("-----"));
    if text.is_empty() {
        "whose key is empty"
    } else if text.contains("ENCRYPTED") {
        "whose key is encrypted; store it without a passphrase"
    } else if joined {
        "whose key has lost its line breaks"
    } else {
        "whose key holds no PEM private key"
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A TLS configuration for these files, for connections that the client library does not open.
pub(crate) fn client_config(files: &TlsFiles) -> Result<ClientConfig, rustls::Error> {
    let settings = &files.settings;
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if settings.ca.is_some() {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ReloadingVerifier(files.clone())))
    } else {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        builder.with_root_certificates(roots)
    };
    let mut config = if settings.client.is_some() {
        builder.with_client_cert_resolver(Arc::new(ReloadingCertificate(files.clone())))
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    Ok(config)
}

/// The client library's TLS options for these files.
pub(crate) fn options(files: &TlsFiles, settings: &TemporalSettings) -> TlsOptions {
    let tls = settings.tls.clone().unwrap_or_default();
    let verifier: Option<Arc<dyn ServerCertVerifier>> = tls
        .ca
        .is_some()
        .then(|| Arc::new(ReloadingVerifier(files.clone())) as Arc<_>);
    // The client library takes no certificate that may change if it connects through a proxy.
    let is_fixed = settings.proxy.is_some();
    let fixed = files.client_pem().filter(|_| is_fixed);
    let fixed = fixed.map(|(certificate, key)| {
        ClientTlsOptions::builder()
            .client_cert(certificate)
            .client_private_key(key)
            .build()
    });
    let resolver: Option<Arc<dyn ResolvesClientCert>> = (tls.client.is_some() && !is_fixed)
        .then(|| Arc::new(ReloadingCertificate(files.clone())) as Arc<_>);
    TlsOptions::builder()
        .maybe_domain(tls.server_name)
        .maybe_server_cert_verifier(verifier)
        .maybe_client_tls_options(fixed)
        .maybe_client_cert_resolver(resolver)
        .build()
}

/// Presents the current client certificate.
#[derive(Debug)]
struct ReloadingCertificate(TlsFiles);

impl ResolvesClientCert for ReloadingCertificate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.current().client
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Verifies the server's certificate against the current CA.
#[derive(Debug)]
struct ReloadingVerifier(TlsFiles);

impl ReloadingVerifier {
    fn current(&self) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
        self.0
            .current()
            .verifier
            .ok_or_else(|| rustls::Error::General("no CA is set".to_owned()))
    }
}

impl ServerCertVerifier for ReloadingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.current()?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.current()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
