//! `process_payment` and `settle_payment`: requests to the payment gateway, and the record of its
//! answers.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::sync::Arc;
use std::time::Instant;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use super::orders::workflow_id;
use crate::domain::failure::{Failure, FailureType};
use crate::domain::metrics::Metrics;
use crate::domain::order::Payment;
use crate::domain::order::messages::{PaymentRequest, Settlement};
use crate::payment::{PaymentGateway, idempotency_key, settle};
use crate::store::{PaymentState, Store};

/// How many times to ask a gateway that supports neither lookup nor voiding, with pauses of 1, 2, 4
/// and 8 s.
const SETTLE_ATTEMPTS: u32 = 5;

/// The activities of the role `payments`.
pub struct PaymentActivities {
    gateway: Arc<dyn PaymentGateway>,
    store: Store,
    metrics: Metrics,
}

impl PaymentActivities {
    /// Creates the activities for this gateway and database.
    pub fn new(gateway: Arc<dyn PaymentGateway>, store: Store, metrics: Metrics) -> Self {
        Self {
            gateway,
            store,
            metrics,
        }
    }
}

#[activities]
impl PaymentActivities {
    /// Charges the order once, however many times it runs: every attempt sends the same key.
    #[activity(name = "process_payment")]
    pub async fn process_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: Sent<PaymentRequest>,
    ) -> Result<Payment, ActivityError> {
        let request = request.read(&ctx)?;
        tracing::info!(
            order_id = %request.order_id,
            amount = request.amount,
            attempt = ctx.info().attempt,
            "processing payment for order {}",
            request.order_id
        );
        let key = idempotency_key(&workflow_id(&ctx, &request.order_id), &request.order_id);
        let started = Instant::now();
        let answer = self.gateway.charge(&key, &request).await;
        self.metrics
            .payment_seconds
            .observe(started.elapsed().as_secs_f64());
        let outcome = match &answer {
            Ok(_) => "charged",
            Err(failure) if failure.kind == FailureType::PaymentDeclined => "declined",
            Err(failure) if failure.kind == FailureType::PaymentRateLimited => "rate_limited",
            Err(failure) if failure.kind.retryable() => "unavailable",
            Err(_) => "refused",
        };
        self.metrics.payments.with_label_values(&[outcome]).inc();
        let answer = match answer {
            Err(failure) if failure.kind == FailureType::PaymentDeclined => {
                self.record(&key, &request, PaymentState::Declined).await?;
                Err(failure)
            }
            other => other,
        };
        let payment = answer.map_err(|mut failure| {
            // This answer says nothing about earlier attempts.
            failure.uncharged &= ctx.info().attempt == 1;
            tracing::warn!(
                order_id = %request.order_id,
                attempt = ctx.info().attempt,
                failure = failure.kind.name(),
                "payment not made: {failure}"
            );
            failure.into_activity()
        })?;
        self.record(&key, &request, PaymentState::Charged(&payment.charge_id))
            .await?;
        tracing::info!(order_id = %request.order_id, amount = request.amount, "order paid");
        Ok(payment)
    }

    /// Finds out whether a payment was charged after its answers were lost. If it was not, voids
    /// the key, so that a request still in flight cannot charge later. Fails permanently, with
    /// `PaymentUnsettled`, after five attempts at a gateway that supports neither lookup nor
    /// voiding.
    #[activity(name = "settle_payment")]
    pub async fn settle_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: Sent<PaymentRequest>,
    ) -> Result<Settlement, ActivityError> {
        let request = request.read(&ctx)?;
        let key = idempotency_key(&workflow_id(&ctx, &request.order_id), &request.order_id);
        let settlement = settle(&*self.gateway, &key, &request).await;
        let settlement = settlement.map_err(|failure| self.not_settled(failure, &ctx, &request))?;
        let (outcome, state) = match &settlement {
            Settlement::Charged(payment) => {
                ("settled_charged", PaymentState::Charged(&payment.charge_id))
            }
            Settlement::Declined => ("settled_declined", PaymentState::Declined),
            Settlement::Voided => ("settled_voided", PaymentState::Voided),
        };
        self.record(&key, &request, state).await?;
        self.metrics.payments.with_label_values(&[outcome]).inc();
        tracing::info!(order_id = %request.order_id, outcome, "payment settled");
        Ok(settlement)
    }
}

impl PaymentActivities {
    /// Classifies a failed settlement. A path may be missing for a moment while a gateway starts;
    /// if it stays missing, asking forever does not help.
    fn not_settled(
        &self,
        failure: Failure,
        ctx: &ActivityContext,
        request: &PaymentRequest,
    ) -> ActivityError {
        let (order_id, attempt) = (&request.order_id, ctx.info().attempt);
        if failure.kind != FailureType::PaymentUnsettled {
            tracing::warn!(%order_id, attempt, "payment not settled yet: {failure}");
            return failure.into_activity();
        }
        if attempt < SETTLE_ATTEMPTS {
            tracing::warn!(%order_id, attempt, "payment not settled yet: {failure}");
            return Failure::new(FailureType::PaymentUnavailable, failure.message).into_activity();
        }
        self.metrics
            .payments
            .with_label_values(&["unsettled"])
            .inc();
        tracing::error!(%order_id, amount = request.amount, "payment unsettled: {failure}");
        failure.into_activity()
    }

    async fn record(
        &self,
        key: &str,
        request: &PaymentRequest,
        state: PaymentState<'_>,
    ) -> Result<(), ActivityError> {
        let newly_paid = self
            .store
            .record_payment(key, request, state)
            .await
            .map_err(Failure::into_activity)?;
        if newly_paid {
            self.metrics.orders.with_label_values(&["paid"]).inc();
        }
        Ok(())
    }
}
