//! Certificates of the connection that expire soon: reported by a condition and a metric before
//! they cause an outage. Pure; the time is passed in.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use taskqueue_api::connection::CertificateStatus;
use taskqueue_api::fleet::ObjectKind;
use taskqueue_api::{ConditionType, Connection, Reason};
use taskqueue_temporal::{CertificateUse, Expiry, expiries};

use crate::metrics::CertificateNumbers;
use crate::observe::connection::Usable;
use crate::report::conditions::draft::{ConditionDraft, ObservedGeneration, Status};

/// The certificates of a connection at one moment: for each use, the one that expires first.
pub struct Certificates<'a> {
    connection: &'a Usable,
    found: Vec<Expiry>,
    now: Timestamp,
}

impl<'a> Certificates<'a> {
    /// Reads them, once for the condition and the metric.
    pub fn of(connection: &'a Usable, now: Timestamp) -> Self {
        Self {
            connection,
            found: expiries(&connection.resolved, now.as_second()),
            now,
        }
    }

    /// The condition about them; `None` if there are none. `warning`: how long before its expiry a
    /// certificate is reported.
    pub fn draft(&self, warning: Duration) -> Option<ConditionDraft> {
        let first = self.found.iter().min_by_key(|expiry| expiry.not_after)?;
        let left = first.not_after.saturating_sub(self.now.as_second());
        let warns = i64::try_from(warning.as_secs()).unwrap_or(i64::MAX);
        let (status, reason, message) = if left < 0 {
            (Status::True, Reason::Expired, self.expired(first))
        } else if left <= warns {
            (Status::True, Reason::ExpiresSoon, self.expires(first))
        } else {
            let message = "no certificate of the connection expires soon".to_owned();
            (Status::False, Reason::CertificatesValid, message)
        };
        Some(ConditionDraft {
            kind: ConditionType::CertificateExpiring,
            status,
            reason,
            message,
            note: None,
            about: ObservedGeneration::Current,
            queue: None,
        })
    }

    /// The numbers for the metric.
    pub fn numbers(&self) -> Vec<CertificateNumbers> {
        let numbers = |expiry: &Expiry| {
            let (secret, config_map) = self.names(expiry);
            CertificateNumbers {
                certificate: expiry.used_as.as_str(),
                secret: secret.unwrap_or_default(),
                config_map: config_map.unwrap_or_default(),
                expires: expiry.not_after,
            }
        };
        self.found.iter().map(numbers).collect()
    }

    /// What a status says about them: the first to expire comes first.
    pub fn statuses(&self) -> Vec<CertificateStatus> {
        let mut found: Vec<&Expiry> = self.found.iter().collect();
        found.sort_by_key(|expiry| expiry.not_after);
        let status = |expiry: &Expiry| {
            let (secret_name, config_map_name) = self.names(expiry);
            Some(CertificateStatus {
                used_as: expiry.used_as.as_str().to_owned(),
                secret_name,
                config_map_name,
                not_after: Time(Timestamp::from_second(expiry.not_after).ok()?),
            })
        };
        found.into_iter().filter_map(status).collect()
    }

    /// The name of the Secret, or of the ConfigMap, that holds a certificate.
    fn names(&self, expiry: &Expiry) -> (Option<String>, Option<String>) {
        let (kind, name) = object(&self.connection.spec, expiry.used_as);
        let name = Some(name.to_owned());
        match kind {
            ObjectKind::Secret => (name, None),
            ObjectKind::ConfigMap => (None, name),
        }
    }

    fn expires(&self, expiry: &Expiry) -> String {
        let (kind, name) = object(&self.connection.spec, expiry.used_as);
        format!(
            "the {} in {kind} {name} expires at {}; renew it in the {kind} before that, while the \
             old one is still valid: the operator uses the new one within about 30s, and the \
             workers get it as a file",
            which(expiry),
            at(expiry)
        )
    }

    fn expired(&self, expiry: &Expiry) -> String {
        let (kind, name) = object(&self.connection.spec, expiry.used_as);
        format!(
            "the {} in {kind} {name} expired at {}: new connections to Temporal fail; renew it in \
             the {kind}",
            which(expiry),
            at(expiry)
        )
    }
}

/// A certificate by its use and its subject.
fn which(expiry: &Expiry) -> String {
    format!("{} {:?}", expiry.used_as.describe(), expiry.subject)
}

/// The object that holds the certificates of one use.
fn object(spec: &Connection, used_as: CertificateUse) -> (ObjectKind, &str) {
    let tls = spec.tls.as_ref();
    let object = match used_as {
        CertificateUse::Authority => tls
            .and_then(|tls| tls.ca.as_ref())
            .map(|ca| (ca.kind, ca.name.as_str())),
        CertificateUse::Client => tls
            .and_then(|tls| tls.client_certificate.as_deref())
            .map(|secret| (ObjectKind::Secret, secret)),
    };
    object.unwrap_or((ObjectKind::Secret, ""))
}

fn at(expiry: &Expiry) -> String {
    Timestamp::from_second(expiry.not_after)
        .map_or_else(|_| "an out-of-range time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
