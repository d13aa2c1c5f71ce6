//! Reads the task slots from the pods' own metrics, for workers that send no heartbeats. I/O: HTTP
//! to pods, in the background, bounded in number, size and time. Decides nothing.
//!
//! One task per queue scrapes its pods; the process limits concurrent scrapes. A pass gets the
//! latest results and never waits for a pod.

mod failure;
mod fetch;
mod samples;
pub mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use parking_lot::{Mutex, MutexGuard};
use taskqueue_scaling::{Reading, Slots, Time};
use taskqueue_temporal::{LivePod, OwnerKey};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use failure::Failure;
pub use fetch::{Fetch, Http};

use crate::clock::Clock;
use samples::{Answer, Samples};

/// Maximum concurrent scrapes, over all queues.
const AT_ONCE: usize = 32;

/// What to scrape for one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The task queue's name in Temporal.
    pub task_queue: String,
    /// The port on which the pods serve metrics.
    pub port: u16,
    /// How long to wait between two rounds.
    pub interval: Duration,
    /// The addresses of the pods, without those that have none yet.
    pub pods: BTreeMap<String, IpAddr>,
}

/// The results of the scrapes of one queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Scraped {
    /// The slots in use in the pods.
    pub slots: Reading<Slots>,
    /// The port that was scraped.
    pub port: u16,
    /// Why some pods cannot be read.
    pub failure: Option<Failure>,
    /// Attempts so far by result: `ok` or [`Failure::as_str`].
    pub counts: BTreeMap<&'static str, u64>,
}

/// Scrapes the queues in the background. Cheap to clone; dropping the last clone stops it.
#[derive(Clone)]
pub struct Scrapers {
    inner: Arc<Inner>,
}

struct Inner {
    fetch: Arc<dyn Fetch>,
    clock: Clock,
    permits: Arc<Semaphore>,
    news: mpsc::UnboundedSender<OwnerKey>,
    queues: Mutex<BTreeMap<(OwnerKey, String), Running>>,
}

/// The scrape task of one queue, and its results.
struct Running {
    target: watch::Sender<Target>,
    seen: Arc<Mutex<Samples>>,
    task: JoinHandle<()>,
    _stop: DropGuard,
}

impl Scrapers {
    /// Creates scrapers without queues. `news` receives owners whose pods report something new.
    pub fn new(fetch: Arc<dyn Fetch>, clock: Clock, news: mpsc::UnboundedSender<OwnerKey>) -> Self {
        let inner = Inner {
            fetch,
            clock,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            news,
            queues: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Sets what to scrape for a queue from now on, and returns the results so far. Must be called
    /// inside a tokio runtime.
    pub fn scrape(
        &self,
        owner: &OwnerKey,
        queue: &str,
        target: Target,
        pods: &[LivePod],
        now: Time,
    ) -> Scraped {
        let (port, interval) = (target.port, target.interval);
        let mut queues = self.inner.queues();
        let key = (owner.clone(), queue.to_owned());
        // Rounds that panicked start over.
        if queues
            .get(&key)
            .is_some_and(|queue| queue.task.is_finished())
        {
            queues.remove(&key);
        }
        let running = queues
            .entry(key)
            .or_insert_with(|| self.start(owner.clone(), target.clone(), now));
        running.target.send_if_modified(|present| {
            let changed = *present != target;
            if changed {
                *present = target;
            }
            changed
        });
        let seen = running.seen.lock();
        Scraped {
            slots: seen.slots(pods, interval, now),
            port,
            failure: seen.failure(),
            counts: seen.counts(),
        }
    }

    /// Keeps scraping only those of the owner's queues that are `wanted`.
    pub fn keep_only(&self, owner: &OwnerKey, wanted: impl Fn(&str) -> bool) {
        self.inner
            .queues()
            .retain(|(of, queue), _| of != owner || wanted(queue));
    }

    /// Stops scraping all queues of an owner.
    pub fn forget(&self, owner: &OwnerKey) {
        self.keep_only(owner, |_| false);
    }

    fn start(&self, owner: OwnerKey, target: Target, now: Time) -> Running {
        let (sender, wanted) = watch::channel(target);
        let seen = Arc::new(Mutex::new(Samples::new(now)));
        let stop = CancellationToken::new();
        let rounds = Rounds {
            owner,
            wanted,
            seen: Arc::clone(&seen),
            fetch: Arc::clone(&self.inner.fetch),
            clock: self.inner.clock,
            permits: Arc::clone(&self.inner.permits),
            news: self.inner.news.clone(),
        };
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            stopped.run_until_cancelled_owned(rounds.run()).await;
        });
        Running {
            target: sender,
            seen,
            task,
            _stop: stop.drop_guard(),
        }
    }
}

impl Inner {
    fn queues(&self) -> MutexGuard<'_, BTreeMap<(OwnerKey, String), Running>> {
        self.queues.lock()
    }
}

/// The scrape rounds over the pods of one queue.
struct Rounds {
    owner: OwnerKey,
    wanted: watch::Receiver<Target>,
    seen: Arc<Mutex<Samples>>,
    fetch: Arc<dyn Fetch>,
    clock: Clock,
    permits: Arc<Semaphore>,
    news: mpsc::UnboundedSender<OwnerKey>,
}

impl Rounds {
    async fn run(mut self) {
        loop {
            let target = self.wanted.borrow_and_update().clone();
            let requests = target
                .pods
                .iter()
                .map(|(pod, address)| self.ask(pod, *address, &target));
            let answers = join_all(requests).await;
            let now = self.clock.now().monotonic;
            let news = self.seen.lock().take(answers, now);
            if news && self.news.send(self.owner.clone()).is_err() {
                return;
            }
            tokio::time::sleep(target.interval).await;
        }
    }

    async fn ask(&self, pod: &str, address: IpAddr, target: &Target) -> (String, Time, Answer) {
        // The semaphore is never closed. If it were, the pod would be scraped without waiting.
        let _permit = self.permits.acquire().await;
        // The slots are measured at this time or later.
        let at = self.clock.now().monotonic;
        let read = async {
            let answer = self.fetch.fetch(address, target.port).await;
            answer.and_then(|text| text::slots(&text, &target.task_queue))
        };
        // One answer that we cannot stand is the failure of its pod alone.
        let answer = AssertUnwindSafe(read).catch_unwind().await;
        (pod.to_owned(), at, answer.unwrap_or(Err(Failure::Panicked)))
    }
}

#[cfg(test)]
mod tests;
