//! A checked connection to one Temporal namespace, with its credential.
//!
//! Pure: parses addresses and PEM text, opens nothing. Secrets never reach `Debug` output, and no
//! [`ConnectionError`] can hold any part of one; a [`CredentialId`] replaces them wherever they
//! must be compared or identified.

mod error;

use std::fmt;
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SigningKey};
use sha2::{Digest, Sha256};
use temporalio_client::Url;

use crate::pem::{self, PemError};

pub use error::{ApiKeyError, ConnectionError, ProxyCredentialError, SecretPart};

/// Bytes that must not be printed: a private key or an API key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A client certificate and its key, both as PEM, for mutual TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, leaf first, intermediates after it.
    pub certificate_pem: Vec<u8>,
    /// The private key that belongs to the leaf.
    pub key_pem: Secret,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate")
            .field(
                "certificate_pem",
                &format_args!("{} bytes", self.certificate_pem.len()),
            )
            .field("key_pem", &self.key_pem)
            .finish()
    }
}

/// How the connection is encrypted. With all fields empty: the public root CAs of the image, the
/// host of the address as server name, no client certificate.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The CA that signed the server's certificate, as PEM. Default: the system's root CAs.
    pub ca_pem: Option<Vec<u8>>,
    /// The name that the server's certificate must carry. Default: the host of the address.
    pub server_name: Option<String>,
    /// The client certificate, for servers that require one.
    pub client: Option<ClientCertificate>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field(
                "ca_pem",
                &self
                    .ca_pem
                    .as_ref()
                    .map(|pem| format!("{} bytes", pem.len())),
            )
            .field("server_name", &self.server_name)
            .field("client", &self.client)
            .finish()
    }
}

/// An HTTP proxy that connects to the server for us, by the method CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `host:port` of the proxy, which is spoken to in plaintext.
    pub address: String,
    /// What the proxy requires, if anything.
    pub credentials: Option<ProxyCredentials>,
}

/// The user name and the password for a proxy, sent in the scheme Basic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user name.
    pub username: Secret,
    /// The password.
    pub password: Secret,
}

/// The unchecked fields of a connection; see [`ResolvedConnection::new`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFields {
    /// `host:port` of the Temporal frontend.
    pub address: String,
    /// The Temporal namespace.
    pub temporal_namespace: String,
    /// TLS settings; `None` is plaintext.
    pub tls: Option<Tls>,
    /// API key, sent as a bearer token with every call. Needs TLS.
    pub api_key: Option<Secret>,
    /// The proxy to connect through; `None` is a direct connection.
    pub proxy: Option<Proxy>,
}

/// A checked connection: the addresses parse, every PEM text holds what it should, the client key
/// belongs to the client certificate, and an API key is only sent encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct ResolvedConnection {
    fields: ConnectionFields,
    target: Url,
    credential_id: CredentialId,
}

impl fmt::Debug for ResolvedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedConnection")
            .field("address", &self.fields.address)
            .field("temporal_namespace", &self.fields.temporal_namespace)
            .field("tls", &self.fields.tls)
            .field("api_key", &self.fields.api_key)
            .field("proxy", &self.fields.proxy)
            .field("credential_id", &self.credential_id)
            .finish_non_exhaustive()
    }
}

impl ResolvedConnection {
    /// Checks the fields.
    ///
    /// # Errors
    /// The first problem found.
    pub fn new(fields: ConnectionFields) -> Result<Self, ConnectionError> {
        let target = target(&fields)?;
        if fields.temporal_namespace.is_empty() {
            return Err(ConnectionError::TemporalNamespaceEmpty);
        }
        if let Some(key) = &fields.api_key {
            if fields.tls.is_none() {
                return Err(ConnectionError::ApiKeyWithoutTls);
            }
            api_key_text(key).map_err(ConnectionError::ApiKey)?;
        }
        if let Some(tls) = &fields.tls {
            check_tls(tls)?;
        }
        if let Some(proxy) = &fields.proxy {
            check_proxy(proxy)?;
        }
        let credential_id = CredentialId::of(&fields);
        Ok(Self {
            fields,
            target,
            credential_id,
        })
    }

    /// `host:port` of the Temporal frontend.
    pub fn address(&self) -> &str {
        &self.fields.address
    }

    /// The Temporal namespace.
    pub fn temporal_namespace(&self) -> &str {
        &self.fields.temporal_namespace
    }

    /// TLS settings; `None` is plaintext.
    pub fn tls(&self) -> Option<&Tls> {
        self.fields.tls.as_ref()
    }

    /// Identifies the credential: two connections to the same server and Temporal namespace with
    /// the same credential may share a channel.
    pub fn credential_id(&self) -> CredentialId {
        self.credential_id
    }

    /// The server and Temporal namespace whose reader and call budget the connection uses.
    pub fn server_namespace(&self) -> ServerNamespace {
        ServerNamespace {
            address: self.fields.address.clone(),
            temporal_namespace: self.fields.temporal_namespace.clone(),
        }
    }

    pub(crate) fn target(&self) -> &Url {
        &self.target
    }

    pub(crate) fn api_key(&self) -> Option<String> {
        self.fields
            .api_key
            .as_ref()
            .and_then(|key| api_key_text(key).ok())
    }

    /// The proxy to connect through; `None` is a direct connection.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.fields.proxy.as_ref()
    }

    /// The user name and the password for the proxy.
    pub(crate) fn proxy_credentials(&self) -> Option<(String, String)> {
        let credentials = self.proxy()?.credentials.as_ref()?;
        let username = proxy_text(&credentials.username).ok()?;
        let password = proxy_text(&credentials.password).ok()?;
        Some((username, password))
    }

    /// Whether a text contains the API key or the password for the proxy, or 12 characters of them
    /// in a row.
    pub(crate) fn shows_credential(&self, text: &str) -> bool {
        const PART: usize = 12;
        let password = self.proxy_credentials().map(|(_, password)| password);
        self.api_key().into_iter().chain(password).any(|secret| {
            let mut parts = secret.as_bytes().windows(PART.min(secret.len()));
            let shown = |part: &[u8]| text.as_bytes().windows(part.len()).any(|seen| seen == part);
            parts.any(shown)
        })
    }
}

/// One Temporal namespace at one address: the unit that shares a reader and a call budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerNamespace {
    /// `host:port` of the Temporal frontend.
    pub address: String,
    /// The Temporal namespace.
    pub temporal_namespace: String,
}

impl fmt::Display for ServerNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.temporal_namespace)
    }
}

/// SHA-256 of everything that identifies us to the server and to the proxy before it: TLS settings,
/// client certificate and key, API key, the proxy with its credentials. Printed as its first eight
/// hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialId([u8; 32]);

impl CredentialId {
    fn of(fields: &ConnectionFields) -> Self {
        let mut hash = Sha256::new();
        // Each part is hashed with its length, so that no two different sets of parts give the same
        // input.
        let mut part = |bytes: Option<&[u8]>| match bytes {
            None => hash.update([0]),
            Some(bytes) => {
                hash.update([1]);
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes);
            }
        };
        let tls = fields.tls.as_ref();
        let client = tls.and_then(|tls| tls.client.as_ref());
        part(tls.map(|_| &[][..]));
        part(tls.and_then(|tls| tls.ca_pem.as_deref()));
        part(
            tls.and_then(|tls| tls.server_name.as_deref())
                .map(str::as_bytes),
        );
        part(client.map(|client| client.certificate_pem.as_slice()));
        part(client.map(|client| client.key_pem.expose()));
        part(fields.api_key.as_ref().map(Secret::expose));
        let proxy = fields.proxy.as_ref();
        let credentials = proxy.and_then(|proxy| proxy.credentials.as_ref());
        part(proxy.map(|proxy| proxy.address.as_bytes()));
        part(credentials.map(|credentials| credentials.username.expose()));
        part(credentials.map(|credentials| credentials.password.expose()));
        Self(hash.finalize().into())
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialId({self})")
    }
}

fn target(fields: &ConnectionFields) -> Result<Url, ConnectionError> {
    let malformed = || ConnectionError::Address {
        address: fields.address.clone(),
    };
    let scheme = if fields.tls.is_some() {
        "https"
    } else {
        "http"
    };
    url(scheme, &fields.address).ok_or_else(malformed)
}

/// The URL of a `host:port`.
fn url(scheme: &str, address: &str) -> Option<Url> {
    // The port must be written out. Url drops the scheme's default port, so check the text itself.
    let (host, port) = address.rsplit_once(':')?;
    if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
        return None;
    }
    if address.contains(['/', '@', '?', '#', '\\', ' ']) {
        return None;
    }
    Url::parse(&format!("{scheme}://{address}")).ok()
}

fn check_proxy(proxy: &Proxy) -> Result<(), ConnectionError> {
    if url("http", &proxy.address).is_none() {
        return Err(ConnectionError::ProxyAddress {
            address: proxy.address.clone(),
        });
    }
    let Some(ProxyCredentials { username, password }) = &proxy.credentials else {
        return Ok(());
    };
    let of = |part| move |error| ConnectionError::ProxyCredential { part, error };
    let of_username = of(SecretPart::ProxyUsername);
    if proxy_text(username).map_err(of_username)?.contains(':') {
        return Err(of_username(ProxyCredentialError::Colon));
    }
    proxy_text(password).map_err(of(SecretPart::ProxyPassword))?;
    Ok(())
}

/// A user name or a password as it is sent. `kubectl create secret --from-file` keeps a trailing
/// newline, which is never part of it.
fn proxy_text(secret: &Secret) -> Result<String, ProxyCredentialError> {
    let text =
        std::str::from_utf8(secret.expose()).map_err(|_| ProxyCredentialError::Characters)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        Err(ProxyCredentialError::Empty)
    } else if text.contains(char::is_control) {
        Err(ProxyCredentialError::Characters)
    } else {
        Ok(text.to_owned())
    }
}

/// The key as a header value. `kubectl create secret --from-file` keeps a trailing newline, which
/// is never part of a key.
fn api_key_text(key: &Secret) -> Result<String, ApiKeyError> {
    let text = std::str::from_utf8(key.expose()).map_err(|_| ApiKeyError::Characters)?;
    let text = text.trim();
    if text.is_empty() {
        Err(ApiKeyError::Empty)
    } else if text.contains("-----BEGIN") {
        Err(ApiKeyError::Pem)
    } else if text
        .split_whitespace()
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("bearer"))
    {
        Err(ApiKeyError::Bearer)
    } else if text.contains(char::is_whitespace) {
        Err(ApiKeyError::Space)
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(ApiKeyError::Characters)
    } else {
        Ok(text.to_owned())
    }
}

fn check_tls(tls: &Tls) -> Result<(), ConnectionError> {
    let of = |part| move |error| ConnectionError::Pem { part, error };
    if let Some(ca) = &tls.ca_pem {
        pem::check_authorities(ca).map_err(of(SecretPart::CaCertificate))?;
    }
    let Some(client) = &tls.client else {
        return Ok(());
    };
    let of_certificate = of(SecretPart::ClientCertificate);
    let chain = pem::certificates(&client.certificate_pem).map_err(of_certificate)?;
    let key = pem::signing_key(client.key_pem.expose()).map_err(of(SecretPart::ClientKey))?;
    match belong_together(&chain, &key) {
        Ok(true) => Ok(()),
        Ok(false) if chain.iter().skip(1).any(|other| belongs_to(other, &key)) => {
            Err(ConnectionError::ChainOrder)
        }
        Ok(false) => Err(ConnectionError::KeyMismatch),
        Err(error) => Err(of_certificate(error)),
    }
}

/// Whether the first certificate belongs to the key. Assumes so if the key cannot tell.
fn belong_together(
    chain: &[CertificateDer<'static>],
    key: &Arc<dyn SigningKey>,
) -> Result<bool, PemError> {
    match CertifiedKey::new(chain.to_vec(), Arc::clone(key)).keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(true),
        Err(rustls::Error::InconsistentKeys(_)) => Ok(false),
        Err(_) => Err(PemError::UnreadableCertificate),
    }
}

fn belongs_to(certificate: &CertificateDer<'static>, key: &Arc<dyn SigningKey>) -> bool {
    belong_together(std::slice::from_ref(certificate), key).unwrap_or(false)
}

#[cfg(test)]
mod tests;
