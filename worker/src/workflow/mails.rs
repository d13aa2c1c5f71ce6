//! What the end of a mailing means for the order's result. Pure.

use temporalio_sdk::ActivityExecutionError;

use super::cancelled_by_request;
use crate::activities::MailReport;
use crate::failure;
use crate::order::{Notification, NotificationState};

/// From the report of `send_notification`, or, if it has none, from what the record counts.
pub(super) fn notification_of(
    report: Result<MailReport, ActivityExecutionError>,
    counted: &MailReport,
) -> Notification {
    match report {
        Ok(report) => Notification {
            state: match (report.sent, report.refused) {
                (_, 0) => NotificationState::Sent,
                (0, _) => NotificationState::Failed,
                _ => NotificationState::Partial,
            },
            sent: report.sent,
            refused: report.refused,
            reason: report.reason,
        },
        Err(error) => {
            let (state, reason) = if error.as_cancelled().is_some() {
                (NotificationState::Cancelled, cancelled_by_request(None))
            } else if counted.sent > 0 {
                (NotificationState::Partial, failure::reason_of(&error))
            } else {
                (NotificationState::Failed, failure::reason_of(&error))
            };
            Notification {
                state,
                sent: counted.sent,
                refused: counted.refused,
                reason: Some(reason),
            }
        }
    }
}
