//! The end of a worker process: stop polling and let running activities finish. After the grace
//! period, end them, so that the server gives them to another worker immediately instead of after a
//! timeout.

use std::time::Duration;

use crate::compat::generation::{Generation, first_ended};

/// Time limit after the grace period: long enough to report the ended activities to the server, and
/// less than the 15 s that the pod's termination grace period adds.
const SHUTDOWN_REPORT_TIMEOUT: Duration = Duration::from_secs(8);

/// Retires all generations and waits for them to end.
pub(crate) async fn drain(mut generations: Vec<Generation>, grace: Duration) {
    for generation in &generations {
        generation.retire_soon(grace);
    }
    if tokio::time::timeout(grace, all_ended(&mut generations))
        .await
        .is_ok()
    {
        tracing::info!("drained");
        return;
    }
    tracing::warn!(
        grace_seconds = grace.as_secs(),
        "the grace period is over; ending the activities that still run"
    );
    for generation in &generations {
        generation.end_activities();
    }
    if tokio::time::timeout(SHUTDOWN_REPORT_TIMEOUT, all_ended(&mut generations))
        .await
        .is_err()
    {
        tracing::warn!("Temporal did not accept the end of every activity in time");
    }
}

async fn all_ended(generations: &mut Vec<Generation>) {
    while !generations.is_empty() {
        first_ended(generations).await;
    }
}
