//! Reads the clock, the only place in this crate that does.

use jiff::Timestamp;

/// The present time.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
