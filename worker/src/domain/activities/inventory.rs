//! `reserve_inventory` and `release_inventory`: the stock in the database.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::sync::Arc;

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use crate::domain::failure::Failure;
use crate::domain::order::messages::{ReleaseInventory, Reservation};
use crate::store::Store;

/// The activities of the role `inventory`.
pub struct InventoryActivities {
    store: Store,
}

impl InventoryActivities {
    /// Creates the activities for this database.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[activities]
impl InventoryActivities {
    /// Takes all items out of the stock, or none. Fails with `OutOfStock` or `UnknownSku`, and with
    /// `OrderCancelled` if the order's inventory was already released.
    #[activity(name = "reserve_inventory")]
    pub async fn reserve_inventory(
        self: Arc<Self>,
        ctx: ActivityContext,
        reservation: Sent<Reservation>,
    ) -> Result<(), ActivityError> {
        let reservation = reservation.read(&ctx)?;
        self.store
            .reserve(&reservation)
            .await
            .map_err(Failure::into_activity)?;
        tracing::info!(order_id = %reservation.order_id, "inventory reserved");
        Ok(())
    }

    /// Puts back what the order took, once, and prevents a later reservation by the same order.
    #[activity(name = "release_inventory")]
    pub async fn release_inventory(
        self: Arc<Self>,
        ctx: ActivityContext,
        release: Sent<ReleaseInventory>,
    ) -> Result<(), ActivityError> {
        let release = release.read(&ctx)?;
        let put_back = self
            .store
            .release(&release.order_id)
            .await
            .map_err(Failure::into_activity)?;
        tracing::info!(order_id = %release.order_id, put_back, "inventory released");
        Ok(())
    }
}
