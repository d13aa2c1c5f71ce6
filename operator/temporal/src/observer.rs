//! What the reading itself costs and how it goes, as plain numbers. The operator turns them into
//! its metrics; no metrics library here.

use std::time::Duration;

use crate::call::Method;
use crate::connection::Place;

/// Told about every call to Temporal.
pub trait Observer: Send + Sync + 'static {
    /// A call has ended. `code` is the gRPC code's name, `Ok` on success: a closed set.
    fn call(&self, place: &Place, method: Method, code: &'static str, took: Duration);
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn call(&self, _: &Place, _: Method, _: &'static str, _: Duration) {}
}

/// The call budget of one Temporal namespace as it stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReading {
    /// Whose budget.
    pub place: Place,
    /// Calls that could be made at once.
    pub tokens: u64,
    /// Calls per second now, in thousandths; below `full_rate_milli` after `ResourceExhausted`.
    pub rate_milli: u64,
    /// Calls per second that were configured, in thousandths.
    pub full_rate_milli: u64,
    /// How long the read that waits longest has been due. Steadily above zero: the budget is
    /// too small for the queues.
    pub behind: Duration,
    /// Task queues that are read here.
    pub queues: u64,
    /// How many of them have work.
    pub busy_queues: u64,
}
