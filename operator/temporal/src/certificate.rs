//! When certificates expire. Pure: takes PEM text and the time, opens nothing.
//!
//! The text comes from Secrets. The parser's errors may quote a certificate that it cannot read, so
//! they are dropped.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::asn1_rs::Oid;
use x509_parser::oid_registry::{
    OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_ORGANIZATION_NAME,
    OID_X509_ORGANIZATIONAL_UNIT,
};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use crate::connection::ResolvedConnection;

/// What a connection uses a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateUse {
    /// A CA that verifies the server's certificate.
    Authority,
    /// The client's own certificate, or an intermediate that comes with it.
    Client,
}

impl CertificateUse {
    /// The value of the metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Client => "client",
        }
    }

    /// The name to use in a sentence.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Authority => "CA certificate",
            Self::Client => "client certificate",
        }
    }
}

/// The certificate of a connection that expires first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What the connection uses it for.
    pub used_as: CertificateUse,
    /// Its subject, as in `CN=orders, O=Example`.
    pub subject: String,
    /// The last second at which it is valid, since 1970.
    pub not_after: i64,
}

/// For each use, the certificate that expires first; `now` is in seconds since 1970. Skips what
/// cannot be read as a certificate: whether a connection is usable is decided elsewhere.
///
/// Ignores expired CAs while another one is valid: bundles carry old ones along, and one that has
/// already expired cannot cause a future outage.
pub fn expiries(connection: &ResolvedConnection, now: i64) -> Vec<Expiry> {
    let Some(tls) = connection.tls() else {
        return Vec::new();
    };
    let authority = tls.ca_pem.as_deref().and_then(|pem| {
        let all = certificates(CertificateUse::Authority, pem);
        let valid = all.iter().filter(|one| one.not_after >= now);
        first(valid).or_else(|| first(all.iter()))
    });
    let client = tls.client.as_ref().and_then(|client| {
        first(certificates(CertificateUse::Client, &client.certificate_pem).iter())
    });
    authority.into_iter().chain(client).collect()
}

fn first<'a>(all: impl Iterator<Item = &'a Expiry>) -> Option<Expiry> {
    all.min_by_key(|one| one.not_after).cloned()
}

fn certificates(used_as: CertificateUse, pem: &[u8]) -> Vec<Expiry> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter_map(|der| {
            let (_, certificate) = X509Certificate::from_der(&der).ok()?;
            Some(Expiry {
                used_as,
                subject: name(certificate.subject()),
                not_after: certificate.validity().not_after.timestamp(),
            })
        })
        .collect()
}

/// The parts of a name that are printed.
static NAMES: [(Oid<'_>, &str); 4] = [
    (OID_X509_COMMON_NAME, "CN"),
    (OID_X509_ORGANIZATION_NAME, "O"),
    (OID_X509_ORGANIZATIONAL_UNIT, "OU"),
    (OID_X509_COUNTRY_NAME, "C"),
];

/// A name in the usual form, limited to the parts above: `CN=orders, O=Example`.
fn name(name: &X509Name<'_>) -> String {
    let parts = name.iter_attributes().filter_map(|attribute| {
        let (_, word) = NAMES.iter().find(|(oid, _)| oid == attribute.attr_type())?;
        let value = String::from_utf8_lossy(attribute.as_slice());
        Some(format!("{word}={value}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
