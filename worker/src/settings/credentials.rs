//! How a process proves to Temporal who it is, and which servers it trusts. Pure.

use std::path::PathBuf;

/// TLS to Temporal. All files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `TEMPORAL_TLS_SERVER_NAME`: the name in the server's certificate, if it is not the host.
    pub server_name: Option<String>,
    /// `TEMPORAL_TLS_SERVER_CA_CERT_PATH`; the system's roots if absent.
    pub ca: Option<PathBuf>,
    /// `TEMPORAL_TLS_CLIENT_CERT_PATH` and `TEMPORAL_TLS_CLIENT_KEY_PATH`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// An API key, by file or by value. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// Read again when it changes.
    File(PathBuf),
    /// Fixed for the life of the process.
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
