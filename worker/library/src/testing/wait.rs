//! Waits for a condition.

use std::time::{Duration, Instant};

/// Time limit of every wait.
pub const DEADLINE: Duration = Duration::from_mins(2);

/// Pause between two checks of a condition.
const PAUSE: Duration = Duration::from_millis(20);

/// Polls a condition until it holds; panics with `what` after [`DEADLINE`].
pub async fn eventually<T, F>(what: &str, mut condition: F) -> T
where
    F: AsyncFnMut() -> Option<T>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "still not true: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
