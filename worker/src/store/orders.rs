//! The record of the orders.

use sqlx::Row;

use super::pool::{Store, now};
use crate::domain::failure::{Failure, FailureType, Reason};
use crate::domain::order::messages::CreateOrder;

/// One order as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// The workflow that owns it.
    pub workflow_id: String,
    /// Total in minor units.
    pub total: i64,
    /// ISO 4217 code; empty if the order was cancelled before it was recorded.
    pub currency: String,
    /// `created`, `paid` or `cancelled`.
    pub state: String,
    /// Failure type of a cancelled order, otherwise empty.
    pub reason: String,
    /// The first run of the workflow; empty if unknown.
    pub first_run_id: String,
}

impl Store {
    /// Records an order; false if this workflow has already done so.
    ///
    /// A workflow id can run again. An order that an earlier run has paid, or recorded with another
    /// total, is refused with `OrderConflict`: undoing it in this run would undo a sale. A run that
    /// goes on from a reset is not another one: it has the same first run.
    pub async fn create_order(
        &self,
        workflow_id: &str,
        order: &CreateOrder,
    ) -> Result<bool, Failure> {
        self.in_time(async {
            let created = sqlx::query(
                "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, \
                 message, created_at, updated_at, first_run_id)
                 VALUES ($1, $2, $3, $4, 'created', '', '', $5, $5, $6)
                 ON CONFLICT (order_id) DO NOTHING",
            )
            .bind(order.order_id.as_str())
            .bind(workflow_id)
            .bind(order.total)
            .bind(order.currency.as_str())
            .bind(now())
            .bind(order.first_run_id.as_deref().unwrap_or_default())
            .execute(&self.pool)
            .await?
            .rows_affected()
                == 1;
            if created {
                return Ok(true);
            }
            let Some(existing) = self.order(&order.order_id).await? else {
                return Err(Failure::new(
                    FailureType::StoreUnavailable,
                    "the order's row vanished",
                ));
            };
            let same = (existing.total, &existing.currency) == (order.total, &order.currency);
            let first_run_id = order.first_run_id.as_deref().unwrap_or_default();
            let reset = !first_run_id.is_empty() && existing.first_run_id == first_run_id;
            match existing.state.as_str() {
                _ if existing.workflow_id != workflow_id => {
                    Err(conflict(&order.order_id, "belongs to another workflow"))
                }
                "cancelled" => Err(cancelled(&order.order_id)),
                "paid" if same && reset => Ok(false),
                "paid" => Err(conflict(&order.order_id, "was paid in an earlier run")),
                _ if !same => Err(conflict(
                    &order.order_id,
                    "was begun in an earlier run with another total",
                )),
                _ => Ok(false),
            }
        })
        .await
    }

    /// Returns one order, if it exists.
    pub async fn order(&self, order_id: &str) -> Result<Option<StoredOrder>, Failure> {
        self.in_time(async {
            let row = sqlx::query(
                "SELECT workflow_id, total, currency, state, reason, first_run_id
                 FROM orders WHERE order_id = $1",
            )
            .bind(order_id)
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| {
                Ok(StoredOrder {
                    workflow_id: row.try_get(0)?,
                    total: row.try_get(1)?,
                    currency: row.try_get(2)?,
                    state: row.try_get(3)?,
                    reason: row.try_get(4)?,
                    first_run_id: row.try_get(5)?,
                })
            })
            .transpose()
        })
        .await
    }

    /// Marks an order as cancelled unless it is paid, already cancelled, or owned by another
    /// workflow. Returns whether it changed anything.
    pub async fn cancel_order(
        &self,
        workflow_id: &str,
        order_id: &str,
        reason: &Reason,
    ) -> Result<bool, Failure> {
        self.in_time(async {
            let changed = sqlx::query(
                "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, \
                 message, created_at, updated_at)
                 VALUES ($1, $2, 0, '', 'cancelled', $3, $4, $5, $5)
                 ON CONFLICT (order_id) DO UPDATE
                 SET state = 'cancelled', reason = excluded.reason, message = excluded.message,
                     updated_at = excluded.updated_at
                 WHERE orders.workflow_id = excluded.workflow_id AND orders.state = 'created'",
            )
            .bind(order_id)
            .bind(workflow_id)
            .bind(reason.kind.as_str())
            .bind(reason.message.as_str())
            .bind(now())
            .execute(&self.pool)
            .await?
            .rows_affected();
            Ok(changed > 0)
        })
        .await
    }
}

pub(super) fn conflict(order_id: &str, how: &str) -> Failure {
    Failure::new(
        FailureType::OrderConflict,
        format!("order {order_id} {how}"),
    )
}

pub(super) fn cancelled(order_id: &str) -> Failure {
    Failure::new(
        FailureType::OrderCancelled,
        format!("order {order_id} was cancelled"),
    )
}
