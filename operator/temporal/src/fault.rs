//! Why connecting to Temporal failed, where the settings of the connection, of the server or the
//! proxy are the cause. Pure: judges by the types of the errors and by the result of a probe.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use temporalio_client::errors::ClientConnectError;

use crate::probe::Speaks;

/// A wrong setting, a failure that does not pass by itself; or a proxy that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The connection uses TLS and the server does not.
    ServerWithoutTls,
    /// The connection does not use TLS and the server does.
    ServerWantsTls,
    /// The server speaks HTTP but not gRPC.
    NotGrpc,
    /// The server presents a CA certificate as its own.
    CaAsServer,
    /// The CA that signed the server's certificate is not trusted.
    UnknownIssuer,
    /// The server's certificate is for other names.
    OtherName,
    /// The server's certificate has expired.
    ServerExpired,
    /// The server's certificate is not valid yet.
    ServerNotYetValid,
    /// The server's certificate cannot be used for another reason.
    ServerCertificate,
    /// The server requires a client certificate and got none.
    ClientCertificateMissing,
    /// The server refuses the client certificate.
    ClientCertificateRefused,
    /// Server and client have no TLS version or cipher in common.
    NoCommonTls,
    /// The proxy refuses the user name and the password, or got none.
    ProxyCredentials,
    /// The proxy does not connect to this server.
    ProxyRefuses,
    /// What answers in the place of the proxy is not one.
    NotAProxy,
    /// The proxy does not answer, or does not reach the server. This may pass.
    ProxyUnavailable,
}

impl Fault {
    /// The problem, as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ServerWithoutTls => {
                "the connection has tls, but the server at this address does not use TLS"
            }
            Self::ServerWantsTls => {
                "the connection has no tls, but the server at this address uses TLS"
            }
            Self::NotGrpc => {
                "the server at this address speaks HTTP instead of gRPC, like a web interface or \
                 a proxy"
            }
            Self::CaAsServer => {
                "the server presents a CA certificate as its own, as self-signed certificates \
                 often are"
            }
            Self::UnknownIssuer => {
                "the server's certificate was signed by a CA that the connection does not trust"
            }
            Self::OtherName => "the server's certificate is for another name",
            Self::ServerExpired => "the server's certificate has expired",
            Self::ServerNotYetValid => "the server's certificate is not valid yet",
            Self::ServerCertificate => "the server's certificate cannot be used",
            Self::ClientCertificateMissing => {
                "the server requires a client certificate, but the connection has none"
            }
            Self::ClientCertificateRefused => "the server refuses the client certificate",
            Self::NoCommonTls => {
                "the server and the operator support no common TLS version and cipher suite"
            }
            Self::ProxyCredentials => {
                "the proxy requires a user name and a password that the connection does not have"
            }
            Self::ProxyRefuses => "the proxy refuses to connect to the server",
            Self::NotAProxy => "no HTTP proxy answers at the address of the proxy",
            Self::ProxyUnavailable => "the proxy is not available",
        }
    }

    /// How to fix it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ServerWithoutTls => {
                "remove tls from the connection, or set an address at which the server uses TLS"
            }
            Self::ServerWantsTls => "set tls on the connection; tls: {} trusts the public CAs",
            Self::NotGrpc => "set the address of Temporal's frontend, whose default port is 7233",
            Self::CaAsServer => {
                "give the server a certificate that this CA signed and that is not a CA itself \
                 (basicConstraints CA:FALSE)"
            }
            Self::UnknownIssuer => {
                "reference the CA that signed it in tls.caSecretRef or tls.caConfigMapRef, or \
                 configure the server to send its intermediate certificates"
            }
            Self::OtherName => "set tls.serverName to a name in the certificate",
            Self::ServerExpired => "renew the server's certificate",
            Self::ServerNotYetValid => {
                "wait until it is valid, and check the clocks of the server and the nodes"
            }
            Self::ServerCertificate => "replace the server's certificate",
            Self::ClientCertificateMissing => {
                "reference one that the server trusts in tls.clientCertificateSecretRef"
            }
            Self::ClientCertificateRefused => {
                "store one that the server trusts and that has not expired in the Secret of \
                 tls.clientCertificateSecretRef"
            }
            Self::NoCommonTls => {
                "configure the server to accept TLS 1.2 or 1.3 with common ciphers"
            }
            Self::ProxyCredentials => {
                "reference a Secret with those that the proxy accepts in \
                 proxy.credentialsSecretRef"
            }
            Self::ProxyRefuses => {
                "configure the proxy to accept CONNECT to the address of the connection"
            }
            Self::NotAProxy => {
                "set proxy.address to an HTTP proxy that accepts CONNECT and is spoken to without \
                 TLS"
            }
            Self::ProxyUnavailable => {
                "check the proxy and proxy.address, and whether the proxy reaches Temporal"
            }
        }
    }

    /// Whether the underlying error adds details, such as the names in a certificate.
    pub(crate) const fn has_details(self) -> bool {
        matches!(
            self,
            Self::OtherName
                | Self::ServerExpired
                | Self::ServerNotYetValid
                | Self::ServerCertificate
                | Self::ClientCertificateRefused
                | Self::NoCommonTls
        )
    }
}

/// An error and its causes. Here the cause of an I/O error is the error that it wraps, not that
/// error's own source.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let io = error.downcast_ref::<io::Error>();
    match io.and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

/// The setting that an error blames, judging by the error alone.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Fault> {
    causes(error).find_map(|cause| {
        let tls = cause.downcast_ref::<rustls::Error>().and_then(of_tls);
        tls.or_else(|| match cause.to_string().as_str() {
            // The gRPC client's error for a server without HTTP/2 has no public type.
            "HTTP/2 was not negotiated." => Some(Fault::NotGrpc),
            words => of_words(words),
        })
    })
}

fn of_tls(error: &rustls::Error) -> Option<Fault> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(of_certificate(error)),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some(Fault::ServerWithoutTls)
        }
        rustls::Error::AlertReceived(alert) => of_alert(*alert),
        rustls::Error::NoApplicationProtocol => Some(Fault::NotGrpc),
        rustls::Error::PeerIncompatible(_) => Some(Fault::NoCommonTls),
        _ => None,
    }
}

/// TLS alerts with which a server rejects the client certificate or TLS itself.
const ALERTS: [(AlertDescription, Fault); 11] = [
    (
        AlertDescription::CertificateRequired,
        Fault::ClientCertificateMissing,
    ),
    (
        AlertDescription::BadCertificate,
        Fault::ClientCertificateRefused,
    ),
    (
        AlertDescription::UnsupportedCertificate,
        Fault::ClientCertificateRefused,
    ),
    (
        AlertDescription::CertificateRevoked,
        Fault::ClientCertificateRefused,
    ),
    (
        AlertDescription::CertificateExpired,
        Fault::ClientCertificateRefused,
    ),
    (
        AlertDescription::CertificateUnknown,
        Fault::ClientCertificateRefused,
    ),
    (AlertDescription::UnknownCA, Fault::ClientCertificateRefused),
    // The signature is not from the CA that the certificate names.
    (
        AlertDescription::DecryptError,
        Fault::ClientCertificateRefused,
    ),
    (AlertDescription::NoApplicationProtocol, Fault::NotGrpc),
    (AlertDescription::ProtocolVersion, Fault::NoCommonTls),
    (AlertDescription::InsufficientSecurity, Fault::NoCommonTls),
];

fn of_alert(alert: AlertDescription) -> Option<Fault> {
    let known = ALERTS.iter().find(|(known, _)| *known == alert);
    known.map(|(_, fault)| *fault)
}

/// In TLS 1.3 a server checks the client certificate after the handshake. Its alert arrives through
/// HTTP/2, which keeps only the text of an error.
fn of_words(words: &str) -> Option<Fault> {
    let known = ALERTS
        .iter()
        .find(|(alert, _)| words.ends_with(&rustls::Error::AlertReceived(*alert).to_string()));
    known.map(|(_, fault)| *fault)
}

fn of_certificate(error: &CertificateError) -> Fault {
    match error {
        // The certificate was signed with the key of another CA that has the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Fault::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Fault::OtherName
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Fault::ServerExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Fault::ServerNotYetValid
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => Fault::CaAsServer,
            _ => Fault::ServerCertificate,
        },
        _ => Fault::ServerCertificate,
    }
}

/// Whether a reachable server answered in an unexpected way, so that a probe may find out why.
pub(crate) fn is_unclear(error: &ClientConnectError, encrypted: bool) -> bool {
    match error {
        // In plaintext the first call is the first thing that a server reacts to.
        ClientConnectError::SystemInfoCallError(status) => !encrypted && status.source().is_some(),
        ClientConnectError::TonicTransportError(error) => {
            encrypted
                && causes(error).any(|cause| {
                    let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
                    let closed = matches!(
                        io,
                        Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
                    );
                    closed || cause.downcast_ref().and_then(of_tls) == Some(Fault::ServerWithoutTls)
                })
        }
        _ => false,
    }
}

/// The fault that a probe's result reveals behind an unclear failure.
pub(crate) fn of_probe(speaks: Speaks, encrypted: bool) -> Option<Fault> {
    match (speaks, encrypted) {
        (Speaks::Http1, _) => Some(Fault::NotGrpc),
        (Speaks::Http2, true) => Some(Fault::ServerWithoutTls),
        (Speaks::Tls, false) => Some(Fault::ServerWantsTls),
        (Speaks::Http2, false) | (Speaks::Tls, true) | (Speaks::Nothing, _) => None,
    }
}
