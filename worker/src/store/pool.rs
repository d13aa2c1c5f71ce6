//! The pool of connections, the schema, and the time that the database has for an answer.

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Executor, SqlSafeStr, Transaction};

use super::health::{Health, answers};
use crate::failure::{Failure, FailureType};

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
    pub(super) pool: AnyPool,
    backend: Backend,
    health: Health,
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
        let health = Health::default();
        let pool = match backend {
            Backend::Postgres => pool
                .max_connections(connections)
                .idle_timeout(Duration::from_mins(1))
                .after_release({
                    let health = health.clone();
                    move |connection, _| {
                        let health = health.clone();
                        Box::pin(async move {
                            if health.is_doubtful() {
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
            health,
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
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        if let Ok(outcome) = tokio::time::timeout(ANSWER_TIMEOUT, &mut work).await {
            return outcome;
        }
        // Before `work` is dropped, and its connection released with it.
        self.health.doubt();
        let seconds = ANSWER_TIMEOUT.as_secs();
        let message = format!("the database did not answer within {seconds} s");
        tracing::warn!("{message}");
        Err(Failure::new(FailureType::StoreUnavailable, message))
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.backend {
            Backend::Postgres => self.pool.begin().await,
            // A transaction that first reads and then writes would fail instead of waiting.
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
        }
    }
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The migrations, oldest first. A migration that was released is never edited. One that a newer
/// version has applied is no reason not to start: pods of this version still end its orders.
fn migrator() -> Migrator {
    let migrations = [
        (
            1,
            "orders",
            include_str!("../../migrations/0001_orders.sql"),
        ),
        (
            2,
            "mailings",
            include_str!("../../migrations/0002_mailings.sql"),
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
