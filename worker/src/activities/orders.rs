//! `create_order` and `cancel_order_activity`: the order's row in the database.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::sync::Arc;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use crate::failure::{self, Failure, FailureType, Reason};
use crate::metrics::Metrics;
use crate::order::messages::{CancelOrder, CreateOrder};
use crate::store::Store;

/// The activities of the role `orders`.
pub struct OrderActivities {
    store: Store,
    metrics: Metrics,
}

impl OrderActivities {
    /// Activities on this database.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics }
    }
}

#[activities]
impl OrderActivities {
    /// Writes the order down, once. Fails with `OrderConflict` if another workflow has this id
    /// and with `OrderCancelled` if it was cancelled meanwhile.
    #[activity(name = "create_order")]
    pub async fn create_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        order: Sent<CreateOrder>,
    ) -> Result<(), ActivityError> {
        let order = order.read(&ctx)?;
        let workflow_id = workflow_id(&ctx, &order.order_id);
        let created = self
            .store
            .create_order(&workflow_id, &order)
            .await
            .map_err(Failure::into_activity)?;
        if created {
            self.metrics.orders.with_label_values(&["created"]).inc();
            tracing::info!(order_id = %order.order_id, "order created");
        }
        Ok(())
    }

    /// Marks the order as cancelled with its reason, also when it was never written down, so that
    /// a `create_order` that arrives late finds it. A paid order, or another workflow's, is left
    /// alone.
    #[activity(name = "cancel_order_activity")]
    pub async fn cancel_order_activity(
        self: Arc<Self>,
        ctx: ActivityContext,
        cancel: Sent<CancelOrder>,
    ) -> Result<(), ActivityError> {
        let cancel = cancel.read(&ctx)?;
        let workflow_id = workflow_id(&ctx, &cancel.order_id);
        let cancelled = self
            .store
            .cancel_order(&workflow_id, &cancel.order_id, &cancel.reason)
            .await
            .map_err(Failure::into_activity)?;
        if cancelled {
            let outcome = outcome(&cancel.reason);
            self.metrics.orders.with_label_values(&[outcome]).inc();
            tracing::info!(order_id = %cancel.order_id, reason = %cancel.reason.kind, "order cancelled");
        }
        Ok(())
    }
}

/// How an order that was not paid counts.
fn outcome(reason: &Reason) -> &'static str {
    let is = |kind| failure::is(reason, kind);
    if is(FailureType::CancelledByCustomer) || is(FailureType::CancelledByRequest) {
        "cancelled"
    } else if is(FailureType::PaymentDeclined) {
        "declined"
    } else if is(FailureType::OutOfStock) || is(FailureType::UnknownSku) {
        "out_of_stock"
    } else {
        "failed"
    }
}

/// The workflow that owns the order; an activity started without one owns it by the order's id.
pub(super) fn workflow_id(ctx: &ActivityContext, order_id: &str) -> String {
    // The SDK gives an activity without a workflow an empty id.
    let workflow_id = ctx.info().workflow_id.clone().filter(|id| !id.is_empty());
    workflow_id.unwrap_or_else(|| format!("order-{order_id}"))
}
