//! Client of a sandbox's Temporal over its HTTP API (the paths are those of `workflowservice`'s
//! annotations). Network I/O on loopback.

use serde_json::Value;

use crate::{clients::http, error::Result, sandbox::Sandbox};

/// The namespace that everything in a sandbox uses.
pub const NAMESPACE: &str = "default";

/// The Temporal of a sandbox.
#[derive(Debug, Clone)]
pub struct Temporal {
    /// The server of Temporal's web interface, which passes the HTTP API on.
    address: String,
}

impl Temporal {
    /// Finds its address.
    pub fn of(sandbox: &Sandbox) -> Result<Self> {
        Ok(Self {
            address: sandbox.address("temporal-ui")?,
        })
    }

    /// The answer to `GET` of a path below the namespace.
    pub fn get(&self, path: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{path}");
        http::get(&self.address, &path)
    }
}

/// A 64-bit number, which protobuf's JSON writes as a string, or a small one, which it writes as a
/// number.
pub fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
