//! The connection pool, the schema, and the time limit for the database.

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Any, AnyPool, Executor, SqlSafeStr, Transaction};

use super::health::{Health, answers};
use crate::domain::failure::{Failure, FailureType};

/// A connection that was idle for longer than this is pinged before use.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// Time limit of one database operation, including the wait for a free connection. Shorter than the
/// activity's timeout, so that the activity can report what happened.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit for a connection. Never the first limit that an operation meets: `in_time` also
/// covers the wait for a connection, and it remembers that the database fell silent.
pub(super) const CONNECTION_TIMEOUT: Duration = ANSWER_TIMEOUT.saturating_mul(2);

/// How often a migration says that it waits.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// Time limit for closing the pool. The pool pings each connection that is returned, and waits for
/// the answer as long as the system does.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) pool: AnyPool,
    backend: Backend,
    health: Health,
}

/// The supported databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// PostgreSQL, for fleets.
    Postgres,
    /// SQLite, for one process.
    Sqlite,
}

impl Backend {
    /// Detects the database from a connection URL; `None` if it is neither.
    pub fn of(url: &str) -> Option<Self> {
        match url.split(':').next() {
            Some("postgres" | "postgresql") => Some(Self::Postgres),
            Some("sqlite") => Some(Self::Sqlite),
            _ => None,
        }
    }
}

impl Store {
    /// Opens a pool. For PostgreSQL it does not connect yet.
    pub async fn open(url: &str, connections: u32) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of(url).ok_or_else(|| {
            sqlx::Error::Configuration("the URL must begin with postgres:// or sqlite:".into())
        })?;
        let options = AnyConnectOptions::from_str(url)?;
        let pool = AnyPoolOptions::new()
            .acquire_timeout(CONNECTION_TIMEOUT)
            // A ping before every use would be a quarter of the requests of a small activity. An
            // operation on a broken connection fails and is retried.
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
            // One connection: SQLite allows one writer anyway. An in-memory database lives and dies
            // with its connection, so the pool must never close it.
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

    /// Migrates the schema. Any number of processes may do this at once: PostgreSQL takes a lock;
    /// on SQLite the loser retries and finds the migration done. A database that is down or does
    /// not answer gets 20 s to give a connection. Logs every 5 s that it waits.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        let migrating = self.migrate_silently();
        tokio::pin!(migrating);
        loop {
            let progress = tokio::time::timeout(PROGRESS_INTERVAL, &mut migrating);
            if let Ok(outcome) = progress.await {
                return outcome;
            }
            tracing::warn!(
                "still waiting for the database (DATABASE_URL), or for another process that \
                 migrates it"
            );
        }
    }

    async fn migrate_silently(&self) -> Result<(), sqlx::migrate::MigrateError> {
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

    /// Closes all connections. Waits at most 2 s for connections that are in use or whose server
    /// has disappeared: their work is either committed or not, and waiting longer does not change
    /// that.
    pub async fn close(&self) {
        let closing = tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close());
        if closing.await.is_err() {
            let seconds = CLOSE_TIMEOUT.as_secs();
            tracing::warn!("a connection to the database did not close within {seconds} s");
        }
    }

    /// Ends `work` when the database takes too long. Otherwise a server that has disappeared would
    /// hold the activity and its connection until the system's TCP timeout.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::pin!(work);
        if let Ok(outcome) = tokio::time::timeout(ANSWER_TIMEOUT, &mut work).await {
            return outcome;
        }
        // Must come before `work` is dropped, which returns its connection to the pool.
        self.health.mark_doubtful();
        let seconds = ANSWER_TIMEOUT.as_secs();
        let message = format!("the database did not answer within {seconds} s");
        tracing::warn!("{message}");
        Err(Failure::new(FailureType::StoreUnavailable, message))
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.backend {
            Backend::Postgres => self.pool.begin().await,
            // With a deferred transaction, a write after a read would fail instead of waiting for
            // the lock.
            Backend::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
        }
    }
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The migrations, oldest first. A released migration is never edited. Migrations of a newer
/// version do not prevent the start: pods of this version still have to finish its orders.
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
        (
            3,
            "unconfirmed mails",
            include_str!("../../migrations/0003_unconfirmed_mails.sql"),
        ),
        (
            4,
            "first runs",
            include_str!("../../migrations/0004_first_runs.sql"),
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
