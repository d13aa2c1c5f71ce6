//! Blocks an activity in the middle of its work: another transaction of a PostgreSQL database has
//! inserted the row that the activity must write, and stays open.

use order_worker::store::Store;
use sqlx::{Any, Row, Transaction};

use crate::support::{Shop, eventually};

/// The steps that can be blocked.
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

    /// The statement that inserts the row before the activity does.
    fn take(self) -> &'static str {
        match self {
            Self::Create => {
                "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, \
                 message, created_at, updated_at)
                 VALUES ($1, '', 0, '', 'created', '', '', '', '')"
            }
            Self::Reserve => {
                "INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'reserved', '')"
            }
        }
    }
}

/// An open transaction that has inserted the row.
pub(crate) struct Hold {
    transaction: Transaction<'static, Any>,
    store: Store,
}

impl Hold {
    /// Inserts the row. The schema must exist: a ready worker has migrated it.
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

    /// Rolls the transaction back.
    pub(crate) async fn let_go(self) {
        self.transaction.rollback().await.unwrap();
        self.store.close().await;
    }
}
