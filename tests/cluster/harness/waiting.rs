//! Waits for conditions. Has no state and knows no cluster; every wait has a deadline.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// The time limit for anything on the cluster before a test gives up.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Repeats `ask` until it returns `Ok(Ok)`, for at most [`TIMEOUT`]; then fails with `what` and
/// the last answer. An outer `Err` ends the wait at once.
pub(crate) async fn eventually<T, F, A>(what: &str, ask: A) -> anyhow::Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<T, String>>>,
{
    within(TIMEOUT, what, ask).await
}

/// Like [`eventually`], with another time limit, for what is slow by nature.
pub(crate) async fn within<T, F, A>(timeout: Duration, what: &str, mut ask: A) -> anyhow::Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<T, String>>>,
{
    let deadline = Instant::now() + timeout;
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    loop {
        pace.tick().await;
        let last = match ask().await? {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        anyhow::ensure!(
            Instant::now() < deadline,
            "not within {} s: {what}; last result: {last}",
            timeout.as_secs()
        );
    }
}

/// Checks repeatedly, for the whole `span`, that something stays true.
pub(crate) async fn throughout<F, A>(span: Duration, what: &str, mut holds: A) -> anyhow::Result<()>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<(), String>>>,
{
    let end = Instant::now() + span;
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    while Instant::now() < end {
        pace.tick().await;
        if let Err(found) = holds().await? {
            anyhow::bail!("{what} did not hold: {found}");
        }
    }
    Ok(())
}

/// Waits until something has been true for a whole `span`. Whenever it is not, the span starts
/// over. For readings that can have the expected value once before they keep it.
pub(crate) async fn eventually_throughout<F, A>(
    span: Duration,
    what: &str,
    mut holds: A,
) -> anyhow::Result<()>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<(), String>>>,
{
    let start = Instant::now();
    let mut since = start;
    let mut interruption = "none".to_owned();
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    loop {
        pace.tick().await;
        if let Err(found) = holds().await? {
            since = Instant::now();
            interruption = found;
        }
        if since.elapsed() >= span {
            return Ok(());
        }
        anyhow::ensure!(
            start.elapsed() < TIMEOUT,
            "not for {} s within {} s: {what}; last interruption: {interruption}",
            span.as_secs(),
            TIMEOUT.as_secs()
        );
    }
}
