//! Certificates of the connection that expire soon: reported by a condition and a metric before
//! they cause an outage. Only those that the operator reads: a client certificate that the workers
//! have for themselves is not among them. Pure; the time is passed in.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use taskqueue_api::connection::CertificateStatus;
use taskqueue_api::fleet::ObjectKind;
use taskqueue_api::{ConditionType, Reason};
use taskqueue_temporal::{CertificateUse, Expiry, SecretPart, expiries};

use crate::metrics::CertificateNumbers;
use crate::observe::connection::{Usable, parts};
use crate::observe::secrets::ObjectName;
use crate::report::conditions::draft::{ConditionDraft, ObservedGeneration, Status};

/// The certificates of a connection at one moment: for each use, the one that expires first.
pub struct Certificates<'a> {
    connection: &'a Usable,
    found: Vec<Certificate>,
    now: Timestamp,
}

/// A certificate, and the object that holds it.
struct Certificate {
    expiry: Expiry,
    object: ObjectName,
}

impl<'a> Certificates<'a> {
    /// Reads them, once for the condition and the metric.
    pub fn of(connection: &'a Usable, now: Timestamp) -> Self {
        let found = expiries(&connection.resolved, now.as_second()).into_iter();
        let found = found.filter_map(|expiry| {
            let part = match expiry.used_as {
                CertificateUse::Authority => SecretPart::CaCertificate,
                CertificateUse::Client => SecretPart::ClientCertificate,
            };
            let place = parts::place(&connection.spec, &connection.namespaces, part)?;
            let object = place.object;
            Some(Certificate { expiry, object })
        });
        Self {
            connection,
            found: found.collect(),
            now,
        }
    }

    /// The condition about them; `None` if there are none. `warning`: how long before its expiry a
    /// certificate is reported.
    pub fn draft(&self, warning: Duration) -> Option<ConditionDraft> {
        let first = self
            .found
            .iter()
            .min_by_key(|found| found.expiry.not_after)?;
        let left = first.expiry.not_after.saturating_sub(self.now.as_second());
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
        let numbers = |found: &Certificate| {
            let ObjectName {
                kind,
                namespace,
                name,
            } = &found.object;
            let name = if self.is_elsewhere(&found.object) {
                format!("{namespace}/{name}")
            } else {
                name.clone()
            };
            let (secret, config_map) = by_kind(*kind, name);
            CertificateNumbers {
                certificate: found.expiry.used_as.as_str(),
                secret: secret.unwrap_or_default(),
                config_map: config_map.unwrap_or_default(),
                expires: found.expiry.not_after,
            }
        };
        self.found.iter().map(numbers).collect()
    }

    /// What a status says about them: the first to expire comes first.
    pub fn statuses(&self) -> Vec<CertificateStatus> {
        let mut found: Vec<&Certificate> = self.found.iter().collect();
        found.sort_by_key(|found| found.expiry.not_after);
        let status = |Certificate { expiry, object }: &Certificate| {
            let (secret_name, config_map_name) = by_kind(object.kind, object.name.clone());
            Some(CertificateStatus {
                used_as: expiry.used_as.as_str().to_owned(),
                secret_name,
                config_map_name,
                not_after: Time(Timestamp::from_second(expiry.not_after).ok()?),
            })
        };
        found.into_iter().filter_map(status).collect()
    }

    fn expires(&self, found: &Certificate) -> String {
        let own = self.connection.spec.operator_credentials.is_some();
        let of_operator = own && found.expiry.used_as == CertificateUse::Client;
        let workers = if of_operator || self.is_elsewhere(&found.object) {
            ""
        } else {
            ", and the workers get it as a file"
        };
        format!(
            "the {} in {} expires at {}; renew it in the {} before that, while the old one is \
             still valid: the operator uses the new one within about 30s{workers}",
            which(&found.expiry),
            self.place(&found.object),
            at(&found.expiry),
            found.object.kind
        )
    }

    fn expired(&self, found: &Certificate) -> String {
        format!(
            "the {} in {} expired at {}: new connections to Temporal fail; renew it in the {}",
            which(&found.expiry),
            self.place(&found.object),
            at(&found.expiry),
            found.object.kind
        )
    }

    /// Whether an object is in another namespace than the fleet.
    fn is_elsewhere(&self, object: &ObjectName) -> bool {
        object.namespace != self.connection.namespaces.fleet
    }

    /// An object as a sentence names it.
    fn place(&self, object: &ObjectName) -> String {
        if self.is_elsewhere(object) {
            object.to_string()
        } else {
            format!("{} {}", object.kind, object.name)
        }
    }
}

/// The name of a Secret, or else of a ConfigMap.
fn by_kind(kind: ObjectKind, name: String) -> (Option<String>, Option<String>) {
    match kind {
        ObjectKind::Secret => (Some(name), None),
        ObjectKind::ConfigMap => (None, Some(name)),
    }
}

/// A certificate by its use and its subject.
fn which(expiry: &Expiry) -> String {
    format!("{} {:?}", expiry.used_as.describe(), expiry.subject)
}

fn at(expiry: &Expiry) -> String {
    Timestamp::from_second(expiry.not_after)
        .map_or_else(|_| "an out-of-range time".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
