//! What is needed to talk to one Temporal namespace, resolved and checked.
//!
//! Pure: parses addresses and PEM text, opens nothing. Secrets never reach `Debug` output; a
//! [`Fingerprint`] stands for them wherever something must be compared or named.

use std::fmt;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use temporalio_client::Url;

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

/// How the connection is encrypted. All fields empty means: the public roots of the image,
/// the host of the address as server name, no client certificate.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate, as PEM. Default: the system's roots.
    pub ca_pem: Option<Vec<u8>>,
    /// The name that the server's certificate must carry. Default: the host of the address.
    pub server_name: Option<String>,
    /// The client certificate, for servers that ask for one.
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

/// The connection fields before they are checked; see [`ResolvedConnection::new`].
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
}

/// A connection whose parts have been checked: the address parses, every PEM holds what it
/// should, the client key belongs to the client certificate, and an API key travels encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct ResolvedConnection {
    fields: ConnectionFields,
    target: Url,
    fingerprint: Fingerprint,
}

impl fmt::Debug for ResolvedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedConnection")
            .field("address", &self.fields.address)
            .field("temporal_namespace", &self.fields.temporal_namespace)
            .field("tls", &self.fields.tls)
            .field("api_key", &self.fields.api_key)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Why connection fields cannot be used. The text names the field and the way out; it never
/// holds key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The address is not `host:port`.
    #[error("address {address:?} is not host:port, as in temporal-frontend.temporal.svc:7233")]
    Address {
        /// The address as given.
        address: String,
    },
    /// The Temporal namespace is empty.
    #[error("temporalNamespace is empty; name the Temporal namespace, for example default")]
    TemporalNamespaceEmpty,
    /// An API key without TLS would travel in clear.
    #[error("an API key needs TLS, or it would travel in clear; set tls on the connection")]
    ApiKeyWithoutTls,
    /// An API key that cannot be an HTTP header.
    #[error("the API key is empty or holds characters that an HTTP header cannot carry")]
    ApiKeyMalformed,
    /// A PEM text that does not hold what it should.
    #[error("{field}: {problem}")]
    Pem {
        /// Which part: `CA certificate`, `client certificate` or `client key`.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key do not belong together.
    #[error("client certificate and client key do not belong together: {problem}")]
    KeyMismatch {
        /// What the TLS library said.
        problem: String,
    },
}

impl ResolvedConnection {
    /// Checks the fields.
    ///
    /// # Errors
    /// The first field that cannot be used.
    pub fn new(fields: ConnectionFields) -> Result<Self, ConnectionError> {
        let target = target(&fields)?;
        if fields.temporal_namespace.is_empty() {
            return Err(ConnectionError::TemporalNamespaceEmpty);
        }
        if let Some(key) = &fields.api_key {
            if fields.tls.is_none() {
                return Err(ConnectionError::ApiKeyWithoutTls);
            }
            api_key_text(key)?;
        }
        if let Some(tls) = &fields.tls {
            check_tls(tls)?;
        }
        let fingerprint = Fingerprint::of(&fields);
        Ok(Self {
            fields,
            target,
            fingerprint,
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

    /// Stands for the credential: two connections with the same fingerprint may share a channel.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Which reader and call budget the connection belongs to.
    pub fn place(&self) -> Place {
        Place {
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
}

/// One Temporal namespace at one address: the unit that shares a reader and a call budget.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// `host:port` of the Temporal frontend.
    pub address: String,
    /// The Temporal namespace.
    pub temporal_namespace: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.temporal_namespace)
    }
}

/// SHA-256 over everything that decides who we are towards the server: TLS settings, client
/// certificate and key, API key. Printed as its first eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(fields: &ConnectionFields) -> Self {
        let mut hash = Sha256::new();
        // Each part goes in with its length, so that no two different sets run together.
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
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
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
    // The port must be written: Url drops a scheme's default one, so ask the text itself.
    let (host, port) = fields.address.rsplit_once(':').ok_or_else(malformed)?;
    if host.is_empty() || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(malformed());
    }
    if fields.address.contains(['/', '@', '?', '#', '\\', ' ']) {
        return Err(malformed());
    }
    Url::parse(&format!("{scheme}://{}", fields.address)).map_err(|_| malformed())
}

/// The key as a header value. A trailing newline is what `kubectl create secret --from-file`
/// leaves behind; it is never part of a key.
fn api_key_text(key: &Secret) -> Result<String, ConnectionError> {
    let text = std::str::from_utf8(key.expose()).map_err(|_| ConnectionError::ApiKeyMalformed)?;
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConnectionError::ApiKeyMalformed);
    }
    Ok(text.to_owned())
}

fn check_tls(tls: &Tls) -> Result<(), ConnectionError> {
    if let Some(ca) = &tls.ca_pem {
        certificates("CA certificate", ca)?;
    }
    let Some(client) = &tls.client else {
        return Ok(());
    };
    let chain = certificates("client certificate", &client.certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(client.key_pem.expose()).map_err(|error| {
        ConnectionError::Pem {
            field: "client key",
            problem: error.to_string(),
        }
    })?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .map(drop)
        .map_err(|error| ConnectionError::KeyMismatch {
            problem: error.to_string(),
        })
}

fn certificates(
    field: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ConnectionError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| ConnectionError::Pem {
            field,
            problem: error.to_string(),
        })?;
    if found.is_empty() {
        let problem = "holds no PEM block BEGIN CERTIFICATE".to_owned();
        return Err(ConnectionError::Pem { field, problem });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
