//! The interface of a payment gateway, and how a payment whose answers were lost is settled over
//! it.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::domain::failure::{Failure, FailureType};
use crate::domain::order::Payment;
use crate::domain::order::messages::{PaymentRequest, Settlement};

/// The message of a declined payment.
pub const DECLINED_MESSAGE: &str = "Payment declined";
/// How long a gateway is trusted to remember a key. After that, "unknown" does not mean that there
/// was no charge.
pub const REMEMBERED: Duration = Duration::from_hours(24);

/// Whether the gateway still remembers the key of a charge that was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAge {
    /// It remembers the key, if it has ever seen it.
    Remembered,
    /// It may have forgotten the key ([`REMEMBERED`]).
    MaybeForgotten,
}

/// A payment gateway. Every method may be called again with the same key, at any time.
pub trait PaymentGateway: Send + Sync + 'static {
    /// Charges once per key.
    fn charge<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Payment, Failure>>;

    /// Reports the charge of a key. Changes nothing.
    fn look_up<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Report, Failure>>;

    /// Makes sure that a key is not charged later, and reports what was charged before: a charge
    /// that has arrived takes precedence.
    fn void<'a>(
        &'a self,
        key: &'a str,
        request: &'a PaymentRequest,
    ) -> BoxFuture<'a, Result<Report, Failure>>;
}

/// What a gateway reports about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The outcome is known and final.
    Settled(Settlement),
    /// There is no charge, or none yet.
    Undecided,
    /// The answer does not say whether there is a charge.
    Silent,
    /// The gateway does not support the request; what it answered instead.
    NotOffered(String),
}

/// Looks up the charge of a key. If there is none, voids the key, so that no charge can follow.
///
/// Fails with `PaymentUnsettled` if the gateway knows no charge of this key, and either does not
/// support voiding or may have forgotten the charge. All other failures are transient.
pub async fn settle(
    gateway: &dyn PaymentGateway,
    key: &str,
    request: &PaymentRequest,
    key_age: KeyAge,
) -> Result<Settlement, Failure> {
    let known = match gateway.look_up(key, request).await? {
        Report::Settled(settlement) => return Ok(settlement),
        Report::Undecided | Report::Silent => "does not say whether it was charged".to_owned(),
        Report::NotOffered(what) => format!("knows of no charge ({what})"),
    };
    let order_id = &request.order_id;
    if key_age == KeyAge::MaybeForgotten {
        // Nothing is voided: a later look-up would take that for an answer. And no request is under
        // way for so long.
        return Err(Failure::new(
            FailureType::PaymentUnsettled,
            format!(
                "the gateway {known}, but may have forgotten one, because it was asked more than \
                 a day ago: look there for order {order_id} under the key {key}"
            ),
        ));
    }
    // The gateway decides: a charge that arrived since the lookup wins over the void.
    let not_offered = match gateway.void(key, request).await? {
        Report::Settled(settlement) => return Ok(settlement),
        Report::Undecided => {
            return Err(Failure::new(
                FailureType::PaymentUnavailable,
                "the key could not be voided yet",
            ));
        }
        Report::Silent => "an answer without a status".to_owned(),
        Report::NotOffered(what) => what,
    };
    Err(Failure::new(
        FailureType::PaymentUnsettled,
        format!(
            "the gateway {known} and cannot void it ({not_offered}): look there for order \
             {order_id} under the key {key}"
        ),
    ))
}
