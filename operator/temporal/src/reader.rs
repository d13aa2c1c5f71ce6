//! The task that reads one Temporal namespace: it owns all of the namespace's state, makes the
//! calls through [`QueueStats`] and publishes the answers. Decides nothing about scaling.
//!
//! Everything happens in this one task; calls under way are futures inside it and end with it.

mod answers;
pub(crate) mod config;
mod read;
mod watches;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use taskqueue_scaling::Time;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use crate::backoff::millis;
use crate::budget::Millis;
use crate::call::QueueStats;
use crate::call_budget::{CallBudget, PerSource, Source, Wait};
use crate::circuit_breaker::State;
use crate::clock::Clock;
use crate::connection::{CredentialId, ResolvedConnection, ServerNamespace};
use crate::credential::Credential;
use crate::heartbeats::Step;
use crate::observer::Observer;
use crate::queue::{Queue, Subscription};
use crate::reader::config::ReadersConfig;
use crate::reader::read::{Caller, Done};
use crate::readings::{Readings, Subscriber};
use crate::schedule::{JobId, Schedule};
use crate::subscription::OwnerKey;

/// How long a reader without owners lives on. By then its budget is full again, so fleets that come
/// and go quickly cannot exceed it.
const LINGER: Millis = 60_000;

/// Commands from callers to a reader.
#[derive(Debug)]
pub(crate) enum Command {
    /// Read these queues for this owner from now on, and no others.
    Watch {
        owner: OwnerKey,
        connection: Box<ResolvedConnection>,
        queues: Vec<Subscription>,
    },
    /// Stop reading for this owner.
    Forget(OwnerKey),
    /// Read this queue soon: it has work.
    Hint(Subscriber),
}

/// Numbers about a reader's work, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) behind: PerSource<Millis>,
    pub(crate) queues: u64,
    pub(crate) busy_queues: u64,
}

/// The running readers. A reader that has been idle for a while removes itself.
pub(crate) type Registry = Arc<Mutex<BTreeMap<ServerNamespace, Handle>>>;

/// A running reader.
pub(crate) struct Handle {
    pub(crate) commands: UnboundedSender<Command>,
    pub(crate) budget: Arc<Mutex<CallBudget>>,
    pub(crate) gauges: Arc<Mutex<Gauges>>,
}

/// The dependencies of a reader.
pub(crate) struct Parts {
    pub(crate) server_namespace: ServerNamespace,
    pub(crate) config: ReadersConfig,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<dyn QueueStats>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) readings: Arc<Readings>,
    pub(crate) sequences: Arc<AtomicU64>,
    pub(crate) budget: Arc<Mutex<CallBudget>>,
    pub(crate) gauges: Arc<Mutex<Gauges>>,
}

/// The state of one Temporal namespace.
pub(crate) struct Reader {
    parts: Parts,
    owners: BTreeMap<OwnerKey, BTreeMap<String, JobId>>,
    credentials: BTreeMap<CredentialId, Credential>,
    queues: BTreeMap<JobId, (CredentialId, Queue)>,
    by_name: BTreeMap<(CredentialId, String), JobId>,
    lists: BTreeMap<JobId, CredentialId>,
    schedule: Schedule,
    last_job: JobId,
    calls: FuturesUnordered<futures::future::BoxFuture<'static, Done>>,
    /// How often to read quiet queues; computed at `paced_at`.
    quiet: Millis,
    paced_at: Option<Millis>,
}

impl Reader {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            owners: BTreeMap::new(),
            credentials: BTreeMap::new(),
            queues: BTreeMap::new(),
            by_name: BTreeMap::new(),
            lists: BTreeMap::new(),
            schedule: Schedule::default(),
            last_job: 0,
            calls: FuturesUnordered::new(),
            quiet: 0,
            paced_at: None,
        }
    }

    /// Reads until stopped, or until there has been nothing to read for a while.
    pub(crate) async fn run(
        mut self,
        mut inbox: UnboundedReceiver<Command>,
        registry: Registry,
        stop: CancellationToken,
    ) {
        loop {
            // Executes all pending commands before reading anything, so that one read serves all of
            // them.
            while let Ok(command) = inbox.try_recv() {
                self.obey(command);
            }
            let wake = self.dispatch();
            let idle = self.owners.is_empty();
            let wake = if idle {
                Some(self.now().as_millis() + LINGER)
            } else {
                wake
            };
            let timer = wake.map(|at| self.parts.clock.instant(Time::from_millis(at)));
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                Some(done) = self.calls.next() => self.finish(done),
                () = until(timer) => if idle {
                    let mut registry = registry.lock();
                    if inbox.is_empty() {
                        registry.remove(&self.parts.server_namespace);
                        break;
                    }
                },
            }
        }
        for credential in self.credentials.values() {
            self.parts.stats.release(&credential.connection);
        }
    }

    fn now(&self) -> Time {
        self.parts.clock.now()
    }

    fn cache(&self) -> Millis {
        millis(self.parts.config.statistics_cache)
    }

    fn new_job(&mut self) -> JobId {
        self.last_job += 1;
        self.last_job
    }

    /// Starts every due call that the budget allows. Returns when to look again; `None` if only a
    /// command or the end of a call can change anything.
    fn dispatch(&mut self) -> Option<Millis> {
        let now = self.now();
        let at = now.as_millis();
        self.pace(now);
        // Sources that may not be read again before a time.
        let mut short = PerSource::<Option<Millis>>::default();
        loop {
            let Self {
                schedule, lists, ..
            } = self;
            let may_run = |job| short.get(source_of(lists, job)).is_none();
            let waits = [short.backlog, short.slots].into_iter().flatten();
            let Some(job) = schedule.peek(at, may_run) else {
                return waits.chain(schedule.next_due()).min();
            };
            let Some(credential_id) = self.credential_id(job) else {
                self.schedule.remove(job);
                continue;
            };
            let Some(credential) = self.credentials.get_mut(&credential_id) else {
                self.schedule.remove(job);
                continue;
            };
            let state = credential.breaker.state(at);
            if let State::Open(error) = state {
                self.schedule.start(job);
                self.fail_without_a_call(job, &error, now);
                continue;
            }
            if self.calls.len() >= self.parts.config.reads_in_flight.max(1) {
                return None;
            }
            let cost = self
                .queues
                .get(&job)
                .map_or(1, |(_, queue)| queue.cost(now));
            let source = source_of(&self.lists, job);
            let taken = self.parts.budget.lock().take(source, cost, at);
            match taken {
                Ok(()) => {}
                Err(Wait::Source(wait)) => {
                    *short.get_mut(source) = Some(at.saturating_add(wait));
                    continue;
                }
                // Nothing overtakes the job that is next: no job starves.
                Err(Wait::All(wait)) => return waits.chain([at.saturating_add(wait)]).min(),
            }
            if state == State::HalfOpen {
                credential.breaker.probe();
            }
            self.schedule.start(job);
            self.call(job, credential_id, state == State::HalfOpen);
        }
    }

    fn credential_id(&self, job: JobId) -> Option<CredentialId> {
        let queue = self
            .queues
            .get(&job)
            .map(|(credential_id, _)| *credential_id);
        queue.or_else(|| self.lists.get(&job).copied())
    }

    fn call(&mut self, job: JobId, credential_id: CredentialId, probe: bool) {
        let Some(credential) = self.credentials.get(&credential_id) else {
            return;
        };
        let caller = Caller {
            stats: self.parts.stats.clone(),
            observer: self.parts.observer.clone(),
            clock: self.parts.clock,
            server_namespace: self.parts.server_namespace.clone(),
            connection: credential.connection.clone(),
            job,
            probe,
        };
        let (step, reads_past_cache) = (credential.step(), credential.reads_past_cache);
        let now = self.now();
        match self.queues.get_mut(&job) {
            Some((_, queue)) => {
                let past_cache = queue.wants_past_cache(now) && reads_past_cache;
                let (name, types) = (queue.name.clone(), queue.types(now));
                self.calls.push(caller.describe(name, types, past_cache));
            }
            None => match step {
                Step::Page(token) => self.calls.push(caller.page(token)),
                Step::Worker(key) => self.calls.push(caller.worker(key)),
                // A complete list is recorded at once, so this cannot happen; an empty page token
                // starts a new list.
                Step::Done => self.calls.push(caller.page(Vec::new())),
            },
        }
    }

    /// Computes, at most once a second, how often quiet queues can be read so that all reads
    /// together use half of the budget. The other half is for hints, worker lists and bursts.
    fn pace(&mut self, now: Time) {
        let at = now.as_millis();
        if self
            .paced_at
            .is_some_and(|paced| at.saturating_sub(paced) < 1_000)
        {
            return;
        }
        self.paced_at = Some(at);
        let cache = self.cache();
        let (mut busy_rate_milli, mut quiet_calls, mut busy_queues) = (0_u64, 0_u64, 0);
        for (_, queue) in self.queues.values() {
            if queue.is_busy(now) {
                let period = queue.busy_period(cache).max(1);
                let rate = queue.cost(now).saturating_mul(1_000_000) / period;
                busy_rate_milli = busy_rate_milli.saturating_add(rate);
                busy_queues += 1;
            } else {
                quiet_calls = quiet_calls.saturating_add(queue.cost(now));
            }
        }
        let rate_milli = self.parts.budget.lock().rate_milli(Source::Backlog);
        let left_milli = (rate_milli / 2).saturating_sub(busy_rate_milli);
        self.quiet = match left_milli {
            0 => Millis::MAX,
            left => quiet_calls.saturating_mul(1_000_000) / left,
        };
        let queues = self.queues.len() as u64;
        *self.parts.gauges.lock() = Gauges {
            behind: PerSource::from_fn(|source| {
                let counts = |job| source_of(&self.lists, job) == source;
                self.schedule.behind(at, counts)
            }),
            queues,
            busy_queues,
        };
    }
}

/// What a job reads.
fn source_of(lists: &BTreeMap<JobId, CredentialId>, job: JobId) -> Source {
    if lists.contains_key(&job) {
        Source::Slots
    } else {
        Source::Backlog
    }
}

async fn until(timer: Option<tokio::time::Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A factor from 900 to 1100 that varies with job and time, so that the retries of many queues
/// spread out. Not random, so that tests with a paused clock are repeatable.
fn jitter(job: JobId, now: Millis) -> u64 {
    let mixed = (job.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ now).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    900 + (mixed >> 32) % 201
}
