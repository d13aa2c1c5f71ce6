//! `process_payment` and `settle_payment`: the payment gateway, and the record of its answer.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::sync::Arc;
use std::time::Instant;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::orders::workflow_id;
use super::{PaymentRequest, Settlement};
use crate::failure::{Failure, FailureType};
use crate::metrics::Metrics;
use crate::order::Payment;
use crate::payment::{GatewayClient, idempotency_key};
use crate::store::{PaymentState, Store};

/// The activities of the role `payments`.
pub struct PaymentActivities {
    gateway: GatewayClient,
    store: Store,
    metrics: Metrics,
}

impl PaymentActivities {
    /// Activities on this gateway and database.
    pub fn new(gateway: GatewayClient, store: Store, metrics: Metrics) -> Self {
        Self {
            gateway,
            store,
            metrics,
        }
    }
}

#[activities]
impl PaymentActivities {
    /// Charges the order once, however often it runs: every attempt carries the same key.
    #[activity(name = "process_payment")]
    pub async fn process_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: PaymentRequest,
    ) -> Result<Payment, ActivityError> {
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
        let payment = answer.map_err(|failure| {
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

    /// Finds out what became of a payment whose answers were lost. If there was no charge, voids
    /// the key, so that a request still under way cannot charge afterwards.
    #[activity(name = "settle_payment")]
    pub async fn settle_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: PaymentRequest,
    ) -> Result<Settlement, ActivityError> {
        let key = idempotency_key(&workflow_id(&ctx, &request.order_id), &request.order_id);
        let settlement = self
            .gateway
            .settle(&key, &request)
            .await
            .map_err(Failure::into_activity)?;
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
