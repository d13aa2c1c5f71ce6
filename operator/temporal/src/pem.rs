//! Extracts certificates and private keys from PEM text, and classifies what is wrong with it.
//! Pure.
//!
//! The text comes from Secrets. The PEM library's errors quote the offending line, which can be a
//! whole key, so they are dropped here. A [`PemError`] is one of a fixed set of sentences: it
//! cannot hold any input.

mod der;
mod diagnosis;
mod error;
mod key_type;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

use crate::pem::error::Expected;

pub use error::{Block, PemError};
pub use key_type::KeyType;

/// The certificates in a PEM text: at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok()
        .filter(|all| !all.is_empty())
        .ok_or_else(|| diagnosis::of(pem, Expected::Certificate))
}

/// Checks that a PEM text holds at least one usable CA certificate. The others may be unusable, as
/// they often are in bundles.
pub(crate) fn check_authorities(pem: &[u8]) -> Result<(), PemError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates(pem)?);
    if usable == 0 {
        return Err(PemError::UnreadableCertificate);
    }
    Ok(())
}

/// The private key in a PEM text, ready to sign.
pub(crate) fn signing_key(pem: &[u8]) -> Result<Arc<dyn SigningKey>, PemError> {
    let der =
        PrivateKeyDer::from_pem_slice(pem).map_err(|_| diagnosis::of(pem, Expected::PrivateKey))?;
    let supported = key_type::supported(&der);
    default_provider()
        .key_provider
        .load_private_key(der)
        .map_err(|_| match supported {
            Some(Err(key_type)) => PemError::UnsupportedKey(key_type),
            Some(Ok(())) | None => PemError::UnreadableKey,
        })
}

#[cfg(test)]
pub(crate) mod tests;
