//! The settings under which the latency is measured, and the size of a trial. Pure.

use std::time::Duration;

/// How many orders a trial places at once.
pub(super) const ORDERS: usize = 6;
/// The right number of replicas for a trial. The fleets' maximum is twice that.
pub(super) const RIGHT: u32 = 2;

/// The settings under which the latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Setting {
    /// Temporal and the operator with their defaults: statistics are cached for 5 s.
    Default,
    /// The defaults, and the client that places the orders sends the operator a wake-up hint.
    Hint,
    /// Temporal caches its statistics for 1 s, and the operator is configured for that.
    ShortCache,
}

impl Setting {
    /// Every setting; the one that restarts Temporal last.
    pub const ALL: [Self; 3] = [Self::Default, Self::Hint, Self::ShortCache];

    /// Its name in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Default => "defaults: cache of 5 s",
            Self::Hint => "with a hint, cache of 5 s",
            Self::ShortCache => "cache of 1 s",
        }
    }

    /// The target for the p99 to the right replicas.
    pub(super) fn aim(self) -> Duration {
        match self {
            Self::Default => Duration::from_secs(6),
            Self::Hint => Duration::from_millis(300),
            Self::ShortCache => Duration::from_millis(1_500),
        }
    }

    /// Values of the operator's chart.
    pub(super) fn operator(self) -> &'static [&'static str] {
        match self {
            Self::Default => &[],
            Self::Hint => &["hints.enabled=true"],
            // A read of every queue every second costs five times the calls.
            Self::ShortCache => &["temporal.statisticsCache=1s", "temporal.callsPerSecond=100"],
        }
    }

    /// Arguments of Temporal's server.
    pub(super) fn temporal(self) -> &'static [&'static str] {
        match self {
            Self::Default | Self::Hint => &[],
            Self::ShortCache => &[
                "--dynamic-config-value",
                "matching.TaskQueueInfoByBuildIdTTL=\"1s\"",
            ],
        }
    }

    pub(super) fn polling_interval(self) -> &'static str {
        match self {
            Self::Default | Self::Hint => "5s",
            Self::ShortCache => "1s",
        }
    }
}
