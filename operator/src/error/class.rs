//! What to do about an error. Pure.

use std::time::Duration;

/// What to do about an error; the label `class` of `reconcile_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The user's own object is wrong: wait until it changes.
    Invalid,
    /// Something that the object names is missing: try again in a while.
    Dependency,
    /// The operator may not do this: try again in a while.
    Denied,
    /// The API server asks to slow down: back off.
    Throttled,
    /// The API server does not answer: back off.
    Unavailable,
    /// Somebody else wrote first: try again soon.
    Conflict,
    /// An invariant of the operator is broken.
    Bug,
}

impl Class {
    /// Every class, so that each series of the metric exists from the start.
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
    /// Throttled, unavailable, conflict and bug errors back off; the others wait a fixed time.
    pub fn wait(self, attempt: u32) -> Duration {
        let doubled = |first: u64, cap: u64| {
            Duration::from_secs(first.saturating_mul(1 << attempt.min(16)).min(cap))
        };
        match self {
            // A watch event usually comes first; this is for one that was missed.
            Self::Invalid => Duration::from_mins(5),
            Self::Dependency | Self::Denied => Duration::from_mins(1),
            Self::Throttled => doubled(30, 300),
            Self::Unavailable => doubled(1, 60),
            Self::Conflict => doubled(1, 8),
            Self::Bug => doubled(30, 600),
        }
    }
}
