//! Certificates of the connection that expire soon: a condition and a metric before it is an outage.
//! Pure; the time is passed in.

use std::time::Duration;

use jiff::Timestamp;
use taskqueue_api::{ConditionType, Connection, Reason};
use taskqueue_temporal::{CertificateUse, Expiry, expiries};

use crate::metrics::CertificateNumbers;
use crate::observe::connection::Usable;
use crate::report::conditions::{Status, Verdict};

/// What is said about the certificates of a connection; `None` if it has none.
pub fn verdict(connection: &Usable, warning: Duration, now: Timestamp) -> Option<Verdict> {
    let found = expiries(&connection.resolved, now.as_second());
    let first = found.iter().min_by_key(|expiry| expiry.not_after)?;
    let left = first.not_after.saturating_sub(now.as_second());
    let warns = i64::try_from(warning.as_secs()).unwrap_or(i64::MAX);
    let (status, reason, message) = if left < 0 {
        (Status::True, Reason::Expired, expired(connection, first))
    } else if left <= warns {
        (
            Status::True,
            Reason::ExpiresSoon,
            expires(connection, first),
        )
    } else {
        let message = "no certificate of the connection expires soon".to_owned();
        (Status::False, Reason::CertificatesValid, message)
    };
    Some(Verdict {
        kind: ConditionType::CertificateExpiring,
        status,
        reason,
        message,
        note: None,
    })
}

/// The numbers of the metric.
pub fn numbers(connection: &Usable, now: Timestamp) -> Vec<CertificateNumbers> {
    let found = expiries(&connection.resolved, now.as_second()).into_iter();
    let numbers = |expiry: Expiry| CertificateNumbers {
        certificate: expiry.used_as.as_str(),
        secret: secret(&connection.spec, expiry.used_as).to_owned(),
        expires: expiry.not_after,
    };
    found.map(numbers).collect()
}

/// The Secret that holds the certificates of one use.
fn secret(spec: &Connection, used_as: CertificateUse) -> &str {
    let tls = spec.tls.as_ref();
    let name = match used_as {
        CertificateUse::Authority => {
            tls.and_then(|tls| tls.ca.as_ref().map(|ca| ca.secret.as_str()))
        }
        CertificateUse::Client => tls.and_then(|tls| tls.client_certificate.as_deref()),
    };
    name.unwrap_or_default()
}

fn expires(connection: &Usable, expiry: &Expiry) -> String {
    format!(
        "the {} expires at {}; renew it in the Secret before that, while the old one is still valid: the operator uses the new one within about 30s, and it reaches the workers as a file",
        which(connection, expiry),
        at(expiry)
    )
}

fn expired(connection: &Usable, expiry: &Expiry) -> String {
    format!(
        "the {} expired at {}: connections to Temporal fail, or will when they are opened again; renew it in the Secret",
        which(connection, expiry),
        at(expiry)
    )
}

fn which(connection: &Usable, expiry: &Expiry) -> String {
    format!(
        "{} {:?} in Secret {}",
        expiry.used_as.describe(),
        expiry.subject,
        secret(&connection.spec, expiry.used_as)
    )
}

fn at(expiry: &Expiry) -> String {
    Timestamp::from_second(expiry.not_after).map_or_else(
        |_| "a time beyond all calendars".to_owned(),
        |at| at.to_string(),
    )
}

#[cfg(test)]
mod tests;
