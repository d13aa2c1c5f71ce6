//! Pauses that double with each failure. Pure.

use std::time::Duration;

use crate::budget::Millis;

/// The longest pause between retries of a call that the server does not support; it may gain the
/// call by being upgraded. Does not apply if the server has answered the call before: then a proxy
/// may have answered in its place, or an older server during a rolling upgrade.
pub(crate) const UNSUPPORTED_BACKOFF: Millis = 600_000;

/// The pause after this many failures in a row: doubles with each failure, up to `longest`.
pub(crate) fn doubled(first: Millis, failures: u32, longest: Millis) -> Millis {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(longest.max(first))
}

/// Whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
