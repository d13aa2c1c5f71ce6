//! What to do about an error. Pure.

use std::time::Duration;

/// What to do about an error; the label `class` of `reconcile_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The user's own object is wrong: wait until it changes.
    Invalid,
    /// Something the object names is missing: look again in a while.
    Dependency,
    /// The operator may not do this: look again in a while.
    Denied,
    /// Asked to slow down.
    Throttled,
    /// The other side does not answer: back off.
    Unavailable,
    /// Someone else wrote first: look again soon.
    Conflict,
    /// An invariant of the operator is broken.
    Bug,
}

impl Class {
    /// Every class, for pre-set series.
    pub const ALL: [Self; 7] = [
        Self::Invalid,
        Self::Dependency,
        Self::Denied,
        Self::Throttled,
        Self::Unavailable,
        Self::Conflict,
        Self::Bug,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Dependency => "dependency",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Conflict => "conflict",
            Self::Bug => "bug",
        }
    }

    /// How long to wait after the `attempt`-th failure in a row (the first is 0).
    ///
    /// Throttled, unavailable and broken passes back off; the others have a fixed rhythm.
    pub fn wait(self, attempt: u32) -> Duration {
        let doubled = |first: u64, cap: u64| {
            Duration::from_secs(first.saturating_mul(1 << attempt.min(16)).min(cap))
        };
        match self {
            // Another watch event usually comes first; this only bounds a missed one.
            Self::Invalid => Duration::from_mins(5),
            Self::Dependency | Self::Denied => Duration::from_mins(1),
            Self::Throttled => doubled(30, 300),
            Self::Unavailable => doubled(1, 60),
            Self::Conflict => doubled(1, 8),
            Self::Bug => doubled(30, 600),
        }
    }
}
