//! The watch of one kind as a stream: how long it lasts, when it is retried, and what is recorded
//! of it. Reads only.

use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::{Backoff, ResetTimerBackoff};
use kube::runtime::watcher::{self, Event};
use taskqueue_kubernetes::kube_error::{describe_watch, is_refusal, refusal};
use tokio::sync::watch as signal;
use tracing::{debug, warn};

use crate::caches::kinds::Watched;
use crate::caches::progress::Progress;
use crate::metrics::Metrics;

/// A stream of touched objects that keeps their cache filled while it is polled. Failures do not
/// reach it: they are counted and logged, and the watch retries by itself.
pub type Touched<K> = futures::stream::BoxStream<'static, Result<K, watcher::Error>>;

/// How long one watch lasts, in seconds. The next one continues where it ended. An API server that
/// hangs while its machine still acknowledges packets is detected only when a watch has been silent
/// for 5 s longer: with kube's default of 290 s, no change would be seen until then.
pub(super) const WATCH_SECONDS: u32 = 20;

/// The objects that a watch reports, once they are in their cache. Leaves out the failures: in the
/// stream, an error would slow down every other watch of the controller, and each watch pauses by
/// itself.
pub(super) fn touched<K>(
    metrics: &Metrics,
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> Touched<K>
where
    K: Watched,
{
    recorded::<K>(metrics, progress, events)
        .touched_objects()
        .filter_map(|item| futures::future::ready(item.ok().map(Ok)))
        .boxed()
}

/// Records when a cache has been filled, by when the events have passed the reflector, and whether
/// the API server refuses to fill it. Counts and logs failures; a refusal that repeats is no news.
fn recorded<K>(
    metrics: &Metrics,
    progress: &signal::Sender<Progress>,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Watched,
{
    let (metrics, progress) = (metrics.clone(), progress.clone());
    let mut refused: Option<String> = None;
    events.inspect(move |event| match event {
        Ok(Event::Init | Event::InitApply(_)) => {}
        Ok(Event::InitDone) => {
            refused = None;
            progress.send_if_modified(|progress| {
                let refused = progress.refused.remove(K::KIND).is_some();
                progress.filled.insert(K::KIND) || refused
            });
        }
        Ok(Event::Apply(_) | Event::Delete(_)) => refused = None,
        Err(error) => {
            metrics.watch_error(K::KIND);
            let text = describe_watch(error);
            if refused.as_ref() == Some(&text) {
                debug!(kind = K::KIND, error = text, "a watch is still refused");
            } else {
                warn!(kind = K::KIND, error = text, "a watch failed; retrying");
            }
            let refusal = refusal(error);
            refused = refusal.is_some().then_some(text);
            if let Some(refusal) = refusal {
                progress.send_if_modified(|progress| {
                    let before = progress.refused.insert(K::KIND, refusal.clone());
                    before.as_ref() != Some(&refusal)
                });
            }
        }
    })
}

/// Pauses a watch after each failure, before it is retried. kube's own backoff begins again at
/// every event, and a watch sends one before each list: a list that always fails would be tried
/// twice a second.
pub(super) fn paced<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Send + 'static,
{
    let begin = (Box::pin(events), Pauses::default(), None);
    futures::stream::unfold(begin, |(mut events, mut pauses, pause)| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        let pause = pauses.after(&event);
        Some((event, (events, pauses, pause)))
    })
}

/// The pauses of one watch.
struct Pauses {
    /// After a refusal. Somebody must grant a right or install a CRD, so there is no hurry. An API
    /// server that starts also refuses, for a few seconds.
    refused: ResetTimerBackoff<Doubling>,
    /// After any other failure. Short, because after an outage of the API server the operator works
    /// with outdated objects for that long.
    failed: ResetTimerBackoff<Doubling>,
}

impl Default for Pauses {
    fn default() -> Self {
        // A watch without changes reports no success. After this long, a failure is a new one.
        let forgotten = Duration::from_mins(2);
        let up_to = |longest| ResetTimerBackoff::new(Doubling::up_to(longest), forgotten);
        Self {
            refused: up_to(Duration::from_mins(1)),
            failed: up_to(Duration::from_secs(2)),
        }
    }
}

impl Pauses {
    /// The pause after an event, if it is a failure.
    fn after<K>(&mut self, event: &Result<Event<K>, watcher::Error>) -> Option<Duration> {
        match event {
            // Says nothing about the API server: it comes before the list.
            Ok(Event::Init) => None,
            Ok(Event::InitApply(_) | Event::InitDone | Event::Apply(_) | Event::Delete(_)) => {
                self.refused.reset();
                self.failed.reset();
                None
            }
            Err(error) if is_refusal(error) => self.refused.next(),
            Err(_) => {
                self.refused.reset();
                self.failed.next()
            }
        }
    }
}

/// Half a second, doubled each time, up to the longest.
///
/// Not kube's `ExponentialBackoff`, which gives the same pauses: others can make one only from a
/// builder of the crate backon, which would have to be a dependency in the version of kube's.
struct Doubling {
    next: Duration,
    longest: Duration,
}

impl Doubling {
    const FIRST: Duration = Duration::from_millis(500);

    fn up_to(longest: Duration) -> Self {
        Self {
            next: Self::FIRST,
            longest,
        }
    }
}

impl Iterator for Doubling {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        Some(pause)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

#[cfg(test)]
mod tests;
