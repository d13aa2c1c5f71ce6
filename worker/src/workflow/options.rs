//! Timeouts and retries of every activity, in one place. Pure. These values are recorded in
//! histories but not compared on replay, so they may change while workflows run.

use std::time::Duration;

use temporalio_common::RetryPolicy;
use temporalio_sdk::{ActivityCancellationType, ActivityOptions, WorkflowCancellationToken};

/// Attempts of a step, by default.
pub(super) const ATTEMPTS: u32 = 3;
/// Attempts of the mailing: each drained or killed worker costs one, and mails are worth waiting.
pub(super) const MAIL_ATTEMPTS: u32 = 5;
/// Longest silence of `send_notification`. It beats before every mail and every 3 s while the
/// mail server is slow, so this is how soon a killed worker's work is taken over.
pub(super) const MAIL_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(15);

const STEP_TIMEOUT: Duration = Duration::from_secs(15);
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

/// Whatever has to happen, whatever happens: settling and compensation. Retried without end and
/// detached from the workflow's cancellation.
pub(super) fn until_done(queue: Option<&str>) -> ActivityOptions {
    ActivityOptions::with_start_to_close_timeout(PAYMENT_TIMEOUT)
        .maybe_task_queue(queue.map(str::to_owned))
        .retry_policy(retries(0, Duration::from_mins(1)))
        .cancellation_token(WorkflowCancellationToken::new())
        .build()
}

/// The mails of an order: two seconds for each recipient on top of two minutes.
pub(super) fn notification(queue: Option<&str>, recipients: usize) -> ActivityOptions {
    let seconds = 120 + 2 * u64::try_from(recipients).unwrap_or(u64::MAX / 4);
    ActivityOptions::with_start_to_close_timeout(Duration::from_secs(seconds))
        .maybe_task_queue(queue.map(str::to_owned))
        .heartbeat_timeout(MAIL_HEARTBEAT_TIMEOUT)
        .retry_policy(retries(MAIL_ATTEMPTS, Duration::from_secs(30)))
        .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
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
