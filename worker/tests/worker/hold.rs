//! An activity that is held in the middle of its work: another transaction of a PostgreSQL database
//! has the row that it has to write, and does not end.

use order_worker::store::Store;
use sqlx::{Any, Row, Transaction};

use crate::support::{Shop, eventually};

/// The steps that can be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Reserve,
}

impl Step {
    /// The name of the activity.
    pub(crate) fn activity(self) -> &'static str {
        match self {
            Self::Create => "create_order",
            Self::Reserve => "reserve_inventory",
        }
    }

    /// Takes the row of an order that the activity is to make.
    fn take(self) -> &'static str {
        match self {
            Self::Create => {
                "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, message, created_at, updated_at)
                 VALUES ($1, '', 0, '', 'created', '', '', '', '')"
            }
            Self::Reserve => {
                "INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'reserved', '')"
            }
        }
    }
}

/// A transaction that has the row.
pub(crate) struct Hold {
    transaction: Transaction<'static, Any>,
    store: Store,
}

impl Hold {
    /// Takes the row. The database has to be up to date, which a worker that is ready has seen to.
    pub(crate) async fn of(shop: &Shop, step: Step, order_id: &str) -> Self {
        let store = shop.store().await;
        let mut transaction = store.pool().begin().await.unwrap();
        let taken = sqlx::query(step.take()).bind(order_id);
        taken.execute(&mut *transaction).await.unwrap();
        Self { transaction, store }
    }

    /// Waits until the activity waits for the row.
    pub(crate) async fn waited_for(&mut self) {
        eventually("the activity waits for its row", async || {
            let waiting = sqlx::query(
                "SELECT COUNT(*) FROM pg_locks
                 WHERE NOT granted AND transactionid = pg_current_xact_id()::xid",
            );
            let row = waiting.fetch_one(&mut *self.transaction).await.unwrap();
            (row.get::<i64, _>(0) > 0).then_some(())
        })
        .await;
    }

    /// Ends the transaction as if it had never been.
    pub(crate) async fn let_go(self) {
        self.transaction.rollback().await.unwrap();
        self.store.close().await;
    }
}
