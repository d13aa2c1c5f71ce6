//! `process_payment` and `settle_payment`: requests to the payment gateway, and the record of its
//! answers.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

mod tries;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use super::orders::workflow_id;
use crate::domain::failure::{Failure, FailureType};
use crate::domain::metrics::Metrics;
use crate::domain::order::Payment;
use crate::domain::order::messages::{PaymentRequest, Settlement};
use crate::payment::{KeyAge, PaymentGateway, REMEMBERED, idempotency_key, settle};
use crate::store::{PaymentState, Store};
use tries::{Earlier, Tries, is_over};

/// How many times to ask a gateway that supports neither lookup nor voiding, or may have forgotten
/// a charge, with pauses of 1, 2, 4 and 8 s.
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
    /// Charges the order once, however many times it runs: every attempt sends the same key. An
    /// attempt that the gateway answers with 429 is none of the request's `attempts`.
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
        let tries = tries(&ctx, &request);
        if let Some(refusal) = tries.refusal() {
            tracing::warn!(order_id = %request.order_id, "payment not tried again: {refusal}");
            return Err(refusal.into_activity());
        }
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
        let payment = match answer {
            Ok(payment) => payment,
            Err(failure) => {
                let (failure, earlier) = tries.after(failure);
                tracing::warn!(
                    order_id = %request.order_id,
                    attempt = ctx.info().attempt,
                    failure = failure.kind.name(),
                    "payment not made: {failure}"
                );
                if failure.is_retryable() {
                    ctx.record_heartbeat(earlier).await?;
                }
                return Err(failure.into_activity());
            }
        };
        self.record(&key, &request, PaymentState::Charged(&payment.charge_id))
            .await?;
        tracing::info!(order_id = %request.order_id, amount = request.amount, "order paid");
        Ok(payment)
    }

    /// Finds out whether a payment was charged after its answers were lost. If it was not, voids
    /// the key, so that a request still in flight cannot charge later. Fails permanently, with
    /// `PaymentUnsettled`, after five attempts at a gateway that supports neither lookup nor
    /// voiding, or that may have forgotten the charge.
    #[activity(name = "settle_payment")]
    pub async fn settle_payment(
        self: Arc<Self>,
        ctx: ActivityContext,
        request: Sent<PaymentRequest>,
    ) -> Result<Settlement, ActivityError> {
        let request = request.read(&ctx)?;
        let key = idempotency_key(&workflow_id(&ctx, &request.order_id), &request.order_id);
        let long_ago = |since| is_over(REMEMBERED, since, seconds(Some(SystemTime::now())));
        let key_age = match request.asked_since {
            Some(since) if long_ago(since) => KeyAge::MaybeForgotten,
            _ => KeyAge::Remembered,
        };
        let settlement = settle(&*self.gateway, &key, &request, key_age).await;
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

/// This attempt of a payment, and what is known of the ones before it.
fn tries(ctx: &ActivityContext, request: &PaymentRequest) -> Tries {
    let info = ctx.info();
    let now = info.started_time.unwrap_or_else(SystemTime::now);
    Tries {
        attempt: info.attempt,
        most: request.attempts,
        scheduled: seconds(info.scheduled_time.or(Some(now))),
        now: seconds(Some(now)),
        earlier: Earlier::read(ctx.heartbeat_details().raw()),
    }
}

/// Seconds since 1970.
fn seconds(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since: Duration| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
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
