//! Settings of the whole operator that decide what is worth reporting. Plain data.

use std::time::Duration;

/// Settings of the whole operator that decide what is worth reporting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// How long Temporal answers from its cache of statistics: new work may stay unseen for as
    /// long. Default 5 s.
    pub statistics_cache: Duration,
    /// How long before its expiry a certificate is reported. Default 7 days.
    pub certificate_warning: Duration,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            statistics_cache: Duration::from_secs(5),
            certificate_warning: Duration::from_hours(7 * 24),
        }
    }
}
