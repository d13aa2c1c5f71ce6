//! One task queue as read with one credential: who reads it and what the last read found. Pure; the
//! time is passed in.

pub(crate) mod timing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use taskqueue_scaling::{Backlog, PerType, Reading, TaskType, Time, TypeBacklog};

use crate::budget::Millis;
use crate::call::CallError;
use crate::readings::Subscriber;
use crate::subscription::QueueWatch;

/// How often to read a task type that no worker serves. A read makes the server load the type's
/// queue for at least 5 minutes, which costs it most of a megabyte; at this interval the server
/// unloads the queue in between.
const UNSERVED_INTERVAL: Millis = 600_000;

/// What one subscriber reads, and the number of its watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) watch: u64,
    pub(crate) spec: QueueWatch,
}

/// The state of one task type.
#[derive(Clone, Debug, Default)]
struct TypeState {
    last: Option<TypeBacklog>,
    failing: Option<Failing>,
    /// When it was last read.
    read_at: Millis,
}

impl TypeState {
    /// Whether the type is known to be idle.
    fn is_idle(&self) -> bool {
        self.failing.is_none() && self.last.as_ref().is_some_and(is_idle)
    }
}

/// Whether nothing waits, arrives or leaves.
fn is_idle(backlog: &TypeBacklog) -> bool {
    backlog.count == 0 && backlog.add_rate_milli == 0 && backlog.dispatch_rate_milli == 0
}

#[derive(Clone, Debug)]
struct Failing {
    since: Time,
    failures: u32,
    error: CallError,
}

/// One task queue as read with one credential.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Temporal's name of the task queue.
    pub(crate) name: String,
    pub(crate) subscriptions: BTreeMap<Subscriber, Subscription>,
    types: BTreeMap<TaskType, TypeState>,
    /// The task types that a worker was seen to serve since the fleet's spec last changed. While
    /// empty, nothing is known and all types are read.
    served: BTreeSet<TaskType>,
    /// A read sent before this may return the same cached value.
    cached_until: Millis,
    /// When the last successful read ended.
    taken_at: Option<Time>,
    sequence: u64,
    pub(crate) slots_in_use: bool,
    /// A hint keeps the queue busy until this time: the first answer may have been a cached one.
    hinted_until: Millis,
    /// When the read for a hint is due.
    hint_at: Option<Millis>,
    /// Like `cached_until`, for reads past the cache, which have a cache of their own.
    past_cached_until: Millis,
}

/// The result of one read: an answer for each type requested.
pub(crate) type Answers = Vec<(TaskType, Result<TypeBacklog, CallError>)>;

/// When a read was sent and when it ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) sent: Time,
    pub(crate) ended: Time,
}

impl Queue {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            subscriptions: BTreeMap::new(),
            types: BTreeMap::new(),
            served: BTreeSet::new(),
            cached_until: 0,
            taken_at: None,
            sequence: 0,
            slots_in_use: false,
            hinted_until: 0,
            hint_at: None,
            past_cached_until: 0,
        }
    }

    /// The task types that any subscriber reads.
    pub(crate) fn subscribed_types(&self) -> Vec<TaskType> {
        let is_subscribed = |task_type: &TaskType| {
            self.subscriptions
                .values()
                .any(|subscription| includes(&subscription.spec, *task_type))
        };
        TaskType::ALL.into_iter().filter(is_subscribed).collect()
    }

    /// The task types to read now, one call each. An idle type that no worker serves is read
    /// rarely. If that leaves no type, all are read.
    pub(crate) fn types(&self, now: Time) -> Vec<TaskType> {
        let hinted = now.as_millis() < self.hinted_until;
        let rests = |task_type: &TaskType| {
            let state = self.types.get(task_type);
            let rests = state.is_some_and(|state| {
                let since_read = now.as_millis().saturating_sub(state.read_at);
                state.is_idle() && since_read < UNSERVED_INTERVAL
            });
            !self.served.is_empty() && !self.served.contains(task_type) && !hinted && rests
        };
        let mut types = self.subscribed_types();
        let needed = types.iter().filter(|task_type| !rests(task_type)).count();
        if needed > 0 {
            types.retain(|task_type| !rests(task_type));
        }
        types
    }

    /// The number of calls that a read costs now.
    pub(crate) fn cost(&self, now: Time) -> u64 {
        self.types(now).len() as u64
    }

    /// Records that a worker serves these task types.
    pub(crate) fn serves(&mut self, types: impl IntoIterator<Item = TaskType>) {
        self.served.extend(types);
    }

    /// Forgets which task types are served: the spec of a fleet has changed, and its workers may
    /// serve others.
    pub(crate) fn forget_served(&mut self) {
        self.served.clear();
    }

    /// Records the answers. True if they are a new sample; false if they look like the value read
    /// before and may have come from the server's cache.
    pub(crate) fn take(&mut self, answers: Answers, span: Span, cache: Millis, next: u64) -> bool {
        let fresh = span.sent.as_millis() >= self.cached_until;
        let mut changed = fresh;
        let mut complete = true;
        for (task_type, answer) in answers {
            let state = self.types.entry(task_type).or_default();
            state.read_at = span.sent.as_millis();
            match answer {
                Ok(backlog) => {
                    changed |= state.failing.is_some() || state.last != Some(backlog);
                    state.last = Some(backlog);
                    state.failing = None;
                    if backlog.pollers.is_some_and(|pollers| pollers > 0) {
                        self.served.insert(task_type);
                    }
                }
                Err(error) => {
                    complete = false;
                    changed = true;
                    state.fail(error, span.ended);
                }
            }
        }
        if complete && fresh {
            self.cached_until = span.ended.as_millis().saturating_add(cache);
        }
        if changed {
            self.sequence = next;
            self.taken_at = Some(span.ended);
        }
        changed
    }

    /// The reading for one subscriber: unknown if any of its types is unknown; `None` until all of
    /// them have been read.
    pub(crate) fn reading(
        &self,
        spec: &QueueWatch,
    ) -> Option<(Reading<Backlog>, Option<&CallError>)> {
        let mut types = PerType::default();
        let mut failing: Vec<&Failing> = Vec::new();
        for task_type in TaskType::ALL
            .into_iter()
            .filter(|task_type| includes(spec, *task_type))
        {
            let state = self.types.get(&task_type)?;
            failing.extend(&state.failing);
            *types.get_mut(task_type) = state.last;
        }
        if let Some(first) = failing.iter().min_by_key(|failing| failing.since) {
            let failures = failing
                .iter()
                .map(|failing| failing.failures)
                .max()
                .unwrap_or(1);
            let reason = first.error.kind.unknown_reason();
            let reading = Reading::Unknown {
                reason,
                since: first.since,
                failures,
            };
            return Some((reading, Some(&first.error)));
        }
        let value = Backlog {
            sequence: self.sequence,
            types,
        };
        Some((
            Reading::Known {
                value,
                taken_at: self.taken_at?,
            },
            None,
        ))
    }

    /// Whether these answers show the first tasks of an empty queue without replicas.
    pub(crate) fn wakes(&self, answers: &Answers) -> bool {
        let empty = |state: &TypeState| {
            state.failing.is_none() && state.last.is_some_and(|last| last.count == 0)
        };
        !self.types.is_empty()
            && self.types.values().all(empty)
            && !self.has_replicas()
            && answers
                .iter()
                .any(|(_, answer)| answer.as_ref().is_ok_and(|found| found.count > 0))
    }

    /// Records that a read past the cache was answered, and fills in what such answers leave out.
    pub(crate) fn read_past_cache(&mut self, answers: &mut Answers, span: Span, cache: Millis) {
        self.past_cached_until = span.ended.as_millis().saturating_add(cache);
        for (task_type, answer) in answers {
            let last = self.types.get(task_type).and_then(|state| state.last);
            if let (Ok(answer), Some(last)) = (answer, last) {
                answer.pollers = last.pollers;
                answer.routed = last.routed;
                answer.rate_limited = last.rate_limited;
                answer.effective_limit_milli = last.effective_limit_milli;
            }
        }
    }
}

impl TypeState {
    fn fail(&mut self, error: CallError, now: Time) {
        self.failing = Some(match self.failing.take() {
            Some(before) if !error.replaces(&before.error) => Failing {
                failures: before.failures.saturating_add(1),
                ..before
            },
            Some(before) => Failing {
                since: before.since,
                failures: before.failures.saturating_add(1),
                error,
            },
            None => Failing {
                since: now,
                failures: 1,
                error,
            },
        });
    }
}

/// Whether a reading only repeats, shortly after the last one, that a queue without replicas is
/// idle. Such a reading is stored but causes no update.
pub(crate) fn is_no_news(
    before: &Reading<Backlog>,
    after: &Reading<Backlog>,
    spec: &QueueWatch,
) -> bool {
    let (Some(was), Some(is)) = (before.known(), after.known()) else {
        return false;
    };
    let idle = |backlog: &Backlog| {
        let mut types = backlog
            .types
            .iter()
            .filter_map(|(_, of_type)| of_type.as_ref());
        types.all(is_idle)
    };
    // Readings older than this are not acted on, so after a longer gap a known reading is news.
    let shortly = SHORTLY.max(spec.quiet_polling_interval.saturating_mul(2));
    let gap = before.taken_at().zip(after.taken_at());
    let gap = gap.map(|(before, after)| after.since(before));
    !spec.has_replicas && was.types == is.types && idle(is) && gap.is_some_and(|gap| gap <= shortly)
}

/// The longest gap at which a reading can repeat the last one (see [`is_no_news`]), or two quiet
/// polling intervals if that is longer.
const SHORTLY: Duration = Duration::from_mins(1);

/// Whether a watch includes a task type.
fn includes(spec: &QueueWatch, task_type: TaskType) -> bool {
    spec.task_types.is_empty() || spec.task_types.contains(&task_type)
}
