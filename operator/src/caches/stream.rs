//! The watch of one kind as a stream: how long it lasts, when it is retried, and what is recorded
//! of it. Reads only.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch as signal;
use tracing::warn;

use crate::caches::kinds::Watched;
use crate::caches::progress::Progress;
use crate::kube_error::describe_watch;
use crate::metrics::Metrics;

/// A stream of touched objects that keeps their cache filled while it is polled. Failures do not
/// reach it: they are counted and logged, and the watch retries by itself.
pub type Touched<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// How long one watch lasts, in seconds. The next one continues where it ended. An API server that
/// hangs while its machine still acknowledges packets is detected only when a watch has been silent
/// for 5 s longer: with kube's default of 290 s, no change would be seen until then.
pub(super) const WATCH_SECONDS: u32 = 20;

/// The objects that a watch reports, once they are in their cache.
pub(super) fn touched<K>(
    metrics: &Metrics,
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> Touched<K>
where
    K: Watched,
{
    quiet(metrics, filling::<K>(progress, events).touched_objects())
}

/// Records when a cache has been filled; by then the events have passed the reflector.
fn filling<K>(
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Watched,
{
    let progress = progress.clone();
    events.inspect(move |event| {
        if matches!(event, Ok(Event::InitDone)) {
            progress.send_if_modified(|progress| progress.filled.insert(K::KIND));
        }
    })
}

/// Counts and logs the failures of a watch and removes them from the stream. There an error would
/// slow down every other watch of the controller, and each watch already backs off by itself.
fn quiet<K>(
    metrics: &Metrics,
    stream: impl Stream<Item = Result<K, watcher::Error>> + Send + 'static,
) -> Touched<K>
where
    K: Watched,
{
    let metrics = metrics.clone();
    stream
        .filter_map(move |item| {
            if let Err(error) = &item {
                metrics.watch_error(K::KIND);
                warn!(
                    kind = K::KIND,
                    error = describe_watch(error),
                    "a watch failed; retrying"
                );
            }
            futures::future::ready(item.ok().map(Ok))
        })
        .boxed()
}

/// Backoff of a failing watch. kube's own grows to 30 s; for that long after an outage the operator
/// would work with outdated objects.
pub(super) fn pauses() -> ResetTimerBackoff<Doubling> {
    ResetTimerBackoff::new(Doubling(0), Duration::from_mins(2))
}

/// Half a second, doubled each time, up to 8 s.
pub(super) struct Doubling(u32);

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(500).saturating_mul(1 << self.0);
        self.0 = (self.0 + 1).min(4);
        Some(pause)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
