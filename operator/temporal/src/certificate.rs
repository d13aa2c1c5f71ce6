//! When certificates expire. Pure: PEM text and the time in, nothing opened.

mod der;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::connection::ResolvedConnection;

/// What a certificate of a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateUse {
    /// The authorities that the server's certificate is checked with.
    Authority,
    /// The client's own certificate and the intermediates that come with it.
    Client,
}

impl CertificateUse {
    /// The label of the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Client => "client",
        }
    }

    /// What it is called in a sentence.
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
    /// What it is for.
    pub used_as: CertificateUse,
    /// Whose it is, as in `CN=orders, O=Example`.
    pub subject: String,
    /// The last second at which it is valid, since 1970.
    pub not_after: i64,
}

/// Of each use, the certificate that expires first, at the second `now` since 1970. What cannot be
/// read as a certificate says nothing: whether a connection can be used is judged elsewhere.
///
/// Of the authorities one that has expired already is passed over while another is valid: bundles
/// carry old ones along, and what has expired cannot cause an outage that is still to come.
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
            let (not_after, subject) = der::validity(&der)?;
            Some(Expiry {
                used_as,
                subject,
                not_after,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
