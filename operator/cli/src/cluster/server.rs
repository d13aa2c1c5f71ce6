//! Errors of the Kubernetes client for a person at a terminal: what happened to the connection to
//! which server, and what to check. Pure.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use http::Uri;
use rustls::CertificateError;
use taskqueue_kubernetes::client::Silence;
use taskqueue_kubernetes::kube_error::describe;
use taskqueue_kubernetes::proxy::{address, tunnel};

/// A server, and where a person has named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// What messages call it.
    name: String,
    setting: Setting,
}

/// What names a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Kubeconfig,
    Metrics,
}

impl Server {
    /// The API server of a kubeconfig, if its URL is known.
    pub(crate) fn of_kubeconfig(url: Option<&Uri>) -> Self {
        let address = url.map(|url| format!(" {}", address(url)));
        Self {
            name: format!("the API server{}", address.unwrap_or_default()),
            setting: Setting::Kubeconfig,
        }
    }

    /// The server of the flag `--metrics`.
    pub(crate) fn of_metrics(url: &Uri) -> Self {
        Self {
            name: format!("the server {}", address(url)),
            setting: Setting::Metrics,
        }
    }

    /// Formats an error in one line: the server's own message if it answered, or else what to
    /// check. Contains no part of a credential.
    pub(crate) fn describe(&self, error: &kube::Error) -> String {
        match error {
            // The API server's answer for a kind that it does not know.
            kube::Error::Api(status)
                if status.code == 404 && status.message.contains("page not found") =>
            {
                "this cluster does not know the kind TaskQueueWorker; install the operator"
                    .to_owned()
            }
            kube::Error::Api(status)
                if status.code == 401 && self.setting == Setting::Kubeconfig =>
            {
                format!(
                    "{} does not accept who you are (HTTP 401): the token or certificate of the \
                     kubeconfig's user is wrong or has expired; log in again",
                    self.name
                )
            }
            kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
            kube::Error::Auth(_) | kube::Error::RustlsTls(_) => describe(error),
            other if tunnel::cause(other).is_some() => describe(other),
            other => causes(other)
                .find_map(|cause| self.failure(cause))
                .unwrap_or_else(|| chain(other)),
        }
    }

    /// What a cause of an error means, if it says what happened.
    fn failure(&self, cause: &(dyn Error + 'static)) -> Option<String> {
        if let Some(Silence(limit)) = cause.downcast_ref() {
            return Some(format!(
                "{} did not answer within {limit:?}; allow more with --request-timeout, or try \
                 again later",
                self.name
            ));
        }
        if let Some(error) = cause.downcast_ref() {
            return self.tls_failure(error);
        }
        // The resolver's errors have no type and no kind of their own.
        if cause.to_string() == "dns error" {
            return Some(format!(
                "the host name of {} does not resolve; check it in {}, and the DNS or VPN of this \
                 machine",
                self.name,
                self.setting()
            ));
        }
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind)?;
        let (name, setting) = (&self.name, self.setting());
        match kind {
            ErrorKind::ConnectionRefused => Some(format!(
                "{name} refuses the connection; check its host and port in {setting}, and whether \
                 it runs"
            )),
            ErrorKind::TimedOut => Some(format!(
                "{name} cannot be reached in time; check its host and port in {setting}, and \
                 whether this machine needs a VPN or a proxy"
            )),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some(format!(
                "no route leads to {name}; check its host in {setting}, and whether this machine \
                 needs a VPN or a proxy"
            )),
            _ => None,
        }
    }

    fn tls_failure(&self, error: &rustls::Error) -> Option<String> {
        let name = &self.name;
        let why = match error {
            rustls::Error::InvalidCertificate(why) => why,
            rustls::Error::InvalidMessage(_) => {
                return Some(format!(
                    "{name} does not speak TLS; if it has none, its URL in {} begins with http://",
                    self.setting()
                ));
            }
            _ => return None,
        };
        Some(match why {
            // A cluster that was made again has another authority, of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                let remedy = match self.setting {
                    Setting::Kubeconfig => {
                        "check certificate-authority and certificate-authority-data in the \
                         kubeconfig"
                    }
                    Setting::Metrics => "this machine must trust who signed it",
                };
                format!(
                    "the certificate of {name} is not trusted: it is signed by an unknown \
                         authority; {remedy}"
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "the certificate of {name} has expired; who runs the server must renew it, unless \
                 the clock of this machine is wrong"
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!(
                    "the certificate of {name} is for another host; check the host in {}",
                    match self.setting {
                        Setting::Kubeconfig => "the kubeconfig, or set tls-server-name there",
                        Setting::Metrics => "--metrics",
                    }
                )
            }
            other => format!("the certificate of {name} is not trusted: {other}"),
        })
    }

    fn setting(&self) -> &'static str {
        match self.setting {
            Setting::Kubeconfig => "the kubeconfig",
            Setting::Metrics => "--metrics",
        }
    }
}

/// Whether no answer arrived within the time limit of the call.
pub(crate) fn timed_out(error: &kube::Error) -> bool {
    causes(error).any(<dyn Error>::is::<Silence>)
}

/// An error and its causes. An `io::Error` that wraps another one is not its source, but leads to
/// that one's.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    })
}

/// An error with its causes in one line, without the names of the client's layers.
fn chain(error: &kube::Error) -> String {
    let layers = usize::from(matches!(error, kube::Error::Service(_)));
    let mut texts: Vec<String> = Vec::new();
    for cause in causes(error).skip(layers).map(ToString::to_string) {
        if !texts.iter().any(|text| text.contains(&cause)) {
            texts.push(cause);
        }
    }
    if texts.len() > 1 && texts[0].starts_with("client error (") {
        texts.remove(0);
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests;
