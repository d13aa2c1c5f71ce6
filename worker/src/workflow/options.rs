//! Timeouts and retries of every activity, in one place. Pure. These values are recorded in
//! histories but not compared on replay, so they may change while workflows run.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::{
    ActivityCancellationType, ActivityCloseTimeouts, ActivityOptions, WorkflowCancellationToken,
};

/// Attempts of a step, by default.
pub(super) const ATTEMPTS: u32 = 3;
/// How long mails are tried, beyond the time that one undisturbed attempt may take. There is no
/// limit of attempts: each drained or killed worker costs one, and a mail server that is away for
/// a night or puts a recipient off for hours is common.
pub(super) const MAIL_PATIENCE: Duration = Duration::from_hours(24);
/// How long it is tried to find out what became of a payment: a weekend, and what is left of the day before.
pub(super) const SETTLEMENT_PATIENCE: Duration = Duration::from_hours(72);
/// Longest silence of `send_notification`. It beats before every mail and every 3 s while the
/// mail server is slow, so this is how soon a killed worker's work is taken over.
pub(super) const MAIL_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

const STEP_TIMEOUT: Duration = Duration::from_secs(15);
/// Long enough for a fleet to come up from zero.
const COUNT_PATIENCE: Duration = Duration::from_mins(10);
/// Longer than the longest request to the gateway (10 s), so that the activity itself can say
/// what happened.
const PAYMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// A step on the database.
pub(super) fn step(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(STEP_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(ATTEMPTS, Duration::from_secs(30)))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build()
}

/// The payment. No heartbeat: a request in flight to the gateway is never abandoned halfway, and
/// it ends within its own timeout.
pub(super) fn payment(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(PAYMENT_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(ATTEMPTS, Duration::from_secs(30)))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
        .build()
}

/// The settlement of a payment, detached from the workflow's cancellation. It ends: an order whose gateway has been away for
/// so long is a person's business.
pub(super) fn settlement(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: SETTLEMENT_PATIENCE,
        start_to_close: PAYMENT_TIMEOUT,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .retry_policy(retries(0, Duration::from_mins(1)))
    .cancellation_token(WorkflowCancellationToken::new())
    .build()
}

/// Whatever has to happen, whatever happens: compensation. Retried without end and detached from the workflow's cancellation.
pub(super) fn until_done(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(PAYMENT_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(0, Duration::from_mins(1)))
        .cancellation_token(WorkflowCancellationToken::new())
        .build()
}

/// The mails of an order: two seconds for each recipient on top of two minutes, tried again for
/// a day.
pub(super) fn notification(queue: Option<&str>, recipients: usize) -> ActivityOptions {
    let seconds = 120 + 2 * u64::try_from(recipients).unwrap_or(u64::MAX / 4);
    let attempt = Duration::from_secs(seconds);
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: attempt.saturating_add(MAIL_PATIENCE),
        start_to_close: attempt,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .heartbeat_timeout(MAIL_HEARTBEAT_TIMEOUT)
    .retry_policy(retries(0, Duration::from_mins(1)))
    .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
    .build()
}

/// The count of the mails that were sent before their mailing was given up. Detached from the
/// workflow's cancellation; a paid order does not wait for it for long.
pub(super) fn count(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::ScheduleAndStartToClose {
        schedule_to_close: COUNT_PATIENCE,
        start_to_close: STEP_TIMEOUT,
    })
    .maybe_task_queue(queue.map(str::to_owned))
    .retry_policy(retries(0, Duration::from_secs(30)))
    .cancellation_token(WorkflowCancellationToken::new())
    .build()
}

/// Exponential backoff from one second; zero attempts means without end.
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
            assert!(attempt >= Duration::from_secs(2) * u32::try_from(recipients).unwrap_or(0));
            assert_eq!(all, attempt + Duration::from_hours(24));
        }
    }
}
