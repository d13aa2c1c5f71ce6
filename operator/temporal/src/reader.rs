//! The task that reads one Temporal namespace: it holds all of the namespace's state, makes the
//! calls through [`QueueStats`] and puts the answers on the board. Decides nothing about scaling.
//!
//! Everything happens in this one task; calls under way are futures inside it. When it ends,
//! they end.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use taskqueue_scaling::Time;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::board::{Board, Subscriber, lock};
use crate::budget::{Budget, Millis};
use crate::call::{CallError, CallErrorKind, QueueStats};
use crate::calls::{Caller, Done, Outcome};
use crate::clock::Clock;
use crate::connection::{Fingerprint, Place, ResolvedConnection};
use crate::credential::Credential;
use crate::heartbeats::{Step, differ};
use crate::link::{Change, Gate};
use crate::observer::Observer;
use crate::queue::{Answers, Pace, Queue, Span, Wanted, millis, problem};
use crate::readers::{ReadersConfig, Registry, next_sequence};
use crate::reading::OwnerKey;
use crate::schedule::{JobId, Schedule};

/// A reader that nobody needs stays this long, so that its budget is full again when it goes:
/// fleets that come and go quickly cannot outrun it.
const LINGER: Millis = 60_000;

/// What callers tell a reader.
#[derive(Debug)]
pub(crate) enum Command {
    /// From now on read these queues for this owner, and no others.
    Watch {
        owner: OwnerKey,
        connection: ResolvedConnection,
        queues: Vec<Wanted>,
    },
    /// Read nothing for this owner.
    Forget(OwnerKey),
    /// Read this queue now.
    Hint(Subscriber),
}

/// Numbers about a reader's work, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) behind: Millis,
    pub(crate) queues: u64,
    pub(crate) busy_queues: u64,
}

/// What a reader is made of.
pub(crate) struct Parts {
    pub(crate) place: Place,
    pub(crate) config: ReadersConfig,
    pub(crate) clock: Clock,
    pub(crate) stats: Arc<dyn QueueStats>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) board: Arc<Board>,
    pub(crate) sequences: Arc<AtomicU64>,
    pub(crate) budget: Arc<Mutex<Budget>>,
    pub(crate) gauges: Arc<Mutex<Gauges>>,
}

/// See the module.
pub(crate) struct Reader {
    parts: Parts,
    owners: BTreeMap<OwnerKey, BTreeMap<String, JobId>>,
    credentials: BTreeMap<Fingerprint, Credential>,
    queues: BTreeMap<JobId, (Fingerprint, Queue)>,
    by_name: BTreeMap<(Fingerprint, String), JobId>,
    lists: BTreeMap<JobId, Fingerprint>,
    schedule: Schedule,
    last_job: JobId,
    calls: FuturesUnordered<futures::future::BoxFuture<'static, Done>>,
    /// How often quiet queues are read, and when that was worked out.
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

    /// Reads until told to stop, or until there has been nothing to read for a while.
    pub(crate) async fn run(
        mut self,
        mut inbox: UnboundedReceiver<Command>,
        registry: Registry,
        stop: CancellationToken,
    ) {
        loop {
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
                    let mut registry = lock(&registry);
                    if inbox.is_empty() {
                        registry.remove(&self.parts.place);
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

    // Commands.

    fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Watch {
                owner,
                connection,
                queues,
            } => {
                self.watch(&owner, &connection, queues, now);
            }
            Command::Forget(owner) => {
                for (queue, job) in self.owners.remove(&owner).unwrap_or_default() {
                    self.leave(
                        job,
                        &Subscriber {
                            owner: owner.clone(),
                            queue,
                        },
                    );
                }
            }
            Command::Hint(subscriber) => {
                let jobs = self.owners.get(&subscriber.owner);
                let job = jobs.and_then(|jobs| jobs.get(&subscriber.queue)).copied();
                if let Some(job) = job
                    && let Some((_, queue)) = self.queues.get_mut(&job)
                {
                    queue.hint(now, millis(self.parts.config.statistics_cache));
                    self.schedule.hasten(job, now.as_millis());
                }
            }
        }
        self.paced_at = None;
    }

    fn watch(
        &mut self,
        owner: &OwnerKey,
        connection: &ResolvedConnection,
        queues: Vec<Wanted>,
        now: Time,
    ) {
        let before = self.owners.remove(owner).unwrap_or_default();
        let mut jobs = BTreeMap::new();
        for wanted in queues {
            let name = wanted.spec.queue.clone();
            let job = self.join(connection, &wanted.spec.task_queue, now);
            let subscriber = Subscriber {
                owner: owner.clone(),
                queue: name.clone(),
            };
            self.subscribe(job, &subscriber, wanted, now);
            jobs.insert(name, job);
        }
        // New ones are joined before old ones are left, so that a connection that both use stays.
        for (queue, job) in before {
            if jobs.get(&queue) != Some(&job) {
                self.leave(
                    job,
                    &Subscriber {
                        owner: owner.clone(),
                        queue,
                    },
                );
            }
        }
        self.owners.insert(owner.clone(), jobs);
    }

    /// The job that reads a task queue with a credential, made if need be.
    fn join(&mut self, connection: &ResolvedConnection, task_queue: &str, now: Time) -> JobId {
        let fingerprint = connection.fingerprint();
        if !self.credentials.contains_key(&fingerprint) {
            let job = self.new_job();
            self.lists.insert(job, fingerprint);
            self.schedule.set(job, now.as_millis(), 0);
            self.credentials
                .insert(fingerprint, Credential::new(connection.clone(), job));
        }
        let name = (fingerprint, task_queue.to_owned());
        if let Some(job) = self.by_name.get(&name) {
            return *job;
        }
        let job = self.new_job();
        self.queues
            .insert(job, (fingerprint, Queue::new(task_queue.to_owned())));
        self.by_name.insert(name, job);
        if let Some(credential) = self.credentials.get_mut(&fingerprint) {
            credential.queues.insert(job);
        }
        self.schedule.set(job, now.as_millis(), 0);
        job
    }

    fn subscribe(&mut self, job: JobId, subscriber: &Subscriber, wanted: Wanted, now: Time) {
        let Some((fingerprint, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let was_busy = queue.is_busy(now);
        let new = queue.wanted.insert(subscriber.clone(), wanted.clone());
        let got_replicas = !was_busy && queue.is_busy(now);
        let unread = queue.reading(&wanted.spec).is_none();
        if unread || got_replicas {
            self.schedule.hasten(job, now.as_millis());
        }
        if got_replicas && let Some(credential) = self.credentials.get(fingerprint) {
            self.schedule.hasten(credential.job, now.as_millis());
        }
        if new.is_none_or(|before| before.watch != wanted.watch) {
            self.publish_backlog(job, Some(subscriber));
            self.publish_workers(job, Some(subscriber));
        }
    }

    /// A subscriber no longer wants a queue; what nobody wants any more goes.
    fn leave(&mut self, job: JobId, subscriber: &Subscriber) {
        let Some((fingerprint, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let fingerprint = *fingerprint;
        queue.wanted.remove(subscriber);
        if !queue.wanted.is_empty() {
            return;
        }
        self.by_name
            .remove(&(fingerprint, queue.task_queue.clone()));
        self.queues.remove(&job);
        self.schedule.remove(job);
        if let Some(credential) = self.credentials.get_mut(&fingerprint) {
            credential.queues.remove(&job);
            if credential.queues.is_empty() {
                self.parts.stats.release(&credential.connection);
                self.schedule.remove(credential.job);
                self.lists.remove(&credential.job);
                self.credentials.remove(&fingerprint);
            }
        }
    }

    // Calls.

    /// Starts every call that is due and that the budget allows. Says when to look again.
    fn dispatch(&mut self) -> Option<Millis> {
        let now = self.now();
        let at = now.as_millis();
        self.pace(now);
        loop {
            let Some(job) = self.schedule.peek(at) else {
                return self.schedule.next_due();
            };
            let Some(fingerprint) = self.fingerprint(job) else {
                self.schedule.remove(job);
                continue;
            };
            let Some(credential) = self.credentials.get_mut(&fingerprint) else {
                self.schedule.remove(job);
                continue;
            };
            let gate = credential.link.gate(at);
            if let Gate::Shut(error) = gate {
                self.schedule.start(job);
                self.fail_without_a_call(job, &error, now);
                continue;
            }
            if self.calls.len() >= self.parts.config.reads_in_flight.max(1) {
                return None;
            }
            let cost = self.queues.get(&job).map_or(1, |(_, queue)| queue.cost());
            if let Err(wait) = lock(&self.parts.budget).take(cost, at) {
                return Some(at.saturating_add(wait));
            }
            if gate == Gate::Probe {
                credential.link.probe();
            }
            self.schedule.start(job);
            self.call(job, fingerprint, gate == Gate::Probe);
        }
    }

    fn fingerprint(&self, job: JobId) -> Option<Fingerprint> {
        let queue = self.queues.get(&job).map(|(fingerprint, _)| *fingerprint);
        queue.or_else(|| self.lists.get(&job).copied())
    }

    fn call(&self, job: JobId, fingerprint: Fingerprint, probe: bool) {
        let Some(credential) = self.credentials.get(&fingerprint) else {
            return;
        };
        let caller = Caller {
            stats: self.parts.stats.clone(),
            observer: self.parts.observer.clone(),
            clock: self.parts.clock,
            place: self.parts.place.clone(),
            connection: credential.connection.clone(),
            job,
            probe,
        };
        match self.queues.get(&job) {
            Some((_, queue)) => {
                self.calls
                    .push(caller.describe(queue.task_queue.clone(), queue.types()));
            }
            None => match credential.step() {
                Step::Page(token) => self.calls.push(caller.page(token)),
                Step::Worker(key) => self.calls.push(caller.worker(key)),
                // The list is taken in as soon as it is whole, so this cannot be; an empty page
                // token begins a new one.
                Step::Done => self.calls.push(caller.page(Vec::new())),
            },
        }
    }

    /// The connection is known to be lost: the attempt fails as the one that found out did.
    fn fail_without_a_call(&mut self, job: JobId, error: &CallError, now: Time) {
        let span = Span {
            sent: now,
            ended: now,
        };
        if let Some((_, queue)) = self.queues.get(&job) {
            let answers = queue
                .types()
                .into_iter()
                .map(|t| (t, Err(error.clone())))
                .collect();
            self.take_answers(job, answers, span);
        } else {
            self.take_list(job, now, |credential, _| {
                credential.page(Err(error.clone()), |_| false, now)
            });
        }
    }

    /// A call has ended.
    fn finish(&mut self, done: Done) {
        let now = done.span.ended;
        let at = now.as_millis();
        let errors = done.outcome.errors();
        if errors
            .iter()
            .any(|error| error.kind == CallErrorKind::Throttled)
        {
            lock(&self.parts.budget).halve(at);
        }
        // One answer shows that the connection works, whatever became of the other types.
        let lost = if done.outcome.any_answer() {
            None
        } else {
            errors.first()
        };
        let change = match self.credentials.get_mut(&done.fingerprint) {
            Some(credential) => credential
                .link
                .result(lost, done.probe, at, jitter(done.job, at)),
            None => Change::None,
        };
        match done.outcome {
            Outcome::Queue(answers) => self.take_answers(done.job, answers, done.span),
            Outcome::Page(page) => self.take_list(done.job, now, |credential, wanted| {
                credential.page(page, wanted, now)
            }),
            Outcome::Worker(worker) => {
                self.take_list(done.job, now, |credential, _| {
                    credential.worker(worker, now)
                });
            }
        }
        match change {
            Change::None => {}
            Change::Lost { probe_at } => self.schedule_probe(done.job, probe_at),
            Change::Back => self.hasten_all(done.fingerprint, at),
        }
    }

    fn schedule_probe(&mut self, job: JobId, probe_at: Millis) {
        if self.fingerprint(job).is_some() {
            self.schedule.set(job, probe_at, 0);
        }
    }

    fn hasten_all(&mut self, fingerprint: Fingerprint, at: Millis) {
        if let Some(credential) = self.credentials.get(&fingerprint) {
            self.schedule.hasten(credential.job, at);
            for job in &credential.queues {
                self.schedule.hasten(*job, at);
            }
        }
    }

    fn take_answers(&mut self, job: JobId, answers: Answers, span: Span) {
        let pace = Pace {
            cache: self.cache(),
            quiet: self.quiet,
            jitter_permille: jitter(job, span.ended.as_millis()),
        };
        let Some((_, queue)) = self.queues.get_mut(&job) else {
            return;
        };
        let sequence = next_sequence(&self.parts.sequences);
        let news = queue.take(answers, span, pace.cache, sequence);
        let (due, slack) = queue.next(span.ended, pace);
        self.schedule.set(job, due, slack);
        if news {
            self.publish_backlog(job, None);
        }
    }

    fn take_list(
        &mut self,
        job: JobId,
        now: Time,
        take: impl FnOnce(&mut Credential, &dyn Fn(&str) -> bool) -> bool,
    ) {
        let Some(fingerprint) = self.lists.get(&job).copied() else {
            return;
        };
        let Some(credential) = self.credentials.get_mut(&fingerprint) else {
            return;
        };
        let by_name = &self.by_name;
        let wanted = |queue: &str| by_name.contains_key(&(fingerprint, queue.to_owned()));
        let whole = take(credential, &wanted);
        if !whole {
            self.schedule.set(job, now.as_millis(), 0);
            return;
        }
        let has_replicas = credential
            .queues
            .iter()
            .filter_map(|job| self.queues.get(job))
            .any(|(_, queue)| queue.wanted.values().any(|wanted| wanted.spec.has_replicas));
        let config = &self.parts.config;
        let interval = if has_replicas {
            config.workers_interval
        } else {
            config.idle_workers_interval
        };
        let rate = lock(&self.parts.budget).rate_milli();
        let pause = credential.pause(millis(interval), rate, jitter(job, now.as_millis()));
        self.schedule.set(
            job,
            now.as_millis().saturating_add(pause),
            millis(interval) / 2,
        );
        let in_use: Vec<String> = credential
            .queues_in_use(now)
            .into_iter()
            .map(str::to_owned)
            .collect();
        for queue_job in credential.queues.clone() {
            if let Some((_, queue)) = self.queues.get_mut(&queue_job) {
                let was_busy = queue.is_busy(now);
                queue.slots_in_use = in_use.contains(&queue.task_queue);
                if !was_busy && queue.slots_in_use {
                    self.schedule.hasten(queue_job, now.as_millis());
                }
            }
            self.publish_workers(queue_job, None);
        }
    }

    // What is left for quiet queues.

    /// Works out, at most once a second, how often quiet queues can be read so that all reads
    /// together take half the budget: the other half is for hints, worker lists and bursts.
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
                let rate = queue.cost().saturating_mul(1_000_000) / period;
                busy_rate_milli = busy_rate_milli.saturating_add(rate);
                busy_queues += 1;
            } else {
                quiet_calls = quiet_calls.saturating_add(queue.cost());
            }
        }
        let rate_milli = lock(&self.parts.budget).rate_milli();
        let left_milli = (rate_milli / 2).saturating_sub(busy_rate_milli);
        self.quiet = match left_milli {
            0 => Millis::MAX,
            left => quiet_calls.saturating_mul(1_000_000) / left,
        };
        let queues = self.queues.len() as u64;
        *lock(&self.parts.gauges) = Gauges {
            behind: self.schedule.behind(at),
            queues,
            busy_queues,
        };
    }

    // The board.

    fn publish_backlog(&self, job: JobId, only: Option<&Subscriber>) {
        let Some((_, queue)) = self.queues.get(&job) else {
            return;
        };
        let place = self.parts.place.to_string();
        for (subscriber, wanted) in selected(queue, only) {
            if let Some((reading, error)) = queue.reading(&wanted.spec) {
                let problem = error.map(|error| problem(error, &place));
                self.parts
                    .board
                    .publish(subscriber, wanted.watch, |on_board| {
                        on_board.backlog = reading;
                        on_board.backlog_problem = problem;
                        true
                    });
            }
        }
    }

    fn publish_workers(&self, job: JobId, only: Option<&Subscriber>) {
        let Some((fingerprint, queue)) = self.queues.get(&job) else {
            return;
        };
        let Some(credential) = self.credentials.get(fingerprint) else {
            return;
        };
        let Some((reading, error)) = credential.reading(&queue.task_queue) else {
            return;
        };
        let problem = error.map(|error| problem(error, &self.parts.place.to_string()));
        for (subscriber, wanted) in selected(queue, only) {
            self.parts
                .board
                .publish(subscriber, wanted.watch, |on_board| {
                    let news = match (on_board.workers.known(), reading.known()) {
                        (Some(before), Some(after)) => differ(before, after),
                        (None, None) => on_board.workers.unknown() != reading.unknown(),
                        (Some(_), None) | (None, Some(_)) => true,
                    };
                    on_board.workers = reading.clone();
                    on_board.workers_problem.clone_from(&problem);
                    news
                });
        }
    }
}

fn selected<'a>(
    queue: &'a Queue,
    only: Option<&'a Subscriber>,
) -> impl Iterator<Item = (&'a Subscriber, &'a Wanted)> {
    queue
        .wanted
        .iter()
        .filter(move |(subscriber, _)| only.is_none_or(|only| only == *subscriber))
}

async fn until(timer: Option<tokio::time::Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Between 900 and 1100, spread over jobs and times: retries of many queues part ways. Not
/// random, so that tests with a paused clock can be repeated.
fn jitter(job: JobId, now: Millis) -> u64 {
    let mixed = (job.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ now).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    900 + (mixed >> 32) % 201
}
