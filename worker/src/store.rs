//! The database: orders, stock, reservations, payments, mails. One set of statements for
//! PostgreSQL and SQLite. Every method is idempotent and does its work in one transaction.

mod mails;

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Connection, Executor, Row, SqlSafeStr, Transaction};

use crate::activities::{CreateOrder, PaymentRequest, Reservation};
use crate::failure::{Failure, FailureType};
use crate::order::{Item, Reason};

pub use mails::MailCounts;

/// How long an idle connection is taken to work without being asked.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
}

/// The databases that the statements are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// PostgreSQL, for fleets.
    Postgres,
    /// SQLite, for one process.
    Sqlite,
}

impl Backend {
    /// From a connection URL, or `None` if it names neither.
    pub fn of(url: &str) -> Option<Self> {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Some(Self::Postgres),
            Some("sqlite") => Some(Self::Sqlite),
            _ => None,
        }
    }
}

/// What is known of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentState<'a> {
    /// Charged, with the gateway's id.
    Charged(&'a str),
    /// The gateway declined.
    Declined,
    /// There was no charge and there will be none.
    Voided,
}

/// One order as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrder {
    /// The workflow that owns it.
    pub workflow_id: String,
    /// Minor units.
    pub total: i64,
    /// ISO 4217 code; empty if it was cancelled before it was written down.
    pub currency: String,
    /// `created`, `paid` or `cancelled`.
    pub state: String,
    /// Failure type of a cancelled order, else empty.
    pub reason: String,
}

impl Store {
    /// Opens a pool. Does not connect yet when the database is PostgreSQL.
    pub async fn open(url: &str, connections: u32) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of(url).ok_or_else(|| {
            sqlx::Error::Configuration("the URL must begin with postgres:// or sqlite:".into())
        })?;
        let options = AnyConnectOptions::from_str(url)?;
        let pool = AnyPoolOptions::new()
            .acquire_timeout(Duration::from_secs(10))
            // Asking each time whether a connection still works would be a quarter of the requests
            // of a small activity. One that broke in use is noticed by whoever uses it.
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for > TRUSTED_FOR {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            });
        let pool = match backend {
            Backend::Postgres => pool
                .max_connections(connections)
                .idle_timeout(Duration::from_mins(1))
                .connect_lazy_with(options),
            // One connection: SQLite has one writer anyway, and a database in memory lives and
            // dies with its connection, so it must never be closed.
            Backend::Sqlite => {
                pool.max_connections(1)
                    .min_connections(1)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    .after_connect(|connection, _| {
                        Box::pin(async move {
                            connection.execute("PRAGMA journal_mode = WAL").await?;
                            connection.execute("PRAGMA synchronous = NORMAL").await?;
                            connection.execute("PRAGMA busy_timeout = 10000").await?;
                            connection.execute("PRAGMA foreign_keys = ON").await?;
                            Ok(())
                        })
                    })
                    .connect_with(options)
                    .await?
            }
        };
        Ok(Self { pool, backend })
    }

    /// Brings the schema up to date. Any number of processes may do this at once: PostgreSQL
    /// locks, and on SQLite the one that comes second finds the work done when it tries again.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let migrator = migrator();
        let mut tries = match self.backend {
            Backend::Postgres => 0,
            Backend::Sqlite => 5,
        };
        loop {
            match migrator.run(&self.pool).await {
                Err(error) if tries > 0 => {
                    tries -= 1;
                    tracing::debug!(%error, "another process may be migrating; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The pool itself, for reports and tests.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.backend {
            Backend::Postgres => self.pool.begin().await,
            // A transaction that first reads and then writes would fail instead of waiting.
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
        }
    }

    /// Writes an order down; false if this workflow had already done so.
    ///
    /// A workflow id can run again. An order that an earlier run has paid, or written down with
    /// another total, is refused with `OrderConflict`: undoing it here would undo what was sold.
    pub async fn create_order(
        &self,
        workflow_id: &str,
        order: &CreateOrder,
    ) -> Result<bool, Failure> {
        let created = sqlx::query(
            "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, message, created_at, updated_at)
             VALUES ($1, $2, $3, $4, 'created', '', '', $5, $5)
             ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(order.order_id.as_str())
        .bind(workflow_id)
        .bind(order.total)
        .bind(order.currency.as_str())
        .bind(now())
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
        match existing.state.as_str() {
            _ if existing.workflow_id != workflow_id => {
                Err(conflict(&order.order_id, "belongs to another workflow"))
            }
            "cancelled" => Err(cancelled(&order.order_id)),
            "paid" => Err(conflict(&order.order_id, "was paid in an earlier run")),
            _ if !same => Err(conflict(
                &order.order_id,
                "was begun in an earlier run with another total",
            )),
            _ => Ok(false),
        }
    }

    /// One order, or `None`.
    pub async fn order(&self, order_id: &str) -> Result<Option<StoredOrder>, Failure> {
        let row = sqlx::query(
            "SELECT workflow_id, total, currency, state, reason FROM orders WHERE order_id = $1",
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
            })
        })
        .transpose()
    }

    /// Marks an order as cancelled unless it is paid, already cancelled, or another workflow's;
    /// says whether it changed anything.
    pub async fn cancel_order(
        &self,
        workflow_id: &str,
        order_id: &str,
        reason: &Reason,
    ) -> Result<bool, Failure> {
        let changed = sqlx::query(
            "INSERT INTO orders (order_id, workflow_id, total, currency, state, reason, message, created_at, updated_at)
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
    }

    /// Takes all items out of the stock or none. Running it again changes nothing, and with other
    /// items is refused with `OrderConflict`.
    pub async fn reserve(&self, reservation: &Reservation) -> Result<(), Failure> {
        let order_id = reservation.order_id.as_str();
        let mut tx = self.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'reserved', $2)
             ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(order_id)
        .bind(now())
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if inserted == 0 {
            let state: String = sqlx::query("SELECT state FROM reservations WHERE order_id = $1")
                .bind(order_id)
                .fetch_one(&mut *tx)
                .await?
                .try_get(0)?;
            if state != "reserved" {
                return Err(cancelled(order_id));
            }
            return if reserved_items(&mut tx, order_id).await? == reservation.items {
                Ok(())
            } else {
                Err(conflict(order_id, "has other items in an earlier run"))
            };
        }
        for item in &reservation.items {
            // On failure the transaction is dropped, which rolls it back.
            take(&mut tx, order_id, item).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Puts back what an order took; says whether there was anything to put back. Afterwards the
    /// order can never reserve again. What is paid is sold, and stays out of the stock.
    pub async fn release(&self, order_id: &str) -> Result<bool, Failure> {
        let mut tx = self.begin().await?;
        let never_reserved = sqlx::query(
            "INSERT INTO reservations (order_id, state, updated_at) VALUES ($1, 'released', $2)
             ON CONFLICT (order_id) DO NOTHING",
        )
        .bind(order_id)
        .bind(now())
        .execute(&mut *tx)
        .await?
        .rows_affected()
            == 1;
        let mut put_back = false;
        if !never_reserved {
            put_back = sqlx::query(
                "UPDATE reservations SET state = 'released', updated_at = $2
                 WHERE order_id = $1 AND state = 'reserved' AND NOT EXISTS (
                     SELECT 1 FROM orders WHERE orders.order_id = $1 AND orders.state = 'paid')",
            )
            .bind(order_id)
            .bind(now())
            .execute(&mut *tx)
            .await?
            .rows_affected()
                == 1;
        }
        if put_back {
            for item in reserved_items(&mut tx, order_id).await? {
                sqlx::query("UPDATE stock SET available = available + $2 WHERE sku = $1")
                    .bind(item.sku)
                    .bind(item.quantity)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
        Ok(put_back)
    }

    /// How many pieces of a SKU are left, or `None` if the SKU is unknown.
    pub async fn available(&self, sku: &str) -> Result<Option<i64>, Failure> {
        let row = sqlx::query("SELECT available FROM stock WHERE sku = $1")
            .bind(sku)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// Writes down what became of a payment; says whether the order became paid by it. A charge
    /// is never overwritten.
    pub async fn record_payment(
        &self,
        key: &str,
        request: &PaymentRequest,
        state: PaymentState<'_>,
    ) -> Result<bool, Failure> {
        let (name, charge_id) = match state {
            PaymentState::Charged(id) => ("charged", id),
            PaymentState::Declined => ("declined", ""),
            PaymentState::Voided => ("voided", ""),
        };
        let mut tx = self.begin().await?;
        sqlx::query(
            "INSERT INTO payments (order_id, idempotency_key, state, charge_id, amount, currency, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (order_id) DO UPDATE
             SET state = excluded.state, charge_id = excluded.charge_id,
                 updated_at = excluded.updated_at
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
        .await?;
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
    }
}

/// What an order took, in order of SKU as an order's items are. Sorted here and not by the
/// database, whose collation may know another order: stock has to be locked in one and the same.
async fn reserved_items(
    tx: &mut Transaction<'static, Any>,
    order_id: &str,
) -> Result<Vec<Item>, Failure> {
    let rows = sqlx::query("SELECT sku, quantity FROM reservation_items WHERE order_id = $1")
        .bind(order_id)
        .fetch_all(&mut **tx)
        .await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.push(Item {
            sku: row.try_get(0)?,
            quantity: row.try_get(1)?,
        });
    }
    items.sort_by(|one, other| one.sku.cmp(&other.sku));
    Ok(items)
}

/// Takes one item out of the stock within a reservation.
async fn take(
    tx: &mut Transaction<'static, Any>,
    order_id: &str,
    item: &Item,
) -> Result<(), Failure> {
    let taken = sqlx::query(
        "UPDATE stock SET available = available - $2 WHERE sku = $1 AND available >= $2",
    )
    .bind(item.sku.as_str())
    .bind(item.quantity)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if taken == 0 {
        let known = sqlx::query("SELECT 1 FROM stock WHERE sku = $1")
            .bind(item.sku.as_str())
            .fetch_optional(&mut **tx)
            .await?
            .is_some();
        return Err(if known {
            Failure::new(
                FailureType::OutOfStock,
                format!(
                    "fewer than {} pieces of {} are left",
                    item.quantity, item.sku
                ),
            )
        } else {
            Failure::new(
                FailureType::UnknownSku,
                format!("the SKU {} is unknown", item.sku),
            )
        });
    }
    sqlx::query("INSERT INTO reservation_items (order_id, sku, quantity) VALUES ($1, $2, $3)")
        .bind(order_id)
        .bind(item.sku.as_str())
        .bind(item.quantity)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn conflict(order_id: &str, how: &str) -> Failure {
    Failure::new(
        FailureType::OrderConflict,
        format!("order {order_id} {how}"),
    )
}

fn cancelled(order_id: &str) -> Failure {
    Failure::new(
        FailureType::OrderCancelled,
        format!("order {order_id} was cancelled"),
    )
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The migrations, oldest first. A migration that was released is never edited. One that a newer
/// version has applied is no reason not to start: pods of this version still end its orders.
fn migrator() -> Migrator {
    let migrations = [
        (1, "orders", include_str!("../migrations/0001_orders.sql")),
        (
            2,
            "mailings",
            include_str!("../migrations/0002_mailings.sql"),
        ),
    ];
    let mut migrator = Migrator::with_migrations(
        migrations
            .into_iter()
            .map(|(version, name, sql)| {
                Migration::new(
                    version,
                    name.into(),
                    MigrationType::Simple,
                    sql.into_sql_str(),
                    false,
                )
            })
            .collect(),
    );
    migrator.set_ignore_missing(true);
    migrator
}
