//! One credential in a Temporal namespace: its connection's state, and the workers listed with it.
//! Pure; the time is passed in.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use taskqueue_scaling::{Reading, TaskType, Time, UnknownReason};

use crate::backoff::{UNSUPPORTED_BACKOFF, doubled};
use crate::budget::Millis;
use crate::call::{CallError, CallErrorKind, Heartbeat, Method, WorkersPage};
use crate::circuit_breaker::CircuitBreaker;
use crate::connection::ResolvedConnection;
use crate::heartbeats::{Gathering, Heartbeats, Step};
use crate::queue::Span;
use crate::schedule::JobId;
use crate::subscription::WorkerReport;

/// The longest pause after a failed list, unless the server does not support listing.
const LONGEST_BACKOFF: Millis = 60_000;

/// One credential: its connection, the queues read with it, and the workers listed with it.
pub(crate) struct Credential {
    pub(crate) connection: ResolvedConnection,
    pub(crate) breaker: CircuitBreaker,
    /// The job that lists the workers.
    pub(crate) job: JobId,
    /// Whether hinted queues are read past the server's cache; false once the server has refused
    /// it.
    pub(crate) reads_past_cache: bool,
    /// Whether the workers are listed at the shorter interval.
    pub(crate) lists_often: bool,
    /// The queues read with it.
    pub(crate) queues: BTreeSet<JobId>,
    heartbeats: Heartbeats,
    gathering: Gathering,
    /// When the first call of the list in progress was sent.
    began: Option<Time>,
    calls: u64,
    workers: Workers,
}

/// The latest knowledge about the workers.
#[derive(Debug)]
enum Workers {
    Unread,
    Known {
        reports: Vec<WorkerReport>,
        taken_at: Time,
    },
    Empty {
        since: Time,
    },
    Failing {
        since: Time,
        failures: u32,
        error: CallError,
    },
}

impl Credential {
    pub(crate) fn new(connection: ResolvedConnection, job: JobId) -> Self {
        Self {
            connection,
            breaker: CircuitBreaker::default(),
            job,
            reads_past_cache: true,
            lists_often: false,
            queues: BTreeSet::new(),
            heartbeats: Heartbeats::default(),
            gathering: Gathering::new(),
            began: None,
            calls: 0,
            workers: Workers::Unread,
        }
    }

    /// The next call for the worker list.
    pub(crate) fn step(&self) -> Step {
        self.gathering.step().clone()
    }

    /// Adds a page to the list. True if the list is complete, or failed.
    pub(crate) fn page(
        &mut self,
        answer: Result<WorkersPage, CallError>,
        wanted: impl Fn(&str) -> bool,
        span: Span,
    ) -> bool {
        self.calls = self.calls.saturating_add(1);
        let taken = answer.and_then(|page| {
            self.gathering
                .page(page, wanted)
                .map_err(|problem| CallError {
                    kind: CallErrorKind::Failed,
                    method: Method::ListWorkers,
                    code: "Ok",
                    message: problem.to_owned(),
                    connection_lost: false,
                    fault: None,
                })
        });
        self.advance(taken, span)
    }

    /// Adds one worker to the list. True if the list is complete, or failed.
    pub(crate) fn worker(
        &mut self,
        answer: Result<Option<Heartbeat>, CallError>,
        span: Span,
    ) -> bool {
        self.calls = self.calls.saturating_add(1);
        let taken = answer.map(|heartbeat| self.gathering.worker(heartbeat));
        self.advance(taken, span)
    }

    fn advance(&mut self, taken: Result<(), CallError>, span: Span) -> bool {
        let began = *self.began.get_or_insert(span.sent);
        let now = span.ended;
        match taken {
            Err(error) => {
                self.gathering = Gathering::new();
                self.began = None;
                self.fail(error, now);
                true
            }
            Ok(()) if *self.gathering.step() == Step::Done => {
                let list = std::mem::replace(&mut self.gathering, Gathering::new()).finish();
                self.began = None;
                let reports = self.heartbeats.look(list, began, now);
                self.workers = if reports.is_empty() {
                    let since = match self.workers {
                        Workers::Empty { since } => since,
                        Workers::Unread | Workers::Known { .. } | Workers::Failing { .. } => now,
                    };
                    Workers::Empty { since }
                } else {
                    Workers::Known {
                        reports,
                        taken_at: now,
                    }
                };
                true
            }
            Ok(()) => false,
        }
    }

    fn fail(&mut self, error: CallError, now: Time) {
        let (since, failures, error) = match &self.workers {
            Workers::Failing {
                since,
                failures,
                error: first,
            } if !error.replaces(first) => (*since, failures.saturating_add(1), first.clone()),
            Workers::Failing {
                since, failures, ..
            } => (*since, failures.saturating_add(1), error),
            Workers::Unread | Workers::Known { .. } | Workers::Empty { .. } => (now, 1, error),
        };
        self.workers = Workers::Failing {
            since,
            failures,
            error,
        };
    }

    /// The workers of one task queue, and the workers on the same hosts that serve other task
    /// queues. `None` before the first list.
    pub(crate) fn reading(
        &self,
        task_queue: &str,
    ) -> Option<(Reading<Vec<WorkerReport>>, Option<&CallError>)> {
        match &self.workers {
            Workers::Unread => None,
            Workers::Known { reports, taken_at } => {
                let mine = reports
                    .iter()
                    .filter(|report| report.task_queue == task_queue);
                let hosts: HashSet<&str> = mine.map(|report| &*report.host_name).collect();
                let on_hosts = reports
                    .iter()
                    .filter(|report| hosts.contains(&*report.host_name));
                let value = on_hosts.cloned().collect();
                Some((
                    Reading::Known {
                        value,
                        taken_at: *taken_at,
                    },
                    None,
                ))
            }
            Workers::Empty { since } => {
                let reason = UnknownReason::NoHeartbeats;
                Some((
                    Reading::Unknown {
                        reason,
                        since: *since,
                        failures: 0,
                    },
                    None,
                ))
            }
            Workers::Failing {
                since,
                failures,
                error,
            } => {
                let reason = error.kind.unknown_reason();
                let reading = Reading::Unknown {
                    reason,
                    since: *since,
                    failures: *failures,
                };
                Some((reading, Some(error)))
            }
        }
    }

    /// The task queues on which a living worker has a slot in use.
    pub(crate) fn queues_in_use(&self, now: Time) -> BTreeSet<&str> {
        let Workers::Known { reports, .. } = &self.workers else {
            return BTreeSet::new();
        };
        let in_use = |report: &&WorkerReport| {
            let used = |task_type: TaskType| report.slots.get(task_type).map_or(0, |s| s.used);
            report.is_fresh(now)
                && TaskType::ALL
                    .into_iter()
                    .any(|task_type| used(task_type) > 0)
        };
        reports
            .iter()
            .filter(in_use)
            .map(|report| report.task_queue.as_str())
            .collect()
    }

    /// The task types that living workers serve, by task queue.
    pub(crate) fn served(&self, now: Time) -> BTreeMap<String, BTreeSet<TaskType>> {
        let mut served: BTreeMap<String, BTreeSet<TaskType>> = BTreeMap::new();
        let Workers::Known { reports, .. } = &self.workers else {
            return served;
        };
        for report in reports.iter().filter(|report| report.is_fresh(now)) {
            let types = TaskType::ALL.into_iter();
            let types = types.filter(|task_type| report.slots.get(*task_type).is_some());
            served
                .entry(report.task_queue.clone())
                .or_default()
                .extend(types);
        }
        served
    }

    /// The pause between the end of one list, complete or failed, and the start of the next. Lists
    /// that take many calls are spaced so that they use at most a quarter of the budget.
    pub(crate) fn pause(
        &mut self,
        interval: Millis,
        rate_milli: u64,
        jitter_permille: u64,
    ) -> Millis {
        let calls = std::mem::take(&mut self.calls).saturating_add(self.gathering.calls_left());
        let affordable = calls.saturating_mul(4_000_000) / rate_milli.max(1);
        let regular = interval.max(affordable);
        let Workers::Failing {
            failures, error, ..
        } = &self.workers
        else {
            return regular;
        };
        let backoff = match error.kind {
            CallErrorKind::Denied => LONGEST_BACKOFF,
            CallErrorKind::Unsupported if !self.heartbeats.looked() => {
                doubled(regular, *failures, UNSUPPORTED_BACKOFF)
            }
            CallErrorKind::Unsupported
            | CallErrorKind::Unavailable
            | CallErrorKind::Timeout
            | CallErrorKind::Throttled
            | CallErrorKind::NamespaceNotFound
            | CallErrorKind::Failed => doubled(regular, *failures, LONGEST_BACKOFF),
        };
        backoff.saturating_mul(jitter_permille) / 1_000
    }
}
