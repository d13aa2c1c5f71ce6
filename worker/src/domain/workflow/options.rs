//! Timeouts and retry policies of all activities, in one place. Pure. Temporal records these values
//! in histories but does not compare them on replay, so they may change while workflows run.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityOptions, WorkflowCancellationToken,
};

use crate::payment::REQUEST_TIMEOUT;
use crate::store::ANSWER_TIMEOUT;

/// Maximum attempts of a step.
pub(super) const ATTEMPTS: u32 = 3;
/// How long mails are retried, on top of the time that one undisturbed attempt may take. Attempts
/// are not limited: every drained or killed worker costs one, and mail servers are often away for a
/// night or put a recipient off for hours.
pub(super) const MAIL_RETRY_WINDOW: Duration = Duration::from_hours(24);
/// How long the settlement of a payment is retried: a weekend and the rest of the day before it.
pub(super) const SETTLEMENT_DEADLINE: Duration = Duration::from_hours(72);
/// Heartbeat timeout of `send_notification`. It sends a heartbeat before every mail, and every 3 s
/// while the mail server is slow, so another worker takes over a killed worker's mails after this
/// time.
pub(super) const MAIL_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// Long enough for a fleet to scale up from zero.
const COUNT_DEADLINE: Duration = Duration::from_mins(10);
/// Longer than what the activity may take, so that it can report what happened itself: one request
/// to the gateway and one record of the answer.
const PAYMENT_TIMEOUT: Duration = SLACK
    .saturating_add(REQUEST_TIMEOUT)
    .saturating_add(ANSWER_TIMEOUT);
/// Two requests to the gateway and one record.
const SETTLEMENT_TIMEOUT: Duration = PAYMENT_TIMEOUT.saturating_add(REQUEST_TIMEOUT);
const SLACK: Duration = Duration::from_secs(5);

/// Options of checking an order: unlimited retries, detached from the workflow's cancellation.
/// During an upgrade, a worker of an earlier version may get the task and not know the activity.
pub(super) fn check() -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(STEP_TIMEOUT)
        .retry_policy(retries(0, Duration::from_secs(30)))
        .cancellation_token(WorkflowCancellationToken::new())
        .build()
}

/// Options of a step that only uses the database.
pub(super) fn step(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(STEP_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(ATTEMPTS, Duration::from_secs(30)))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build()
}

/// Options of the payment. No heartbeat timeout: a request to the gateway must not be abandoned
/// halfway, and it ends within its own timeout. The activity counts its attempts itself
/// (`PaymentRequest::attempts`), because those that the gateway answered with 429 do not count.
pub(super) fn payment(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(PAYMENT_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(0, Duration::from_secs(30)))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build()
}

/// Options of the settlement of a payment, detached from the workflow's cancellation. It gives up
/// in the end: if the gateway has been away for that long, a person must take over.
pub(super) fn settlement(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: SETTLEMENT_DEADLINE,
        start_to_close: SETTLEMENT_TIMEOUT,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .retry_policy(retries(0, Duration::from_mins(1)))
    .cancellation_token(WorkflowCancellationToken::new())
    .build()
}

/// Options of compensation, which must happen in any case: unlimited retries, detached from the
/// workflow's cancellation.
pub(super) fn until_done(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(PAYMENT_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(0, Duration::from_mins(1)))
        .cancellation_token(WorkflowCancellationToken::new())
        .build()
}

/// Options of an order's mails: a quarter of an hour plus two seconds per recipient, retried for a
/// day. A mail server may take ten minutes to accept one mail.
pub(super) fn notification(queue: Option<&str>, recipients: usize) -> ActivityOptions {
    let seconds = 15 * 60 + 2 * u64::try_from(recipients).unwrap_or(u64::MAX / 4);
    let attempt = Duration::from_secs(seconds);
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: attempt.saturating_add(MAIL_RETRY_WINDOW),
        start_to_close: attempt,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .heartbeat_timeout(MAIL_HEARTBEAT_TIMEOUT)
    .retry_policy(retries(0, Duration::from_mins(1)))
    .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
    .build()
}

/// Options of counting the mails of a mailing that was given up. Detached from the workflow's
/// cancellation. The time limit keeps a paid order from waiting long for it.
pub(super) fn count(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: COUNT_DEADLINE,
        start_to_close: STEP_TIMEOUT,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .retry_policy(retries(0, Duration::from_secs(30)))
    .cancellation_token(WorkflowCancellationToken::new())
    .build()
}

/// Exponential backoff from one second. Zero attempts means no limit.
fn retries(attempts: u32, longest: Duration) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .backoff_coefficient(2.0)
        .maximum_interval(longest)
        .maximum_attempts(attempts)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_tried_for_a_day_however_many_workers_go() {
        for recipients in [1, 20_000] {
            let options = notification(None, recipients);
            let retries = options.retry_policy.unwrap_or_default();
            assert_eq!(retries.maximum_attempts(), 0);
            assert_eq!(retries.maximum_interval(), Some(Duration::from_mins(1)));
            let attempt = options.close_timeouts.start_to_close().unwrap_or_default();
            let all = options
                .close_timeouts
                .schedule_to_close()
                .unwrap_or_default();
            let each = Duration::from_secs(2) * u32::try_from(recipients).unwrap_or(0);
            assert_eq!(attempt, Duration::from_mins(15) + each);
            assert_eq!(all, attempt + Duration::from_hours(24));
        }
    }
}
