//! Client of a sandbox's Temporal over its HTTP API (the paths are those of `workflowservice`'s
//! annotations). Network I/O on loopback.

use base64::{Engine as _, engine::general_purpose::STANDARD};
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

/// The JSON value in a payload.
pub fn payload(payload: &Value) -> Result<Value, String> {
    let data = payload["data"]
        .as_str()
        .ok_or_else(|| format!("{payload} contains no data"))?;
    let bytes = STANDARD
        .decode(data)
        .map_err(|error| format!("{data:?} is not base64: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
