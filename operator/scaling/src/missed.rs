//! What failed reads say about the server. Pure.
//!
//! A server that has restarted measures its rates from scratch: it divides by the short time since.
//! But one call fails now and then on any busy server. If each made the rates unusable for half a
//! minute, a server that fails one call in twenty would leave them unusable most of the time.

use crate::observation::UnknownReason;

/// The worst that the reads which failed since the last reading suggest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Missed {
    /// The server was there, and refused to answer.
    Refused,
    /// A single read went unanswered. The next rates count if they are plausible.
    One,
    /// Several reads in a row went unanswered, or nothing has been read yet: the server may have
    /// been down.
    Outage,
}

impl Missed {
    /// What an unknown reading suggests.
    pub(crate) const fn new(reason: UnknownReason, failures: u32) -> Self {
        match reason {
            UnknownReason::NotReadYet | UnknownReason::NotSupported => Self::Outage,
            UnknownReason::TemporalUnavailable | UnknownReason::Malformed if failures > 1 => {
                Self::Outage
            }
            UnknownReason::TemporalUnavailable | UnknownReason::Malformed => Self::One,
            UnknownReason::TemporalAccessDenied
            | UnknownReason::Throttled
            | UnknownReason::Stale
            | UnknownReason::NoHeartbeats
            | UnknownReason::ScrapeFailed
            | UnknownReason::PodsUnseen => Self::Refused,
        }
    }
}
