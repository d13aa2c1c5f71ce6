//! Every way an order can fail, classified in one place: stable type names, whether a retry can
//! help, and the conversion to Temporal's failures and back. Pure.
//!
//! The names are an interface: workflows, histories, dashboards and callers match on them. The
//! table in the README is checked against [`FailureType::ALL`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporalio_common::error::{ActivityExecutionError, ApplicationFailure, IncomingError};
use temporalio_sdk::activities::ActivityError;

/// Longest reason of a cancellation that is kept, in characters.
pub const MAX_REASON: usize = 500;
/// Pause before the next worker takes over what another one had to end: enough for the server to see that one leave.
const TAKEOVER_DELAY: Duration = Duration::from_secs(1);

/// The kinds of failure. `Display` and [`FailureType::name`] give the stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureType {
    /// The order itself is wrong; the message names the field.
    InvalidOrder,
    /// The input of an activity cannot be read, or is wrong; the message names the field.
    InvalidInput,
    /// Another workflow already has an order with this id.
    OrderConflict,
    /// The order was cancelled before this step ran (a step that arrives late must not undo that).
    OrderCancelled,
    /// Not enough stock.
    OutOfStock,
    /// A SKU that the inventory does not know.
    UnknownSku,
    /// The gateway declined the card.
    PaymentDeclined,
    /// The gateway refused the request for another reason, or the key was voided.
    PaymentRefused,
    /// The gateway asked to slow down; honours its `Retry-After`.
    PaymentRateLimited,
    /// The gateway answered with a server error, too late, or not at all. The outcome is unknown.
    PaymentUnavailable,
    /// Whether the charge went through cannot be found out: the gateway can neither say it nor exclude it. A person must.
    PaymentUnsettled,
    /// The database did not answer or refused the statement.
    StoreUnavailable,
    /// The mail server did not answer or asked to try later.
    MailUnavailable,
    /// The mail server refused a recipient for good. Reported, never thrown.
    MailRefused,
    /// The customer cancelled before payment.
    CancelledByCustomer,
    /// Somebody cancelled the workflow before payment.
    CancelledByRequest,
    /// The worker's grace period ended before the activity did.
    WorkerShutdown,
}

impl FailureType {
    /// All of them, in the order of the README's table.
    pub const ALL: [Self; 17] = [
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
        Self::CancelledByCustomer,
        Self::CancelledByRequest,
        Self::WorkerShutdown,
    ];

    /// The stable name, as in Temporal's failure type and in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidOrder => "InvalidOrder",
            Self::InvalidInput => "InvalidInput",
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
            Self::CancelledByCustomer => "CancelledByCustomer",
            Self::CancelledByRequest => "CancelledByRequest",
            Self::WorkerShutdown => "WorkerShutdown",
        }
    }

    /// Whether trying the same again can help.
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

/// A classified failure. The message is for people and must never hold card data or credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub kind: FailureType,
    /// One sentence.
    pub message: String,
    /// Pause before the next try, if it is not that of the retry policy, such as what an outside party asked for.
    pub retry_after: Option<Duration>,
    /// Of a payment: that there is no charge for certain.
    pub uncharged: bool,
}

/// Why an order ended as it did: a failure type of the table in the README, and one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name, such as `PaymentDeclined`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence for people.
    pub message: String,
}

impl Reason {
    /// A reason in somebody's own words, made fit for every database, log and terminal: one line,
    /// no control characters, at most [`MAX_REASON`] characters.
    pub fn in_words(kind: FailureType, words: &str) -> Self {
        Self::of(kind.name(), words)
    }

    /// The same of a type that another program has named.
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

/// The details of a failed payment of which is known whether it was charged.
#[derive(Debug, Serialize, Deserialize)]
struct PaymentDetails {
    charged: bool,
}

impl Failure {
    /// A failure without a wish about when to retry.
    pub fn new(kind: FailureType, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            uncharged: false,
        }
    }

    /// What is said of an activity that a worker ends because its grace period is over. It is not the activity's fault, so
    /// the next worker takes it over after a second, however many attempts there have been.
    pub fn worker_shutdown() -> Self {
        Self::new(
            FailureType::WorkerShutdown,
            "the worker's grace period ended before this activity did",
        )
        .retry_after(Some(TAKEOVER_DELAY))
    }

    /// The same failure, to be retried after `delay` instead of by the retry policy's backoff.
    #[must_use]
    pub fn retry_after(mut self, delay: Option<Duration>) -> Self {
        self.retry_after = delay;
        self
    }

    /// As Temporal's application failure.
    pub fn into_application(self) -> ApplicationFailure {
        let builder = ApplicationFailure::builder(self.message.clone())
            .type_name(self.kind.name().to_owned())
            .non_retryable(!self.kind.retryable());
        match self.retry_after {
            Some(delay) => builder.next_retry_delay(delay).build(),
            None if self.uncharged => builder.details(PaymentDetails { charged: false }).build(),
            None => builder.build(),
        }
    }

    /// As the error an activity returns.
    pub fn into_activity(self) -> ActivityError {
        ActivityError::application(self.into_application())
    }

    /// As the reason of a result.
    pub fn reason(&self) -> Reason {
        Reason {
            kind: self.kind.name().to_owned(),
            message: self.message.clone(),
        }
    }
}

/// The database's errors. Almost all of them may pass, since what cannot pass (a duplicate, too
/// little stock) is asked for in the statement and never shows up as an error. A value that
/// PostgreSQL cannot hold (SQLSTATE class 22, such as a NUL in a text) never can.
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
        // The driver's text for a failed connection can hold the connection string's parts.
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

/// Why an activity failed, as a workflow sees it: the type and message of the innermost failure.
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

/// Whether a payment failed with the word that nothing was charged.
pub fn is_uncharged(error: &ActivityExecutionError) -> bool {
    let Some(IncomingError::Application(failure)) = error.reason() else {
        return false;
    };
    let details = failure.details::<PaymentDetails>();
    matches!(details, Ok(Some(PaymentDetails { charged: false })))
}

/// Whether an activity failed in a way that another attempt could have mended.
pub fn may_pass(error: &ActivityExecutionError) -> bool {
    match error.reason() {
        Some(IncomingError::Application(failure)) => !failure.is_non_retryable(),
        Some(IncomingError::Timeout(_)) => true,
        _ => false,
    }
}

/// Whether an activity failed with `kind`.
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
    fn what_a_worker_had_to_end_is_taken_over_without_a_backoff() {
        let failure = Failure::worker_shutdown().into_application();
        assert!(!failure.is_non_retryable());
        assert_eq!(failure.next_retry_delay(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn the_readme_lists_every_failure_type_with_its_class() {
        let readme = include_str!("../README.md");
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
