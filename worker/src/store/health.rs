//! Connections that may be dead. The database's server can disappear without closing them (a node
//! loses its power, a network drops packets). Such a connection accepts whatever is sent and waits
//! until the system's TCP timeout, some fifteen minutes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::{AnyConnection, Connection};

/// Longest wait for the answer of a connection that works.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connections are tested before use after one of them did not answer.
const DOUBTED_FOR: Duration = Duration::from_secs(30);

/// When a connection of the pool last failed to answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Health(Arc<Mutex<Option<Instant>>>);

impl Health {
    /// Records that a connection did not answer.
    pub(super) fn doubt(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether connections must be tested before they are used again.
    pub(super) fn is_doubtful(&self) -> bool {
        let last = *self.0.lock();
        last.is_some_and(|at| at.elapsed() < DOUBTED_FOR)
    }
}

/// Whether a connection answers soon. The pool closes one for which this is an error.
pub(super) async fn answers(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    match tokio::time::timeout(PING_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
