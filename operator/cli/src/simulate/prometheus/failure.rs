//! Why a query has no answer, and what to do. Pure.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use taskqueue_api::DurationString;

/// The most characters of an answer that a message quotes.
const QUOTED: usize = 200;

/// A query without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Prometheus at {url} {cause}\nthe query was: {query}")]
pub(in crate::simulate) struct QueryFailure {
    /// The URL, without a password.
    pub(super) url: String,
    pub(super) query: String,
    pub(super) cause: Cause,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::simulate) enum Cause {
    #[error(
        "cannot be reached: {detail}; give the URL of one that runs with --from-prometheus, such \
         as http://localhost:9090 after kubectl port-forward"
    )]
    Unreachable { detail: String },
    #[error(
        "has a certificate that is not trusted: {detail}; give the certificates that it comes from \
         with --prometheus-ca"
    )]
    Untrusted { detail: String },
    #[error(
        "has not answered within {}; allow more with --request-timeout, or take less time with \
         --since and --for",
        DurationString::from(*limit)
    )]
    Silent { limit: Duration },
    #[error(
        "does not accept these credentials (HTTP {status}); give a token with --bearer-token-file, \
         or a user and password as http://USER:PASSWORD@HOST"
    )]
    Unauthorized { status: u16 },
    #[error(
        "has no query API there (HTTP 404); --from-prometheus is the part of the URL before \
         /api/v1"
    )]
    NotFound,
    #[error(
        "sends its requests to {to}; give that URL with --from-prometheus, or credentials if it is \
         a login page"
    )]
    Redirected { to: String },
    #[error("refuses the query ({kind}): {message}; {}", refused_remedy(kind))]
    Refused { kind: String, message: String },
    #[error("answers with HTTP {status}: {excerpt}; try again when it is well, or ask another one")]
    Status { status: u16, excerpt: String },
    #[error(
        "answers, but not as Prometheus does: {excerpt}; see whether the URL leads to another \
         server or to a login page"
    )]
    NotPrometheus { excerpt: String },
    #[error("returns a {found}, and a {expected} was expected; see whether it is a Prometheus")]
    WrongType {
        found: String,
        expected: &'static str,
    },
    #[error(
        "returns more than {} MiB; select fewer series with --match, or ask a Prometheus that \
         scrapes less often",
        most / 1024 / 1024
    )]
    TooLarge { most: usize },
}

fn refused_remedy(kind: &str) -> &'static str {
    match kind {
        "bad_data" => "check --match",
        "timeout" | "canceled" => "try again, or take less time with --since and --for",
        _ => "take less time with --since and --for, or raise its limits",
    }
}

/// The cause of an error of the HTTP client.
pub(super) fn cause(error: &reqwest::Error, limit: Duration) -> Cause {
    if error.is_timeout() {
        return Cause::Silent { limit };
    }
    let mut deepest: &dyn Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
        let tls = deepest.downcast_ref::<io::Error>();
        let tls = tls.and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(detail)) = tls {
            return Cause::Untrusted {
                detail: detail.to_string(),
            };
        }
    }
    Cause::Unreachable {
        detail: deepest.to_string(),
    }
}

/// The cause of an answer that is not Prometheus' own.
pub(super) fn of_status(status: StatusCode, body: &[u8]) -> Cause {
    match status.as_u16() {
        status @ (401 | 403) => Cause::Unauthorized { status },
        404 => Cause::NotFound,
        status => Cause::Status {
            status,
            excerpt: excerpt(body),
        },
    }
}

/// The beginning of an answer, in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    if text.is_empty() {
        return "an empty answer".to_owned();
    }
    let mut short: String = text.chars().take(QUOTED).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
