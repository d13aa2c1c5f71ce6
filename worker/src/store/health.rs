//! Connections that may be dead. The database's server can be gone without a word (a node that lost
//! its power, a network that drops packets); a connection to it then swallows whatever is sent, and
//! waits for as long as the system believes in it, some fifteen minutes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection};

/// Longest wait for the answer of a connection that works.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long every connection is asked after one of them did not answer.
const DOUBTED_FOR: Duration = Duration::from_secs(30);

/// Whether a connection of the pool has lately not answered. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubts(Arc<Mutex<Option<Instant>>>);

impl Doubts {
    /// A connection has not answered.
    pub(super) fn raise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether connections have to be asked before they are used again.
    pub(super) fn raised(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
