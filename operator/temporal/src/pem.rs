//! Takes certificates and private keys out of PEM text, and says by kind what is wrong with it. Pure.
//!
//! The text comes from Secrets. The PEM library quotes the line that it stumbles over, which can be a whole
//! key, so its errors are dropped here. A [`PemProblem`] is one of fixed sentences: it has no room for input.

mod diagnosis;
mod key_type;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

pub use key_type::KeyType;

/// What a PEM text is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Certificate,
    PrivateKey,
}

/// What is wrong with a PEM text. Its text continues a sentence that begins with what the PEM is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PemProblem {
    /// Nothing, or nothing but white space.
    Empty,
    /// DER, PKCS#12 or another binary format.
    Binary,
    /// UTF-16.
    Utf16,
    /// UTF-8 with a byte order mark, which no PEM parser expects.
    ByteOrderMark,
    /// The base64 of a PEM text.
    EncodedTwice,
    /// No line that begins a block.
    NoBlock,
    /// Line breaks became the characters `\n`, spaces, or nothing.
    LineBreaksLost,
    /// The line that begins or ends a block is indented, has text before it, or lacks its dashes.
    DamagedMarker,
    /// The line that ends the block is missing, or ends a block of another kind.
    NoEnd,
    /// Something between the two lines is not base64.
    NotBase64,
    /// The block is of another kind.
    Instead(Block),
    /// The key is protected by a passphrase.
    Encrypted,
    /// The key is of a type that the TLS library does not know.
    UnsupportedKey(KeyType),
    /// The content of the block is not a private key, or a damaged one.
    UnreadableKey,
    /// The content of the block is not a certificate, or a damaged one.
    UnreadableCertificate,
}

/// Blocks that are found where a certificate or a private key should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// A certificate.
    Certificate,
    /// A private key.
    PrivateKey,
    /// A private key in the format of OpenSSH.
    OpenSshKey,
    /// A public key.
    PublicKey,
    /// A certificate signing request.
    Request,
    /// Parameters of an elliptic curve, without the key.
    Parameters,
    /// Anything else.
    Other,
}

impl Block {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "a certificate",
            Self::PrivateKey => "a private key",
            Self::OpenSshKey => "a private key in the format of OpenSSH",
            Self::PublicKey => "a public key",
            Self::Request => "a certificate signing request",
            Self::Parameters => "the parameters of a key without the key",
            Self::Other => "a PEM block of another kind",
        }
    }
}

impl fmt::Display for PemProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Binary => "is binary, as DER and PKCS#12 are; convert it to PEM",
            Self::Utf16 => "is UTF-16 text; store it as UTF-8",
            Self::ByteOrderMark => {
                "begins with a byte order mark; store it as UTF-8 without that mark"
            }
            Self::EncodedTwice => {
                "is base64 of PEM; store the PEM itself under stringData, or its base64 under data"
            }
            Self::NoBlock => "holds no PEM block; its first line must begin with -----BEGIN",
            Self::LineBreaksLost => {
                "has lost its line breaks, which became \\n, spaces or nothing; store the file as it is, for example with kubectl create secret and --from-file"
            }
            Self::DamagedMarker => {
                "has a damaged -----BEGIN or -----END line; nothing may stand before it, and it must end in five dashes"
            }
            Self::NoEnd => "was cut off: the -----END line that belongs to -----BEGIN is missing",
            Self::NotBase64 => "holds something between -----BEGIN and -----END that is not base64",
            Self::Instead(block) => return write!(f, "holds {} instead", block.as_str()),
            Self::Encrypted => {
                "is encrypted with a passphrase; store it decrypted, as openssl pkey writes it"
            }
            Self::UnsupportedKey(key_type) => {
                return write!(
                    f,
                    "is {}, which is not supported; use {SUPPORTED_KEYS}",
                    key_type.as_str()
                );
            }
            Self::UnreadableKey => {
                "cannot be read as a private key: it is damaged, or its public part is missing"
            }
            Self::UnreadableCertificate => {
                "cannot be read as a certificate: it is damaged, or not X.509 of version 3"
            }
        })
    }
}

/// What ring signs with.
const SUPPORTED_KEYS: &str = "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, or Ed25519";

/// The certificates in a PEM text: at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| diagnosis::of(pem, Wanted::Certificate))
}

/// Checks that a PEM text holds the certificate of an authority. A bundle may hold others beside it that
/// cannot be used, as bundles do.
pub(crate) fn check_authorities(pem: &[u8]) -> Result<(), PemProblem> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(pem)?);
    if usable == 0 {
        return Err(PemProblem::UnreadableCertificate);
    }
    Ok(())
}

/// The private key in a PEM text, ready to sign.
pub(crate) fn signing_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, PemProblem> {
    let der =
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| diagnosis::of(pem, Wanted::PrivateKey))?;
    let supported = key_type::supported(&der);
    default_provider()
        .key_provider
        .load_private_key(der)
        .map_err(|_| match supported {
            Some(Err(key_type)) => PemProblem::UnsupportedKey(key_type),
            Some(Ok(())) | None => PemProblem::UnreadableKey,
        })
}

#[cfg(test)]
pub(crate) mod tests;
