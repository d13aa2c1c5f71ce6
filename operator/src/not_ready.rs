//! Why a fleet is not in its desired state: a value, not an error. Pure.

use std::fmt;

use taskqueue_api::Reason;

use crate::error::{Error, ErrorReason};

/// Why something is not in its desired state, as a condition reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReady {
    /// The reason of the condition.
    pub reason: Reason,
    /// What is wrong and what to do about it. Contains no numbers that change by themselves.
    pub message: String,
}

impl NotReady {
    /// Creates a not-ready reason with its message.
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

impl From<&Error> for NotReady {
    fn from(error: &Error) -> Self {
        let reason = match error.reason() {
            ErrorReason::TemplateRefused
            | ErrorReason::QuotaExceeded
            | ErrorReason::AdmissionDenied => Reason::ApplyFailed,
            ErrorReason::AccessDenied => Reason::Forbidden,
            ErrorReason::InternalError => Reason::InternalError,
            ErrorReason::NameConflict => Reason::NameConflict,
            ErrorReason::Throttled => Reason::Throttled,
            ErrorReason::WebhookUnavailable => Reason::WebhookUnavailable,
            ErrorReason::ApiServerUnavailable => Reason::ApiServerUnavailable,
            ErrorReason::DefinitionOutdated | ErrorReason::NotFound | ErrorReason::Conflict => {
                Reason::Conflict
            }
        };
        Self::new(reason, error.condition_message())
    }
}
