//! Why a connection cannot be used, in sentences that contain nothing of a Secret. Pure.

use std::fmt;

use crate::pem::PemError;

/// The parts of a connection that come from Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretPart {
    /// `Tls::ca_pem`.
    CaCertificate,
    /// `ClientCertificate::certificate_pem`.
    ClientCertificate,
    /// `ClientCertificate::key_pem`.
    ClientKey,
    /// `ConnectionFields::api_key`.
    ApiKey,
    /// `ProxyCredentials::username`.
    ProxyUsername,
    /// `ProxyCredentials::password`.
    ProxyPassword,
}

impl fmt::Display for SecretPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CaCertificate => "CA certificate",
            Self::ClientCertificate => "client certificate",
            Self::ClientKey => "client key",
            Self::ApiKey => "API key",
            Self::ProxyUsername => "user name for the proxy",
            Self::ProxyPassword => "password for the proxy",
        })
    }
}

/// What is wrong with an API key. The text continues a sentence that begins with "the API key".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// Empty, or only white space.
    #[error("is empty")]
    Empty,
    /// It begins with `Bearer`, which the header adds itself.
    #[error("begins with the word Bearer, which the operator adds itself; store only the key")]
    Bearer,
    /// It is PEM: a certificate or a private key.
    #[error("is PEM; an API key is one line")]
    Pem,
    /// It contains white space.
    #[error("contains a space or a line break")]
    Space,
    /// It contains characters that an HTTP header cannot carry.
    #[error("contains characters that are not visible ASCII")]
    Characters,
}

/// What is wrong with the user name or the password for a proxy. The text continues a sentence that
/// begins with either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyCredentialError {
    /// Empty, or only a line break.
    #[error("is empty")]
    Empty,
    /// A colon ends the user name in the header.
    #[error("contains a colon, which no user name of the scheme Basic can contain")]
    Colon,
    /// It is not UTF-8, or contains control characters.
    #[error("contains a line break or other characters that are not printable text")]
    Characters,
}

/// Why a connection cannot be used. The text names the field and how to fix it. It contains nothing
/// of the Secrets: what is wrong with them is one of a fixed set of sentences.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The address is not `host:port`.
    #[error(
        "address {address:?} is not a valid host:port, as in temporal-frontend.temporal.svc:7233"
    )]
    Address {
        /// The address as given.
        address: String,
    },
    /// The address of the proxy is not `host:port`.
    #[error("proxy.address {address:?} is not a valid host:port, as in proxy.example.com:3128")]
    ProxyAddress {
        /// The address as given.
        address: String,
    },
    /// The user name or the password for the proxy cannot be sent.
    #[error("the {part} {error}")]
    ProxyCredential {
        /// Which of the two.
        part: SecretPart,
        /// What is wrong with it.
        error: ProxyCredentialError,
    },
    /// The Temporal namespace is empty.
    #[error("temporalNamespace is empty; name the Temporal namespace, for example default")]
    TemporalNamespaceEmpty,
    /// An API key without TLS would be sent in plain text.
    #[error(
        "an API key needs TLS, because it would otherwise be sent in plain text; set tls on the \
         connection"
    )]
    ApiKeyWithoutTls,
    /// The API key cannot be sent in an HTTP header.
    #[error("the API key {0}")]
    ApiKey(ApiKeyError),
    /// A PEM text does not hold what it should.
    #[error("the {part} {error}")]
    Pem {
        /// Which part of the connection.
        part: SecretPart,
        /// What is wrong with it.
        error: PemError,
    },
    /// The client key belongs to another certificate.
    #[error("the client certificate and the client key do not match")]
    KeyMismatch,
    /// The client key belongs to a later certificate of the chain.
    #[error(
        "the client certificate is not the first in its chain; put it first, followed by its \
         issuers"
    )]
    ChainOrder,
}

impl ConnectionError {
    /// The part that is wrong, if it comes from a Secret.
    pub const fn part(&self) -> Option<SecretPart> {
        match self {
            Self::Address { .. }
            | Self::ProxyAddress { .. }
            | Self::TemporalNamespaceEmpty
            | Self::ApiKeyWithoutTls => None,
            Self::ApiKey(_) => Some(SecretPart::ApiKey),
            Self::Pem { part, .. } | Self::ProxyCredential { part, .. } => Some(*part),
            Self::KeyMismatch => Some(SecretPart::ClientKey),
            Self::ChainOrder => Some(SecretPart::ClientCertificate),
        }
    }
}
