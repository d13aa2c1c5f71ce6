//! The database: orders, stock, reservations, payments, mails. One set of statements for
//! PostgreSQL and SQLite. Every method is idempotent and does its work in one transaction.

mod doubts;
mod mails;
mod said;
mod stock;

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Executor, Row, SqlSafeStr, Transaction};

use crate::activities::{CreateOrder, PaymentRequest};
use crate::failure::{Failure, FailureType};
use crate::order::Reason;

pub use mails::MailCounts;
pub use said::{said, said_of_migration};

use doubts::{Doubts, answers};

/// How long an idle connection is taken to work without being asked.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Longest wait for everything that an activity asks of the database at once, a free connection among
/// it. Shorter than the activity may take, so that it can say what happened.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for connections to close. The pool asks each one that is handed back whether it still
/// works, and waits for the answer for as long as the system does.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
    doubts: Doubts,
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
            .acquire_timeout(ANSWER_TIMEOUT)
            // Asking each time whether a connection still works would be a quarter of the requests
            // of a small activity. One that broke in use is noticed by whoever uses it.
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for > TRUSTED_FOR {
                        answers(connection).await?;
                    }
                    Ok(true)
                })
            });
        let doubts = Doubts::default();
        let pool = match backend {
            Backend::Postgres => pool
                .max_connections(connections)
                .idle_timeout(Duration::from_mins(1))
                .after_release({
                    let doubts = doubts.clone();
                    move |connection, _| {
                        let doubts = doubts.clone();
                        Box::pin(async move {
                            if doubts.raised() {
                                answers(connection).await?;
                            }
                            Ok(true)
                        })
                    }
                })
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
        Ok(Self {
            pool,
            backend,
            doubts,
        })
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

    /// Closes every connection. One that is in use, or whose server is gone without a word, is waited
    /// for no longer than 2 s: what it did is written down, or is not, whoever waits.
    pub async fn close(&self) {
        let closing = tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close());
        if closing.await.is_err() {
            let seconds = CLOSE_TIMEOUT.as_secs();
            tracing::warn!("a connection to the database did not close within {seconds} s");
        }
    }

    /// Ends `work` when the database takes too long: a server that is gone without a word would hold
    /// the activity and its connection for as long as the system believes in it.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        if let Ok(outcome) = tokio::time::timeout(ANSWER_TIMEOUT, &mut work).await {
            return outcome;
        }
        // Before `work` is dropped, and its connection released with it.
        self.doubts.raise();
        let seconds = ANSWER_TIMEOUT.as_secs();
        let message = format!("the database did not answer within {seconds} s");
        tracing::warn!("{message}");
        Err(Failure::new(FailureType::StoreUnavailable, message))
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
        self.in_time(async {
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
        })
        .await
    }

    /// One order, or `None`.
    pub async fn order(&self, order_id: &str) -> Result<Option<StoredOrder>, Failure> {
        self.in_time(async {
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
        })
        .await
    }

    /// Marks an order as cancelled unless it is paid, already cancelled, or another workflow's;
    /// says whether it changed anything.
    pub async fn cancel_order(
        &self,
        workflow_id: &str,
        order_id: &str,
        reason: &Reason,
    ) -> Result<bool, Failure> {
        self.in_time(async {
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
        })
        .await
    }

    /// Writes down what became of a payment; says whether the order became paid by it. A charge
    /// is never overwritten.
    pub async fn record_payment(
        &self,
        key: &str,
        request: &PaymentRequest,
        state: PaymentState<'_>,
    ) -> Result<bool, Failure> {
        self.in_time(async {
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
        })
        .await
    }
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
