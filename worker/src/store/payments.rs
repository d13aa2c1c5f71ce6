//! The record of the payments.

use sqlx::Row;

use super::orders::conflict;
use super::pool::{Store, now};
use crate::domain::failure::Failure;
use crate::domain::order::messages::PaymentRequest;

/// The known outcome of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState<'a> {
    /// Charged, with the gateway's charge id.
    Charged(&'a str),
    /// The gateway declined the card.
    Declined,
    /// There was no charge, and none can follow.
    Voided,
}

impl Store {
    /// Records the outcome of a payment. Returns whether the order became paid by this call. A
    /// recorded charge is never overwritten; a second charge, under another key, is refused with
    /// `OrderConflict`.
    pub async fn record_payment(
        &self,
        key: &str,
        request: &PaymentRequest,
        state: PaymentState<'_>,
    ) -> Result<bool, Failure> {
        self.in_time(async {
            let (name, charge_id) = match state {
                PaymentState::Charged(id) => ("charged", id),
                PaymentState::Declined => ("declined", ""),
                PaymentState::Voided => ("voided", ""),
            };
            let mut tx = self.begin().await?;
            let recorded = sqlx::query(
                "INSERT INTO payments (order_id, idempotency_key, state, charge_id, amount, \
                 currency, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (order_id) DO UPDATE
                 SET idempotency_key = excluded.idempotency_key, state = excluded.state,
                     charge_id = excluded.charge_id, amount = excluded.amount,
                     currency = excluded.currency, updated_at = excluded.updated_at
                 WHERE payments.state <> 'charged'",
            )
            .bind(request.order_id.as_str())
            .bind(key)
            .bind(name)
            .bind(charge_id)
            .bind(request.amount)
            .bind(request.currency.as_str())
            .bind(now())
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if recorded == 0
                && let PaymentState::Charged(charge_id) = state
            {
                let earlier = sqlx::query(
                    "SELECT idempotency_key FROM payments WHERE order_id = \
                                           $1",
                )
                .bind(request.order_id.as_str())
                .fetch_one(&mut *tx)
                .await?;
                let earlier: String = earlier.try_get(0)?;
                if earlier != key {
                    let how = format!(
                        "was already paid under the key {earlier}: refund the charge {charge_id}"
                    );
                    return Err(conflict(&request.order_id, &how));
                }
            }
            let mut paid = false;
            if matches!(state, PaymentState::Charged(_)) {
                paid = sqlx::query(
                    "UPDATE orders SET state = 'paid', updated_at = $2
                     WHERE order_id = $1 AND state = 'created'",
                )
                .bind(request.order_id.as_str())
                .bind(now())
                .execute(&mut *tx)
                .await?
                .rows_affected()
                    == 1;
            }
            tx.commit().await?;
            Ok(paid)
        })
        .await
    }
}
