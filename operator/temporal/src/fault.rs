//! Why no connection to Temporal came about, where the settings of the connection or of the server are the
//! cause. Pure: found by the types of the errors, and by what a probe saw.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};
use temporalio_client::errors::ClientConnectError;

use crate::probe::Speaks;

/// Something that does not pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// TLS towards a server that speaks without.
    ServerWithoutTls,
    /// No TLS towards a server that wants it.
    ServerWantsTls,
    /// A server that speaks HTTP, and not gRPC.
    NotGrpc,
    /// The server's certificate is that of an authority.
    CaAsServer,
    /// The server's certificate was signed by an authority that is not trusted.
    UnknownIssuer,
    /// The server's certificate is for other names.
    OtherName,
    /// The server's certificate has expired.
    ServerExpired,
    /// The server's certificate is not valid yet.
    ServerNotYetValid,
    /// The server's certificate cannot be used, for another reason.
    ServerCertificate,
    /// The server wants a client certificate and got none.
    ClientCertificateMissing,
    /// The server refuses the client certificate.
    ClientCertificateRefused,
    /// Server and client have no version or cipher of TLS in common.
    NoCommonTls,
}

impl Fault {
    /// What is wrong.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::ServerWithoutTls => {
                "the connection has tls, and the server at this address speaks without TLS"
            }
            Self::ServerWantsTls => {
                "the connection has no tls, and the server at this address speaks TLS"
            }
            Self::NotGrpc => {
                "the server at this address speaks HTTP and not gRPC, as a web interface or a proxy does"
            }
            Self::CaAsServer => {
                "the server presents the certificate of a CA as its own, as a self-signed one often is"
            }
            Self::UnknownIssuer => {
                "the server's certificate was signed by a CA that the connection does not trust"
            }
            Self::OtherName => "the server's certificate is for another name",
            Self::ServerExpired => "the server's certificate has expired",
            Self::ServerNotYetValid => "the server's certificate is not valid yet",
            Self::ServerCertificate => "the server's certificate cannot be used",
            Self::ClientCertificateMissing => {
                "the server asks for a client certificate, and the connection has none"
            }
            Self::ClientCertificateRefused => "the server refuses the client certificate",
            Self::NoCommonTls => "the server and the operator have no way of TLS in common",
        }
    }

    /// What to do about it.
    pub const fn way_out(self) -> &'static str {
        match self {
            Self::ServerWithoutTls => {
                "remove tls from the connection, or give the address at which the server speaks TLS"
            }
            Self::ServerWantsTls => "set tls on the connection; tls: {} trusts the public CAs",
            Self::NotGrpc => {
                "give the address of Temporal's frontend, whose port is 7233 unless it was changed"
            }
            Self::CaAsServer => {
                "give the server a certificate that this CA signs and that is none itself (basicConstraints CA:FALSE)"
            }
            Self::UnknownIssuer => {
                "name the CA that signed it in tls.caSecretRef, or let the server send its intermediate certificates"
            }
            Self::OtherName => "set tls.serverName to a name in the certificate",
            Self::ServerExpired => "renew the server's certificate",
            Self::ServerNotYetValid => {
                "wait until it is, and check the clocks of the server and of the nodes"
            }
            Self::ServerCertificate => "replace the server's certificate",
            Self::ClientCertificateMissing => {
                "name one that the server trusts in tls.clientCertificateSecretRef"
            }
            Self::ClientCertificateRefused => {
                "put one that the server trusts and that has not expired into the Secret of tls.clientCertificateSecretRef"
            }
            Self::NoCommonTls => "let the server accept TLS 1.2 or 1.3 with its usual ciphers",
        }
    }

    /// Whether the error below it says more, such as the names in a certificate.
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

/// An error and its causes. What an I/O error wraps is its cause here, and not what lies below that.
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

/// What an error says about the settings by itself.
pub(crate) fn of(error: &(dyn Error + 'static)) -> Option<Fault> {
    causes(error).find_map(|cause| {
        let tls = cause.downcast_ref::<rustls::Error>().and_then(of_tls);
        tls.or_else(|| match cause.to_string().as_str() {
            // The error of the gRPC client for a server without HTTP/2 has no type that can be named.
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

/// What a server says of the client's certificate, or of TLS with it.
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
    // Its signature is not that of the CA whose name it has.
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

/// In TLS 1.3 a server looks at the client's certificate after the handshake. Its alert comes through HTTP/2,
/// which keeps no more of an error than its words.
fn of_words(words: &str) -> Option<Fault> {
    let known = ALERTS
        .iter()
        .find(|(alert, _)| words.ends_with(&rustls::Error::AlertReceived(*alert).to_string()));
    known.map(|(_, fault)| *fault)
}

fn of_certificate(error: &CertificateError) -> Fault {
    match error {
        // Of a CA of the same name, another key signed it.
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

/// Whether a server was reached that did not answer in the way it was asked, so that a probe may tell why.
pub(crate) fn is_unclear(error: &ClientConnectError, encrypted: bool) -> bool {
    match error {
        // Over plaintext the first call is the first thing that a server answers to.
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

/// What a probe makes of an unclear failure.
pub(crate) fn of_probe(speaks: Speaks, encrypted: bool) -> Option<Fault> {
    match (speaks, encrypted) {
        (Speaks::Http1, _) => Some(Fault::NotGrpc),
        (Speaks::Http2, true) => Some(Fault::ServerWithoutTls),
        (Speaks::Tls, false) => Some(Fault::ServerWantsTls),
        (Speaks::Http2, false) | (Speaks::Tls, true) | (Speaks::Nothing, _) => None,
    }
}
