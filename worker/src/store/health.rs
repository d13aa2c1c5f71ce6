//! Detects dead connections. The database's server can disappear without closing them, for example
//! when a node loses power or a network drops packets. Such a connection accepts everything that is
//! sent and waits until the system's TCP timeout, about fifteen minutes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{AnyConnection, Connection};

/// Timeout of a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connections are pinged before reuse after one did not answer.
const DOUBTED_FOR: Duration = Duration::from_secs(30);

/// When a connection of the pool last failed to answer. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<Option<Instant>>>);

impl Health {
    /// Records that a connection did not answer.
    pub(super) fn mark_doubtful(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether connections must be pinged before reuse.
    pub(super) fn is_doubtful(&self) -> bool {
        let last = *self.0.lock();
        last.is_some_and(|at| at.elapsed() < DOUBTED_FOR)
    }
}

/// Pings a connection. On an error the pool closes the connection.
pub(super) async fn answers(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
