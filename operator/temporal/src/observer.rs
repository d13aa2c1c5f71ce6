//! The cost and the state of reading itself, as plain numbers. The operator turns them into its
//! metrics; no metrics library here.

use std::time::Duration;

use crate::call::Method;
use crate::call_budget::PerSource;
use crate::connection::ServerNamespace;

/// Observes every call to Temporal.
pub trait Observer: Send + Sync + 'static {
    /// A call has ended. `code` is the name of the gRPC code, `Ok` on success: a closed set.
    fn call(
        &self,
        server_namespace: &ServerNamespace,
        method: Method,
        code: &'static str,
        took: Duration,
    );
}

/// An observer that does nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn call(&self, _: &ServerNamespace, _: Method, _: &'static str, _: Duration) {}
}

/// The current call budget of one Temporal namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetReading {
    /// The owner of the budget.
    pub server_namespace: ServerNamespace,
    /// The configured rate of all calls together: calls per second, in thousandths.
    pub full_rate_milli: u64,
    /// What the calls for each source may do.
    pub sources: PerSource<SourceReading>,
    /// Task queues read in this Temporal namespace.
    pub queues: u64,
    /// How many of them have work.
    pub busy_queues: u64,
}

/// What the calls for one source may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceReading {
    /// Calls that could be made now without waiting.
    pub tokens: u64,
    /// The current rate: calls per second, in thousandths; below the configured one after
    /// `ResourceExhausted` for a call of this source.
    pub rate_milli: u64,
    /// How long the most overdue read has been due. If it stays above zero, the budget is too small
    /// for the queues.
    pub behind: Duration,
}
