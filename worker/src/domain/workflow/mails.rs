//! Converts the outcome of a mailing into the order's result. Pure.

use temporalio_sdk::ActivityExecutionError;

use super::reasons::cancelled_by_request;
use crate::domain::failure;
use crate::domain::order::messages::MailReport;
use crate::domain::order::{Notification, NotificationState};

/// Converts a report of `send_notification`.
pub(super) fn notification_of(report: MailReport) -> Notification {
    Notification {
        state: match (report.sent, report.refused + report.unconfirmed) {
            (_, 0) => NotificationState::Sent,
            (0, _) => NotificationState::Failed,
            _ => NotificationState::Partial,
        },
        sent: report.sent,
        refused: report.refused,
        unconfirmed: report.unconfirmed,
        reason: report.reason,
    }
}

/// Converts the outcome of a mailing that did not finish, using the counts from the record.
pub(super) fn notification_of_unfinished(
    error: &ActivityExecutionError,
    cancelled: bool,
    counted: &MailReport,
) -> Notification {
    let (state, reason) = if cancelled {
        (NotificationState::Cancelled, cancelled_by_request(None))
    } else if counted.sent > 0 {
        (NotificationState::Partial, failure::reason_of(error))
    } else {
        (NotificationState::Failed, failure::reason_of(error))
    };
    Notification {
        state,
        sent: counted.sent,
        refused: counted.refused,
        unconfirmed: counted.unconfirmed,
        reason: Some(reason),
    }
}
