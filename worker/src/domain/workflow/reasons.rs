//! The reasons of ends that no failed step explains. Pure.

use temporalio_sdk::ActivityExecutionError;

use crate::domain::failure::{self, FailureType, Reason};
use crate::payment::DECLINED_MESSAGE;

/// The settlement showed that the gateway had declined the payment.
pub(super) fn declined() -> Reason {
    Reason {
        kind: FailureType::PaymentDeclined.name().to_owned(),
        message: DECLINED_MESSAGE.to_owned(),
    }
}

/// The workflow was cancelled, with the caller's reason if there is one.
pub(super) fn cancelled_by_request(words: Option<String>) -> Reason {
    let words = words.filter(|words| !words.trim().is_empty());
    let words = words.as_deref().unwrap_or("the workflow was cancelled");
    Reason::in_words(FailureType::CancelledByRequest, words)
}

/// The settlement could not find out whether the payment was charged.
pub(super) fn unsettled(error: &ActivityExecutionError) -> Reason {
    let reason = failure::reason_of(error);
    if failure::is(&reason, FailureType::PaymentUnsettled) {
        return reason;
    }
    Reason::in_words(
        FailureType::PaymentUnsettled,
        &format!(
            "whether the payment went through could not be found out ({}): look at the gateway",
            reason.message
        ),
    )
}

/// A step of an order that stopped for `stopped` could not be undone.
pub(super) fn not_undone(
    activity: &str,
    error: &ActivityExecutionError,
    stopped: &Reason,
) -> Reason {
    let reason = failure::reason_of(error);
    Reason::in_words(
        FailureType::CompensationFailed,
        &format!(
            "{activity} failed ({}: {}), so a person must do its work; the order had stopped with \
             {}: {}",
            reason.kind, reason.message, stopped.kind, stopped.message
        ),
    )
}
