//! Formats errors of the Kubernetes client. Pure.

use std::borrow::Cow;
use std::fmt;

use kube::client::{AuthError, RustlsTlsError};
use kube::core::Status;
use kube::runtime::watcher;

use crate::proxy::{self, tunnel};

/// A Kubernetes call that can be named in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was attempted, as a verb: "apply", "scale", "delete".
    pub verb: &'static str,
    /// The kind of the object.
    pub kind: Cow<'static, str>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Call {
    /// Names a call.
    pub fn new(
        verb: &'static str,
        kind: impl Into<Cow<'static, str>>,
        namespace: &str,
        name: &str,
    ) -> Self {
        Self {
            verb,
            kind: kind.into(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {}/{}",
            self.verb, self.kind, self.namespace, self.name
        )
    }
}

/// Maximum length of a quoted answer, in bytes. Longer ones are cut.
const LONGEST_QUOTE: usize = 2000;

/// Formats an error in one line, with the API server's own message if there is one: `kube::Error`
/// would print the whole status twice. Contains no part of a credential.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => answered(status),
        other => without_secrets(other),
    }
}

/// Formats an error of a watch in one line.
pub fn describe_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => describe(error),
        watcher::Error::WatchError(status) => answered(status),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// The answer of an API server that refuses a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 403 for lack of a right, or 404 because it does not know the kind.
    pub code: u16,
    /// The answer in one line.
    pub answer: String,
}

/// The refusal of a watch; `None` if it failed in another way.
pub fn refusal(error: &watcher::Error) -> Option<Refusal> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status)
            if matches!(status.code, 403 | 404) =>
        {
            Some(Refusal {
                code: status.code,
                answer: answered(status),
            })
        }
        _ => None,
    }
}

/// Whether the API server refuses a watch: for lack of a right (403), or because it does not know
/// the kind (404).
pub fn is_refusal(error: &watcher::Error) -> bool {
    refusal(error).is_some()
}

/// Formats an answer of the API server.
fn answered(status: &Status) -> String {
    format!("{} (HTTP {})", quote(status.message.trim()), status.code)
}

/// Quotes an answer, cut to [`LONGEST_QUOTE`].
fn quote(text: &str) -> String {
    if text.len() <= LONGEST_QUOTE {
        return text.to_owned();
    }
    let end = (0..=LONGEST_QUOTE)
        .rev()
        .find(|end| text.is_char_boundary(*end));
    let begin = end.and_then(|end| text.get(..end));
    format!("{}...", begin.unwrap_or_default())
}

/// Formats an error of the client without what it may quote: errors of the libraries below may
/// contain a key or a token.
fn without_secrets(error: &kube::Error) -> String {
    match error {
        kube::Error::RustlsTls(
            RustlsTlsError::InvalidIdentityPem(_)
            | RustlsTlsError::MissingPrivateKey
            | RustlsTlsError::MissingCertificate,
        ) => "its client certificate or client key is not PEM; line breaks may have been lost"
            .to_owned(),
        kube::Error::Auth(AuthError::AuthExecRun { cmd, out }) => format!(
            "the credential plugin {cmd} of the kubeconfig failed with {}; run it by hand to see \
             why",
            out.status
        ),
        kube::Error::Auth(AuthError::AuthExecParse(_)) => {
            "the credential plugin of the kubeconfig printed no valid credential".to_owned()
        }
        // A proxy URL may contain a password.
        kube::Error::ProxyProtocolUnsupported { .. } => proxy::REMEDY.to_owned(),
        other => match tunnel::cause(other) {
            Some(no_tunnel) => no_tunnel.to_string(),
            None => other.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn an_endless_answer_is_cut() {
        let status = Status::failure(&"ö".repeat(5000), "").with_code(422);
        let long = describe(&kube::Error::Api(status.boxed()));
        assert!(long.len() < LONGEST_QUOTE + 100, "{}", long.len());
    }

    #[test]
    fn what_a_credential_plugin_prints_is_not_quoted() {
        let token = "a-token-that-nobody-may-see";
        let out = Command::new("sh")
            .args(["-c", &format!("echo {token}; exit 3")])
            .output()
            .unwrap();
        let failed = kube::Error::Auth(AuthError::AuthExecRun {
            cmd: "get-token".to_owned(),
            out: Box::new(out),
        });
        assert_eq!(
            describe(&failed),
            "the credential plugin get-token of the kubeconfig failed with exit status: 3; run it \
             by hand to see why"
        );
    }
}
