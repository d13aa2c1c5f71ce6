//! The credentials of a process for Temporal, and the servers that it trusts. Pure.

use std::path::PathBuf;

/// TLS to Temporal. All files are reloaded when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `TEMPORAL_TLS_SERVER_NAME`: the name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
    /// `TEMPORAL_TLS_SERVER_CA_CERT_PATH`; the system's roots if absent.
    pub ca: Option<PathBuf>,
    /// `TEMPORAL_TLS_CLIENT_CERT_PATH` and `TEMPORAL_TLS_CLIENT_KEY_PATH`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// An API key, in a file or as a value. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// A file that is reloaded when it changes.
    File(PathBuf),
    /// A value that is fixed for the life of the process.
    Value(String),
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}
