//! Every way an order can fail, classified in one place: stable type names, whether a retry can
//! help, and the conversion to and from Temporal's failures. Pure.
//!
//! The names are an interface: workflows, histories, dashboards and callers match on them. A test
//! compares the table in the README with [`FailureType::ALL`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError};
use temporalio_sdk::activities::ActivityError;

/// Maximum length of a stored cancellation reason, in characters.
pub const MAX_REASON: usize = 500;

/// The failure types. `Display` and [`FailureType::name`] return the stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureType {
    /// The order itself is invalid; the message names the field.
    InvalidOrder,
    /// The input of an activity is unreadable or invalid; the message names the field.
    InvalidInput,
    /// Another workflow already has an order with this id.
    OrderConflict,
    /// The order was cancelled before this step ran. A late step must not undo the cancellation.
    OrderCancelled,
    /// Not enough stock.
    OutOfStock,
    /// The inventory does not know a SKU.
    UnknownSku,
    /// The gateway declined the card.
    PaymentDeclined,
    /// The gateway refused the request for another reason, or the key was voided.
    PaymentRefused,
    /// The gateway asked to slow down. The retry honours its `Retry-After`.
    PaymentRateLimited,
    /// The gateway answered with a server error, too late, or not at all. The outcome is unknown.
    PaymentUnavailable,
    /// The gateway can neither confirm nor rule out the charge. A person must find out whether it
    /// went through.
    PaymentUnsettled,
    /// The database did not answer or refused the statement.
    StoreUnavailable,
    /// The mail server did not answer or asked to retry later.
    MailUnavailable,
    /// The mail server refused a recipient permanently. Reported, never returned as an error.
    MailRefused,
    /// The mail server got a mail three times and never said whether it accepted it. Reported,
    /// never returned as an error.
    MailUnconfirmed,
    /// A step of an order that stopped could not be undone. A person must undo it.
    CompensationFailed,
    /// The customer cancelled before payment.
    CancelledByCustomer,
    /// The workflow was cancelled before payment.
    CancelledByRequest,
    /// The worker's grace period ended before the activity did.
    WorkerShutdown,
}

impl FailureType {
    /// All failure types, in the order of the README's table.
    pub const ALL: [Self; 19] = [
        Self::InvalidOrder,
        Self::InvalidInput,
        Self::OrderConflict,
        Self::OrderCancelled,
        Self::OutOfStock,
        Self::UnknownSku,
        Self::PaymentDeclined,
        Self::PaymentRefused,
        Self::PaymentRateLimited,
        Self::PaymentUnavailable,
        Self::PaymentUnsettled,
        Self::StoreUnavailable,
        Self::MailUnavailable,
        Self::MailRefused,
        Self::MailUnconfirmed,
        Self::CompensationFailed,
        Self::CancelledByCustomer,
        Self::CancelledByRequest,
        Self::WorkerShutdown,
    ];

    /// The stable name, as used in Temporal's failure type and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidOrder => "InvalidOrder",
            Self::InvalidInput => taskqueue_worker::INVALID_INPUT,
            Self::OrderConflict => "OrderConflict",
            Self::OrderCancelled => "OrderCancelled",
            Self::OutOfStock => "OutOfStock",
            Self::UnknownSku => "UnknownSku",
            Self::PaymentDeclined => "PaymentDeclined",
            Self::PaymentRefused => "PaymentRefused",
            Self::PaymentRateLimited => "PaymentRateLimited",
            Self::PaymentUnavailable => "PaymentUnavailable",
            Self::PaymentUnsettled => "PaymentUnsettled",
            Self::StoreUnavailable => "StoreUnavailable",
            Self::MailUnavailable => "MailUnavailable",
            Self::MailRefused => "MailRefused",
            Self::MailUnconfirmed => "MailUnconfirmed",
            Self::CompensationFailed => "CompensationFailed",
            Self::CancelledByCustomer => "CancelledByCustomer",
            Self::CancelledByRequest => "CancelledByRequest",
            Self::WorkerShutdown => taskqueue_worker::WORKER_SHUTDOWN,
        }
    }

    /// The failure type of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether a retry can help.
    pub fn retryable(self) -> bool {
        match self {
            Self::InvalidOrder
            | Self::InvalidInput
            | Self::OrderConflict
            | Self::OrderCancelled
            | Self::OutOfStock
            | Self::UnknownSku
            | Self::PaymentDeclined
            | Self::PaymentRefused
            | Self::PaymentUnsettled
            | Self::MailRefused
            | Self::MailUnconfirmed
            | Self::CompensationFailed
            | Self::CancelledByCustomer
            | Self::CancelledByRequest => false,
            Self::PaymentRateLimited
            | Self::PaymentUnavailable
            | Self::StoreUnavailable
            | Self::MailUnavailable
            | Self::WorkerShutdown => true,
        }
    }
}

/// A classified failure. The message is for people and must never contain card data or credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The failure type.
    pub kind: FailureType,
    /// One sentence.
    pub message: String,
    /// Pause before the next attempt, such as a `Retry-After`. `None`: the retry policy decides.
    pub retry_after: Option<Duration>,
    /// For a payment: it is certain that nothing was charged.
    pub uncharged: bool,
    /// No further attempt may be made, although the failure type could pass.
    pub is_final: bool,
}

/// Why an order ended as it did: a failure type from the README's table, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name, such as `PaymentDeclined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence for people.
    pub message: String,
}

impl Reason {
    /// A reason in a caller's own words, sanitized for every database, log and terminal: one line,
    /// no control characters, at most [`MAX_REASON`] characters.
    pub fn in_words(kind: FailureType, words: &str) -> Self {
        Self::of(kind.name(), words)
    }

    /// Like [`Reason::in_words`], for a type name from another program.
    pub(crate) fn of(kind: &str, words: &str) -> Self {
        Self {
            kind: one_line(kind),
            message: one_line(words),
        }
    }
}

fn one_line(words: &str) -> String {
    let line = words.replace(char::is_control, " ");
    line.trim().chars().take(MAX_REASON).collect()
}

/// The details of a failed payment for which it is known whether it was charged.
#[derive(Debug, Serialize, Deserialize)]
struct PaymentDetails {
    charged: bool,
}

impl Failure {
    /// Creates a failure that is retried by the retry policy.
    pub fn new(kind: FailureType, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            uncharged: false,
            is_final: false,
        }
    }

    /// Retries after `delay` instead of by the retry policy's backoff.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// Allows no further attempt.
    #[must_use]
    pub fn finally(mut self) -> Self {
        self.is_final = true;
        self.retry_after = None;
        self
    }

    /// Whether another attempt may follow.
    pub fn is_retryable(&self) -> bool {
        self.kind.retryable() && !self.is_final
    }

    /// Converts it into Temporal's application failure.
    pub fn into_application(self) -> ApplicationFailure {
        let builder = ApplicationFailure::builder(self.message.clone())
            .type_name(self.kind.name().to_owned())
            .non_retryable(!self.is_retryable());
        match self.retry_after {
            Some(delay) => builder.next_retry_delay(delay).build(),
            None if self.uncharged => builder.details(PaymentDetails { charged: false }).build(),
            None => builder.build(),
        }
    }

    /// Converts it into the error that an activity returns.
    pub fn into_activity(self) -> ActivityError {
        ActivityError::application(self.into_application())
    }

    /// Converts it into the reason of a result.
    pub fn reason(&self) -> Reason {
        Reason {
            kind: self.kind.name().to_owned(),
            message: self.message.clone(),
        }
    }
}

/// Classifies the database's errors. Nearly all of them are transient: permanent ones (a duplicate,
/// too little stock) are handled in the statements and never become errors. A value that PostgreSQL
/// cannot store (SQLSTATE class 22, such as a NUL in a text) is permanent.
impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(db) = &error
            && db
                .code()
                .is_some_and(|code| code.len() == 5 && code.starts_with("22"))
        {
            let message = format!("the database cannot hold a value: {}", db.message());
            return Self::new(FailureType::InvalidOrder, message);
        }
        // The driver's text for a failed connection can contain parts of the connection string.
        let message = match &error {
            sqlx::Error::Database(db) => {
                format!("the database refused a statement: {}", db.message())
            }
            sqlx::Error::PoolTimedOut => "no database connection became free in time".to_owned(),
            sqlx::Error::Io(io) => format!("the database cannot be reached: {}", io.kind()),
            _ => "the database did not answer as expected".to_owned(),
        };
        Self::new(FailureType::StoreUnavailable, message)
    }
}

/// Why an activity failed, from the workflow's point of view: type and message of the innermost
/// failure.
pub fn reason_of(error: &ActivityExecutionError) -> Reason {
    match error.reason() {
        Some(IncomingError::Application(failure)) => Reason {
            kind: failure
                .type_name()
                .unwrap_or("ApplicationFailure")
                .to_owned(),
            message: failure.to_string(),
        },
        Some(IncomingError::Timeout(timeout)) => Reason {
            kind: "ActivityTimeout".to_owned(),
            message: format!("the activity timed out ({:?})", timeout.timeout_type()),
        },
        _ => Reason {
            kind: "ActivityFailure".to_owned(),
            message: error.to_string(),
        },
    }
}

/// Whether a failed payment is known not to have been charged.
pub fn is_uncharged(error: &ActivityExecutionError) -> bool {
    let Some(IncomingError::Application(failure)) = error.reason() else {
        return false;
    };
    let details = failure.details::<PaymentDetails>();
    matches!(details, Ok(Some(PaymentDetails { charged: false })))
}

/// Whether another attempt of a failed activity could have succeeded.
pub fn is_transient(error: &ActivityExecutionError) -> bool {
    match error.reason() {
        Some(IncomingError::Application(failure)) => {
            let named = failure.type_name().and_then(FailureType::named);
            // The last attempt of a payment says that it is final.
            !failure.is_non_retryable() || named.is_some_and(FailureType::retryable)
        }
        Some(IncomingError::Timeout(_)) => true,
        _ => false,
    }
}

/// Whether the reason has the failure type `kind`.
pub fn is(reason: &Reason, kind: FailureType) -> bool {
    reason.kind == kind.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declined_payment_has_the_name_and_the_words_that_clients_know() {
        let failure =
            Failure::new(FailureType::PaymentDeclined, "Payment declined").into_application();
        assert_eq!(failure.type_name(), Some("PaymentDeclined"));
        assert_eq!(failure.to_string(), "Payment declined");
        assert!(failure.is_non_retryable());
        assert_eq!(failure.next_retry_delay(), None);
    }

    #[test]
    fn a_rate_limit_carries_the_wish_of_the_gateway() {
        let failure = Failure::new(FailureType::PaymentRateLimited, "slow down")
            .retry_after(Some(Duration::from_secs(7)))
            .into_application();
        assert!(!failure.is_non_retryable());
        assert_eq!(failure.next_retry_delay(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_readme_lists_every_failure_type_with_its_class() {
        let readme = include_str!("../../README.md");
        let table: Vec<String> = readme
            .lines()
            .filter(|line| {
                FailureType::ALL
                    .iter()
                    .any(|t| line.starts_with(&format!("| `{}` |", t.name())))
            })
            .map(|line| line.split('|').take(3).collect::<Vec<_>>().join("|"))
            .collect();
        let expected: Vec<String> = FailureType::ALL
            .iter()
            .map(|t| {
                format!(
                    "| `{}` | {} ",
                    t.name(),
                    if t.retryable() { "yes" } else { "no" }
                )
            })
            .collect();
        assert_eq!(table, expected);
    }
}
