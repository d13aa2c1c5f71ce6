//! The pool of readers: who watches what, and the latest readings. Starts and stops one reader task
//! per Temporal namespace; makes no calls itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{self, Stream};
use parking_lot::Mutex;
use taskqueue_scaling::Time;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::budget::BudgetLimits;
use crate::call::QueueStats;
use crate::call_budget::{CallBudget, PerSource};
use crate::clock::Clock;
use crate::connection::{ResolvedConnection, ServerNamespace};
use crate::observer::{BudgetReading, Observer, SourceReading};
use crate::panics::panic_text;
use crate::queue::Subscription;
use crate::reader::config::ReadersConfig;
use crate::reader::{Command, Gauges, Handle, Parts, Reader, Registry};
use crate::readings::{Readings, Subscriber, unread};
use crate::subscription::{OwnerKey, QueueReading, QueueWatch};

/// How long a Temporal namespace whose reader panicked is not read. If what made it panic is still
/// there, it panics again.
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(5);

/// Reads the watched queues of every Temporal namespace in the background. Each namespace has a
/// task and a budget of its own, so that none waits for another. Cheap to clone; dropping the last
/// clone stops the tasks.
#[derive(Clone)]
pub struct Readers {
    inner: Arc<Inner>,
}

struct Inner {
    stats: Arc<dyn QueueStats>,
    observer: Arc<dyn Observer>,
    config: ReadersConfig,
    clock: Clock,
    readings: Arc<Readings>,
    sequences: Arc<AtomicU64>,
    registry: Registry,
    watches: Mutex<Watches>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Default)]
struct Watches {
    last: u64,
    owners: BTreeMap<OwnerKey, Watch>,
}

/// What an owner asked for last.
struct Watch {
    connection: ResolvedConnection,
    queues: BTreeMap<String, Subscription>,
}

impl Watch {
    fn command(&self, owner: &OwnerKey) -> Command {
        Command::Watch {
            owner: owner.clone(),
            connection: Box::new(self.connection.clone()),
            queues: self.queues.values().cloned().collect(),
        }
    }
}

impl Readers {
    /// Creates an empty pool. Must be called inside a tokio runtime, like every method here that is
    /// not `async`.
    pub fn new(
        stats: Arc<dyn QueueStats>,
        observer: Arc<dyn Observer>,
        config: ReadersConfig,
        clock: Clock,
    ) -> Self {
        let stop = CancellationToken::new();
        let inner = Inner {
            stats,
            observer,
            config,
            clock,
            readings: Arc::default(),
            sequences: Arc::default(),
            registry: Registry::default(),
            watches: Mutex::default(),
            tasks: TaskTracker::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The clock that stamps the readings.
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// Sets the queues to read for an owner. Queues that it watched before and that are not in
    /// `queues` are no longer read. Cheap if nothing has changed, so call it in every reconcile. If
    /// several queues have the same name, the last one counts.
    ///
    /// A queue keeps its reading as long as its address, Temporal namespace, task queue and task
    /// types stay the same. It also keeps it when the credential changes; the next read uses the
    /// new credential.
    pub fn watch(&self, owner: &OwnerKey, connection: &ResolvedConnection, queues: &[QueueWatch]) {
        let now = self.inner.clock.now();
        let mut watches = self.inner.watches.lock();
        let before = watches.owners.remove(owner);
        let same_server = before.as_ref().is_some_and(|before| {
            before.connection.server_namespace() == connection.server_namespace()
        });
        let mut last = watches.last;
        let mut subscriptions = BTreeMap::new();
        for spec in queues {
            let spec = normal(spec);
            let kept = before
                .as_ref()
                .and_then(|before| before.queues.get(&spec.queue))
                .filter(|old| same_server && reads_the_same(&old.spec, &spec))
                .map(|old| old.watch);
            let watch = kept.unwrap_or_else(|| {
                last = last.saturating_add(1);
                let queue = spec.queue.clone();
                self.inner.readings.open(
                    Subscriber {
                        owner: owner.clone(),
                        queue,
                    },
                    last,
                    now,
                );
                last
            });
            subscriptions.insert(spec.queue.clone(), Subscription { watch, spec });
        }
        watches.last = last;
        let unchanged = before.as_ref().is_some_and(|before| {
            before.connection == *connection && before.queues == subscriptions
        });
        if let Some(before) = &before {
            self.close_missing(owner, before, &subscriptions);
            if !same_server {
                self.tell(
                    before.connection.server_namespace(),
                    Command::Forget(owner.clone()),
                );
            }
        }
        let watch = Watch {
            connection: connection.clone(),
            queues: subscriptions,
        };
        if !unchanged {
            self.tell(connection.server_namespace(), watch.command(owner));
        }
        watches.owners.insert(owner.clone(), watch);
    }

    /// Stops reading for an owner that is gone, and closes its connection if nobody else uses it.
    pub fn forget(&self, owner: &OwnerKey) {
        let mut watches = self.inner.watches.lock();
        if let Some(before) = watches.owners.remove(owner) {
            self.close_missing(owner, &before, &BTreeMap::new());
            self.tell(
                before.connection.server_namespace(),
                Command::Forget(owner.clone()),
            );
        }
    }

    /// The latest reading. A queue that is not watched has not been read.
    pub fn reading(&self, owner: &OwnerKey, queue: &str) -> QueueReading {
        let subscriber = Subscriber {
            owner: owner.clone(),
            queue: queue.to_owned(),
        };
        self.inner
            .readings
            .reading(&subscriber)
            .unwrap_or_else(|| unread(self.inner.clock.now()))
    }

    /// When the backlog of a queue was last read; `None` if it is unknown. Not every reading is
    /// news.
    pub fn read_at(&self, owner: &OwnerKey, queue: &str) -> Option<Time> {
        let subscriber = Subscriber {
            owner: owner.clone(),
            queue: queue.to_owned(),
        };
        self.inner.readings.read_at(&subscriber)
    }

    /// Hints that a queue has work. The queue is read a tenth of a second later, as far as the
    /// budget allows: by then a task that was just started has reached its queue. If the server
    /// would answer from its statistics cache, the read bypasses the cache, which works once per
    /// `statistics_cache`; further hints wait until a read can see something new. Returns false if
    /// the queue is not watched.
    pub fn hint(&self, owner: &OwnerKey, queue: &str) -> bool {
        let watches = self.inner.watches.lock();
        let Some(watch) = watches.owners.get(owner) else {
            return false;
        };
        let known = watch.queues.contains_key(queue);
        if known {
            let subscriber = Subscriber {
                owner: owner.clone(),
                queue: queue.to_owned(),
            };
            self.tell(
                watch.connection.server_namespace(),
                Command::Hint(subscriber),
            );
        }
        known
    }

    /// The owners with news, oldest news first, each listed once however much news it has. News is
    /// a new sample, a failed attempt, or a change of workers. A queue without replicas that is
    /// still idle is no news. For a single consumer. Ends with [`Readers::shutdown`].
    pub fn updates(&self) -> impl Stream<Item = OwnerKey> + Send + use<> {
        stream::unfold(self.inner.readings.clone(), |readings| async move {
            let owner = readings.next_owner().await?;
            Some((owner, readings))
        })
    }

    /// The call budget of every Temporal namespace that is being read.
    pub fn budgets(&self) -> Vec<BudgetReading> {
        let now = self.inner.clock.now().as_millis();
        let full = self.limits().rate_milli;
        let registry = self.inner.registry.lock();
        let read = |(server_namespace, handle): (&ServerNamespace, &Handle)| {
            let mut budget = handle.budget.lock();
            let gauges = *handle.gauges.lock();
            BudgetReading {
                server_namespace: server_namespace.clone(),
                full_rate_milli: full,
                sources: PerSource::from_fn(|source| SourceReading {
                    tokens: budget.tokens(source, now),
                    rate_milli: budget.rate_milli(source),
                    behind: Duration::from_millis(*gauges.behind.get(source)),
                }),
                queues: gauges.queues,
                busy_queues: gauges.busy_queues,
            }
        };
        registry.iter().map(read).collect()
    }

    /// Stops all reading and waits until every task has ended. The readings remain.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.registry.lock().clear();
        self.inner.readings.end_updates();
    }

    fn limits(&self) -> BudgetLimits {
        BudgetLimits {
            rate_milli: u64::from(self.inner.config.calls_per_second)
                .saturating_mul(1_000)
                .max(100),
            burst: u64::from(self.inner.config.burst),
        }
    }

    fn close_missing(
        &self,
        owner: &OwnerKey,
        before: &Watch,
        now: &BTreeMap<String, Subscription>,
    ) {
        for queue in before
            .queues
            .keys()
            .filter(|queue| !now.contains_key(*queue))
        {
            let subscriber = Subscriber {
                owner: owner.clone(),
                queue: queue.clone(),
            };
            self.inner.readings.close(&subscriber);
        }
    }

    /// Sends a command to the reader of a Temporal namespace; a watch starts the reader if there is
    /// none.
    ///
    /// Holds the registry's lock throughout. A retiring reader takes the same lock, so it either
    /// sees the command or is already gone from the registry.
    fn tell(&self, server_namespace: ServerNamespace, command: Command) {
        let inner = &self.inner;
        let mut registry = inner.registry.lock();
        if inner.stop.is_cancelled() {
            return;
        }
        let handle = match (registry.entry(server_namespace), &command) {
            (Entry::Occupied(running), _) => running.into_mut(),
            (Entry::Vacant(vacant), Command::Watch { .. }) => {
                let handle = self.start(vacant.key().clone());
                vacant.insert(handle)
            }
            (Entry::Vacant(_), Command::Forget(_) | Command::Hint(_)) => return,
        };
        if handle.commands.send(command).is_err() {
            tracing::debug!("the readers are stopping; no queue is read any more");
        }
    }

    /// Replaces a reader that panicked: the new one watches what the owners asked for last.
    fn restart(pool: &Weak<Inner>, server_namespace: &ServerNamespace) {
        let Some(inner) = pool.upgrade() else {
            return;
        };
        let readers = Self { inner };
        let watches = readers.inner.watches.lock();
        readers.inner.registry.lock().remove(server_namespace);
        let owners = watches.owners.iter();
        let affected =
            owners.filter(|(_, watch)| watch.connection.server_namespace() == *server_namespace);
        for (owner, watch) in affected {
            readers.tell(server_namespace.clone(), watch.command(owner));
        }
    }

    fn start(&self, server_namespace: ServerNamespace) -> Handle {
        let inner = &self.inner;
        let (commands, inbox) = mpsc::unbounded_channel();
        let budget = CallBudget::new(self.limits(), inner.clock.now().as_millis());
        let budget = Arc::new(Mutex::new(budget));
        let gauges = Arc::<Mutex<Gauges>>::default();
        let reader = Reader::new(Parts {
            server_namespace: server_namespace.clone(),
            config: inner.config,
            clock: inner.clock,
            stats: inner.stats.clone(),
            observer: inner.observer.clone(),
            readings: inner.readings.clone(),
            sequences: inner.sequences.clone(),
            budget: budget.clone(),
            gauges: gauges.clone(),
        });
        let running = reader.run(inbox, inner.registry.clone(), inner.stop.clone());
        let (pool, stop) = (Arc::downgrade(inner), inner.stop.clone());
        inner.tasks.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(running).catch_unwind().await {
                tracing::error!(
                    %server_namespace,
                    "reading this Temporal namespace panicked: {}; it starts over; please report \
                     it",
                    panic_text(&*panic)
                );
                let pause = tokio::time::sleep(PAUSE_AFTER_PANIC);
                if stop.run_until_cancelled(pause).await.is_some() {
                    Readers::restart(&pool, &server_namespace);
                }
            }
        });
        Handle {
            commands,
            budget,
            gauges,
        }
    }
}

/// The spec with its task types sorted and without duplicates.
fn normal(spec: &QueueWatch) -> QueueWatch {
    let mut spec = spec.clone();
    spec.task_types.sort_unstable();
    spec.task_types.dedup();
    spec
}

/// Whether a reading for one spec also serves the other.
fn reads_the_same(a: &QueueWatch, b: &QueueWatch) -> bool {
    a.task_queue == b.task_queue && a.task_types == b.task_types
}
