//! `check_order`: the rules for an order. `create_order` and `cancel_order_activity`: the order's
//! row in the database.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::sync::Arc;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use crate::domain::failure::{self, Failure, FailureType, Reason};
use crate::domain::metrics::Metrics;
use crate::domain::order::messages::{CancelOrder, CreateOrder};
use crate::domain::order::{Order, OrderInput};
use crate::store::Store;

/// The activities of the role `orders`.
pub struct OrderActivities {
    store: Store,
    metrics: Metrics,
}

impl OrderActivities {
    /// Creates the activities for this database.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics }
    }
}

#[activities]
impl OrderActivities {
    /// Checks an order as a client sent it, and returns it without the card. Fails with
    /// `InvalidOrder`, which names the field. Logs the fields that are ignored.
    #[expect(clippy::unused_async, reason = "the SDK takes async activities")]
    #[activity(name = "check_order")]
    pub async fn check_order(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: Sent<OrderInput>,
    ) -> Result<Order, ActivityError> {
        let input = input.unchecked(&ctx)?;
        let (mut order, ignored) = input
            .parse_noting_ignored()
            .map_err(Failure::into_activity)?;
        // The workflow has it, and results are shown in more places than inputs.
        order.card = None;
        if !ignored.is_empty() {
            let fields = ignored.join(", ");
            let order_id = &order.order_id;
            tracing::warn!(%order_id, fields, "unknown fields of the order are ignored");
        }
        Ok(order)
    }

    /// Records the order, once. Fails with `OrderConflict` if another workflow owns this id, and
    /// with `OrderCancelled` if the order was cancelled in the meantime.
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

    /// Marks the order as cancelled, with its reason. If the order was never recorded, this stops a
    /// late `create_order`. Leaves a paid order and another workflow's order unchanged.
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
            tracing::info!(
                order_id = %cancel.order_id, reason = %cancel.reason.kind, "order cancelled"
            );
        }
        Ok(())
    }
}

/// The metric label of an unpaid order's end.
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

/// The workflow that owns the order. An activity without a workflow acts for the workflow
/// `order-ID`.
pub(super) fn workflow_id(ctx: &ActivityContext, order_id: &str) -> String {
    // For an activity without a workflow, the SDK reports an empty id.
    let workflow_id = ctx.info().workflow_id.clone().filter(|id| !id.is_empty());
    workflow_id.unwrap_or_else(|| format!("order-{order_id}"))
}
