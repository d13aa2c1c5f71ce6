//! The interface of a payment gateway, and how a payment whose answers were lost is settled over
//! it.

use futures::future::BoxFuture;

use crate::domain::failure::{Failure, FailureType};
use crate::domain::order::Payment;
use crate::domain::order::messages::{PaymentRequest, Settlement};

/// The message of a declined payment.
pub const DECLINED_MESSAGE: &str = "Payment declined";
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
/// Fails with `PaymentUnsettled` if the gateway neither knows a charge of this key nor supports
/// voiding. All other failures are transient.
pub async fn settle(
    gateway: &dyn PaymentGateway,
    key: &str,
    request: &PaymentRequest,
) -> Result<Settlement, Failure> {
    let known = match gateway.look_up(key, request).await? {
        Report::Settled(settlement) => return Ok(settlement),
        Report::Undecided | Report::Silent => "does not say whether it was charged".to_owned(),
        Report::NotOffered(what) => format!("knows of no charge ({what})"),
    };
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
            "the gateway {known} and cannot void it ({not_offered}): look there for order {} under the key {key}",
            request.order_id
        ),
    ))
}
