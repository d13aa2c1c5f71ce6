//! The credentials of a process for Temporal, and the servers that it trusts. Pure. No value of a
//! credential is ever printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

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

/// Headers of every request, by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
