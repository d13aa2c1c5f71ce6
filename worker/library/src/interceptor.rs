//! Wraps every activity: counts it, ends it at the end of the grace period, and records its metric.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use temporalio_common::error::ApplicationFailure;
use temporalio_sdk::activities::ActivityError;
use temporalio_sdk::interceptors::{
    ActivityInboundInterceptor, ExecuteActivityInput, ExecuteActivityOutput, Next,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// The type of an activity's failure that counts as `invalid` in the metrics: the input could not
/// be used.
pub const INVALID_INPUT: &str = "InvalidInput";

/// The type of the failure of an activity that this worker ended because its grace period was over.
/// The SDK's own failure in this case has the same type.
pub const WORKER_SHUTDOWN: &str = "WorkerShutdown";

/// Delay before another worker retries an activity that this one had to end: long enough for the
/// server to notice that this worker has left.
const TAKEOVER_DELAY: Duration = Duration::from_secs(1);

/// Counts the started activities of one SDK worker.
pub(crate) struct RecycleCounter {
    started: AtomicU64,
    limit: u64,
    reached: Notify,
}

impl RecycleCounter {
    /// A limit of 0 is never reached.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            started: AtomicU64::new(0),
            limit,
            reached: Notify::new(),
        }
    }

    /// Completes once after the limit is reached.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Restarts the count.
    pub(crate) fn reset(&self) {
        self.started.store(0, Ordering::Relaxed);
    }

    fn count(&self) {
        let started = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        if self.limit > 0 && started == self.limit {
            self.reached.notify_one();
        }
    }
}

/// The interceptor of one SDK worker.
pub(crate) struct ActivityInterceptor {
    /// Counts the activities of this SDK worker.
    pub(crate) recycle: Arc<RecycleCounter>,
    /// Cancelled when the grace period of the process is over.
    pub(crate) deadline: CancellationToken,
    /// Counts the outcomes.
    pub(crate) metrics: Metrics,
}

impl ActivityInboundInterceptor for ActivityInterceptor {
    fn execute_activity<'a>(
        &'a self,
        input: ExecuteActivityInput,
        next: Next<'a, ExecuteActivityInput, ExecuteActivityOutput<'a>>,
    ) -> ExecuteActivityOutput<'a> {
        self.recycle.count();
        let activity = input.activity_info().activity_type.clone();
        let run = next.run(input);
        async move {
            let outcome = tokio::select! {
                biased;
                outcome = run => outcome,
                () = self.deadline.cancelled() => Err(ActivityError::application(ended())),
            };
            let name = match &outcome {
                Ok(_) => "completed",
                Err(ActivityError::Cancelled { .. }) => "cancelled",
                Err(ActivityError::Application(failure))
                    if failure.type_name() == Some(INVALID_INPUT) =>
                {
                    "invalid"
                }
                Err(_) => "failed",
            };
            let counter = &self.metrics.activities;
            counter.with_label_values(&[activity.as_str(), name]).inc();
            outcome
        }
        .boxed()
    }
}

/// The failure of an activity that this worker ends. This is not the activity's fault, so the next
/// worker retries it after one second, whatever its number of attempts.
fn ended() -> ApplicationFailure {
    let message = "the worker's grace period ended before this activity did";
    ApplicationFailure::builder(message.to_owned())
        .type_name(WORKER_SHUTDOWN.to_owned())
        .next_retry_delay(TAKEOVER_DELAY)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_had_to_end_is_taken_over_without_a_backoff() {
        let failure = ended();
        assert!(!failure.is_non_retryable());
        assert_eq!(failure.next_retry_delay(), Some(Duration::from_secs(1)));
    }
}
