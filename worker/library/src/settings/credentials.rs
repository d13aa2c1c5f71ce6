//! The credentials of a process for Temporal, and the servers that it trusts. Pure. No value of a
//! credential is ever printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

/// TLS to Temporal. All files are reloaded when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `TEMPORAL_TLS_SERVER_NAME`: the name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
    /// `TEMPORAL_TLS_SERVER_CA_CERT_PATH` or `_DATA`; the system's roots if absent.
    pub ca: Option<Pem>,
    /// `TEMPORAL_TLS_CLIENT_CERT_PATH` or `_DATA`, and `TEMPORAL_TLS_CLIENT_KEY_PATH` or `_DATA`.
    pub client: Option<(Pem, Pem)>,
}

/// PEM, in a file or as a value.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file that is reloaded when it changes.
    File(PathBuf),
    /// A value that is fixed for the life of the process.
    Value(Vec<u8>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// An API key, in a file or as a value.
#[derive(Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// A file that is reloaded when it changes.
    File(PathBuf),
    /// A value that is fixed for the life of the process.
    Value(String),
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// An HTTP proxy, which connects to Temporal by the method CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySettings {
    /// `TASKQUEUE_PROXY_ADDRESS`, host:port. The proxy is spoken to without TLS.
    pub address: String,
    /// `TASKQUEUE_PROXY_USERNAME` and `TASKQUEUE_PROXY_PASSWORD`.
    pub credentials: Option<(String, String)>,
}

impl ProxySettings {
    /// The value of the header that authenticates to the proxy.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let (username, password) = self.credentials.as_ref()?;
        let basic = STANDARD.encode(format!("{username}:{password}"));
        let mut value = HeaderValue::try_from(format!("Basic {basic}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = self.credentials.as_ref().map(|_| "…");
        f.debug_struct("ProxySettings")
            .field("address", &self.address)
            .field("credentials", &credentials)
            .finish()
    }
}

/// Headers of every request, by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
