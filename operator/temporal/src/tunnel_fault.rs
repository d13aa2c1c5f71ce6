//! Names the fault if a proxy opens no tunnel. Pure.

use crate::call::{CallError, CallErrorKind, Method};
use crate::fault::Fault;
use crate::tunnel::NoTunnel;

impl NoTunnel {
    /// What is to blame. A proxy that answers with a status from 500 does not reach the server.
    const fn fault(&self) -> Fault {
        match self {
            Self::Status(407) => Fault::ProxyCredentials,
            // What servers answer that do not know the method.
            Self::Status(405 | 501) | Self::NotHttp => Fault::NotAProxy,
            Self::Status(..=499) => Fault::ProxyRefuses,
            Self::Status(_) | Self::Unreachable(_) | Self::Silent | Self::Closed => {
                Fault::ProxyUnavailable
            }
        }
    }

    /// The failure of a connection through the proxy at `address`.
    pub(crate) fn call_error(&self, address: &str) -> CallError {
        let fault = self.fault();
        let message = match self {
            Self::Status(status @ 500..) if fault == Fault::ProxyUnavailable => {
                format!("the proxy {address} does not reach the server: it answers HTTP {status}")
            }
            Self::Status(status) => {
                format!("{} (HTTP {status} from {address})", fault.sentence())
            }
            Self::NotHttp => format!("{} ({address})", fault.sentence()),
            Self::Unreachable(error) => format!("the proxy {address} cannot be reached: {error}"),
            Self::Silent => format!("the proxy {address} does not answer"),
            Self::Closed => {
                format!("the proxy {address} closes the connection without an answer")
            }
        };
        let (kind, code) = match self {
            Self::Silent => (CallErrorKind::Timeout, "DeadlineExceeded"),
            Self::Unreachable(_) | Self::Closed | Self::Status(_) | Self::NotHttp => {
                (CallErrorKind::Unavailable, "Unavailable")
            }
        };
        CallError {
            kind,
            method: Method::Connect,
            code,
            message,
            connection_lost: true,
            fault: Some(fault),
        }
    }
}
