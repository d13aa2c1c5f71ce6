//! How far the caches of a scope are filled, and whether they can be. Plain data.

use std::collections::{BTreeMap, BTreeSet};

use taskqueue_kubernetes::kube_error::Refusal;

use crate::caches::kinds::KINDS;

/// Whether a scope can be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchAccess {
    /// It can.
    Granted,
    /// The API server answers that it cannot, with the reason.
    Denied(String),
    /// Not known, with the reason.
    Unknown(String),
}

/// How far the caches of a scope are filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Whether the scope can be watched.
    pub access: WatchAccess,
    /// The kinds whose cache has been filled.
    pub(super) filled: BTreeSet<&'static str>,
    /// The kinds that the API server refuses to list, with its last answer.
    pub(super) refused: BTreeMap<&'static str, Refusal>,
}

impl Progress {
    /// Of a scope of which nothing is known yet.
    pub(super) fn new() -> Self {
        Self {
            access: WatchAccess::Unknown(
                "checking whether the resources can be watched".to_owned(),
            ),
            filled: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// The kinds whose cache has not been filled yet.
    pub fn missing(&self) -> Vec<&'static str> {
        let kinds = KINDS.into_iter();
        kinds.filter(|kind| !self.filled.contains(kind)).collect()
    }

    /// Whether there is nothing to wait for: all caches are filled, or the API server says that
    /// they cannot be.
    pub(super) fn is_settled(&self) -> bool {
        self.missing().is_empty() || matches!(self.access, WatchAccess::Denied(_))
    }
}
