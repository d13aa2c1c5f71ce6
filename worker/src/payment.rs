//! Payments: the interface of a payment gateway, its HTTP client, and the key of a charge. Knows
//! neither the database nor Temporal.

mod answer;
mod gateway;
mod http;
mod key;

pub use gateway::{DECLINED_MESSAGE, KeyAge, PaymentGateway, REMEMBERED, Report, settle};
pub use http::{GatewayClient, IDEMPOTENCY_HEADER, REQUEST_TIMEOUT};
pub use key::idempotency_key;
