//! The body of a request for a charge. Pure.

use serde::Deserialize;

/// The body of `POST /charge`.
#[derive(Clone, Deserialize)]
pub(super) struct ChargeRequest {
    pub(super) order_id: String,
    pub(super) amount: i64,
    #[serde(default)]
    pub(super) currency: Option<String>,
    #[serde(default)]
    pub(super) card: Option<String>,
}
