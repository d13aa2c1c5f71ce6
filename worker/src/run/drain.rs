//! The end of a worker process: stop polling, let what runs end, and after the grace period end
//! it, so that the server hands it to another worker at once instead of after a timeout.

use std::time::Duration;

use super::sdk_workarounds::generation::{Generation, first_ended};

/// After the grace period: long enough to tell the server, short enough to stay within the 15 s
/// that the pod's termination grace has on top.
const LAST_WORDS: Duration = Duration::from_secs(8);

/// Retires all generations and waits for them.
pub(super) async fn drain(mut generations: Vec<Generation>, grace: Duration) -> anyhow::Result<()> {
    for generation in &generations {
        generation.retire_soon(grace);
    }
    if tokio::time::timeout(grace, all_ended(&mut generations))
        .await
        .is_ok()
    {
        tracing::info!("drained");
        return Ok(());
    }
    tracing::warn!(
        grace_seconds = grace.as_secs(),
        "the grace period is over; ending the activities that still run"
    );
    for generation in &generations {
        generation.end_activities();
    }
    if tokio::time::timeout(LAST_WORDS, all_ended(&mut generations))
        .await
        .is_err()
    {
        tracing::warn!("Temporal could not be told of the activities that were ended");
    }
    Ok(())
}

async fn all_ended(generations: &mut Vec<Generation>) {
    while !generations.is_empty() {
        first_ended(generations).await;
    }
}
