//! Something that keeps a fleet from being as it should be: a value, not an error. Plain data.

use std::fmt;

use taskqueue_api::Reason;

/// What is wrong, as a condition says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong and what to do. Without numbers that move by themselves.
    pub message: String,
}

impl NotReady {
    /// A problem.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
