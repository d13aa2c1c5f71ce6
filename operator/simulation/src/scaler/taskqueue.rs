//! This project's policy: the real crate, with inputs like those of the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_scaling::{
    Backlog, Decision, History, LocalTime, Observation, PerType, PodPhase, PodSlots, Policy,
    Reading, RecurringLoad, Replicas, Slots, Time, TypeBacklog, TypeSlots, UnknownReason, decide,
    victims,
};

use crate::engine::{Action, Cluster, Scale, Scaler, WorkerRow};
use crate::fleet::{PodId, PodState};
use crate::queue::Statistics;
use crate::time::Millis;
use crate::trace::Setup;

/// Statistics are read this long after the server's cache has expired.
const PHASE_MARGIN: Millis = 50;
/// The first tasks of a queue at zero may be the start of a burst: the queue is read again this
/// much later, past the server's cache.
const LOOK_AGAIN: Millis = 100;
/// The interval between worker lists, while there are replicas ...
const LIST: Millis = 5_000;
/// ... and while there are none.
const IDLE_LIST: Millis = 30_000;
/// How late a heartbeat may be, in addition to two and a half of its intervals.
const ALLOWANCE: Millis = 6_000;

/// A worker in the last list.
#[derive(Debug, Clone, Copy)]
struct Listed {
    row: WorkerRow,
    /// When its heartbeat was last seen to change or to appear; `None` if it has not changed since
    /// the first list.
    changed_at: Option<Millis>,
    /// When the last list without this heartbeat was read.
    sent_after: Option<Millis>,
}

impl Listed {
    fn is_fresh(&self, looked_at: Millis) -> bool {
        let allowed = self.row.interval * 5 / 2 + ALLOWANCE;
        self.changed_at
            .is_some_and(|changed| looked_at - changed <= allowed)
    }
}

/// The workers, as last listed.
#[derive(Debug, Default)]
struct Workers {
    rows: BTreeMap<PodId, Listed>,
    /// When the last complete list was read.
    looked: Option<Millis>,
    /// Why there is no list now, if the last attempt failed.
    failing: Option<UnknownReason>,
}

impl Workers {
    fn look(&mut self, rows: Vec<WorkerRow>, now: Millis) {
        let judge = |row: WorkerRow| match self.rows.get(&row.pod) {
            Some(before) if before.row.sent_at == row.sent_at => *before,
            Some(_) => Listed {
                row,
                changed_at: Some(now),
                sent_after: self.looked,
            },
            // No age is known at the very first list.
            None => Listed {
                row,
                changed_at: self.looked.map(|_| now),
                sent_after: self.looked,
            },
        };
        self.rows = rows.into_iter().map(|row| (row.pod, judge(row))).collect();
        self.looked = Some(now);
        self.failing = None;
    }

    fn slots(&self, pod: PodId, state: PodState) -> PodSlots {
        let listed = self.rows.get(&pod);
        let fresh = listed.filter(|listed| listed.is_fresh(self.looked.unwrap_or(0)));
        PodSlots {
            pod: pod_name(pod),
            phase: phase(state),
            listed: listed.is_some(),
            fresh: fresh.is_some(),
            reported_at: listed
                .and_then(|listed| listed.changed_at)
                .map(Time::from_millis),
            reported_after: fresh
                .and_then(|listed| listed.sent_after)
                .map(Time::from_millis),
            types: PerType {
                activity: fresh.map(|listed| type_slots(&listed.row)),
                ..PerType::default()
            },
            elsewhere: None,
        }
    }
}

/// A worker that takes no new task has no free slots.
fn type_slots(row: &WorkerRow) -> TypeSlots {
    TypeSlots {
        used: row.used,
        available: row.available.filter(|_| !row.stopping),
        processed_total: Some(row.processed),
    }
}

/// The policy of a `TaskQueueWorker`.
#[derive(Debug)]
pub struct TaskQueue {
    name: String,
    policy: Policy,
    cache: Millis,
    /// Never removes a pod whose last heartbeat shows a slot in use.
    careful: bool,
    /// The bursts that recur; `None` = no forecast. Its text outlives a restart.
    recurring: Option<RecurringLoad>,
    memory: Memory,
    changes: Vec<(Millis, String)>,
}

/// The state that a restart loses.
#[derive(Debug, Default)]
struct Memory {
    history: History,
    sequence: u64,
    backlog: Option<Reading<Backlog>>,
    next_statistics: Millis,
    /// When to read the queue again, past the server's cache.
    look_again: Option<Millis>,
    workers: Workers,
    next_list: Millis,
    /// Whether no replicas were requested when the last list was read.
    idle: bool,
}

impl TaskQueue {
    /// The resource's defaults, in this setup.
    pub fn policy(setup: &Setup) -> Policy {
        Policy {
            min: setup.min,
            max: setup.max,
            slots_per_replica: setup.slots,
            queue_wait_target: Duration::from_millis(setup.target),
            drain_grace_period: Duration::from_millis(setup.grace),
            ..Policy::default()
        }
    }

    /// Creates the scaler with this policy.
    pub fn new(name: &str, setup: &Setup, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            policy,
            cache: setup.cache,
            careful: false,
            recurring: None,
            memory: Memory::default(),
            changes: Vec::new(),
        }
    }

    /// The same policy, but it never removes a pod whose last heartbeat shows a slot in use. No
    /// policy cuts off fewer tasks, but a fleet that is never idle never shrinks.
    #[must_use]
    pub fn careful(self) -> Self {
        Self {
            careful: true,
            ..self
        }
    }

    /// The same policy with a forecast. The trace begins on a Monday at 00:00.
    #[must_use]
    pub fn with_forecast(self) -> Self {
        Self {
            recurring: Some(RecurringLoad::default()),
            ..self
        }
    }

    /// The changes that it made: when, and the sentence that says why.
    pub fn changes(&self) -> &[(Millis, String)] {
        &self.changes
    }

    /// Reads what is due. Statistics and workers have separate schedules.
    fn read(&mut self, cluster: &mut Cluster<'_>) {
        let now = cluster.now();
        let interval = self.policy.polling_interval.as_millis() as Millis;
        let memory = &mut self.memory;
        if now >= memory.next_statistics {
            let was_empty = memory.waiting() == Some(0);
            let statistics = cluster.statistics();
            memory.take(statistics, now);
            memory.next_statistics = now + self.cache.max(interval) + PHASE_MARGIN;
            let wakes = was_empty && memory.waiting() > Some(0) && cluster.requested() == 0;
            memory.look_again = wakes.then_some(now + LOOK_AGAIN);
        } else if memory.look_again.take_if(|at| *at <= now).is_some()
            && let Some(statistics) = cluster.statistics_now()
        {
            memory.take(Some(statistics), now);
        }
        let woken = memory.idle && cluster.requested() > 0;
        if now >= memory.next_list || woken {
            match cluster.workers() {
                Some(rows) => memory.workers.look(rows, now),
                None => memory.workers.failing = Some(UnknownReason::TemporalUnavailable),
            }
            memory.idle = cluster.requested() == 0;
            memory.next_list = now + if memory.idle { IDLE_LIST } else { LIST };
        }
    }

    fn bound_by_idle_pods(&self, decision: &mut Decision, observation: &Observation) {
        let Some(slots) = observation.slots.known().filter(|_| self.careful) else {
            return;
        };
        let live = slots
            .pods
            .iter()
            .filter(|pod| pod.phase != PodPhase::Terminating);
        let working = live.filter(|pod| {
            let heard = pod.used().is_some_and(|used| used > 0);
            heard || (pod.used().is_none() && pod.phase == PodPhase::Ready)
        });
        let least = u32::try_from(working.count()).unwrap_or(u32::MAX);
        decision.desired = decision.desired.max(least.min(decision.previous));
        decision.act &= decision.desired != decision.previous;
    }
}

impl Memory {
    /// The number of waiting tasks at the last reading.
    fn waiting(&self) -> Option<u64> {
        let backlog = self.backlog.as_ref()?.known()?;
        Some(backlog.types.activity?.count)
    }

    /// Records an answer; `None` if there was none.
    fn take(&mut self, statistics: Option<Statistics>, now: Millis) {
        let now = Time::from_millis(now);
        let Some(statistics) = statistics else {
            let (since, failures) = match self.backlog {
                Some(Reading::Unknown {
                    since, failures, ..
                }) => (since, failures),
                Some(Reading::Known { taken_at, .. }) => (taken_at, 0),
                None => (now, 0),
            };
            self.backlog = Some(Reading::Unknown {
                reason: UnknownReason::TemporalUnavailable,
                since,
                failures: failures + 1,
            });
            return;
        };
        self.sequence += 1;
        let activity = TypeBacklog {
            count: statistics.count,
            age: Duration::from_millis(statistics.age),
            add_rate_milli: statistics.add_rate_milli,
            dispatch_rate_milli: statistics.dispatch_rate_milli,
            rate_limited: statistics.rate_limited,
            effective_limit_milli: statistics.limit_milli,
            ..TypeBacklog::default()
        };
        let types = PerType {
            activity: Some(activity),
            ..PerType::default()
        };
        self.backlog = Some(Reading::Known {
            value: Backlog {
                sequence: self.sequence,
                types,
            },
            taken_at: now,
        });
    }

    /// The last list, joined with the present pods.
    fn slots(&self, cluster: &Cluster<'_>) -> Reading<Slots> {
        let pods = cluster.pods();
        let now = Time::from_millis(cluster.now());
        let known = |pods, taken_at| Reading::Known {
            value: Slots {
                pods,
                ..Slots::default()
            },
            taken_at,
        };
        let looked = self.workers.looked.map(Time::from_millis);
        let unknown = |reason| Reading::Unknown {
            reason,
            since: looked.unwrap_or(now),
            failures: 0,
        };
        if pods.is_empty() {
            return known(Vec::new(), now);
        }
        if let Some(reason) = self.workers.failing {
            return unknown(reason);
        }
        let heard = pods
            .iter()
            .any(|(pod, _)| self.workers.rows.contains_key(pod));
        let past_their_start = pods.iter().any(|(_, state)| *state != PodState::Starting);
        if past_their_start && !heard {
            return unknown(UnknownReason::NoHeartbeats);
        }
        let pods = pods
            .into_iter()
            .map(|(pod, state)| self.workers.slots(pod, state));
        known(pods.collect(), looked.unwrap_or(now))
    }
}

fn pod_name(pod: PodId) -> String {
    format!("{pod:08}")
}

const fn phase(state: PodState) -> PodPhase {
    match state {
        PodState::Starting => PodPhase::Starting,
        PodState::Ready => PodPhase::Ready,
        PodState::Terminating | PodState::Gone => PodPhase::Terminating,
    }
}

impl Scaler for TaskQueue {
    fn name(&self) -> &str {
        &self.name
    }

    fn initial_replicas(&self) -> u32 {
        taskqueue_scaling::initial_replicas(&self.policy)
    }

    fn is_ours(&self) -> bool {
        true
    }

    fn grace(&self) -> Millis {
        self.policy.drain_grace_period.as_millis() as Millis
    }

    fn wake(&mut self, cluster: &mut Cluster<'_>) -> Action {
        let now = cluster.now();
        let count = |state| cluster.pods().iter().filter(|(_, is)| *is == state).count() as u32;
        let replicas = Replicas {
            requested: cluster.requested(),
            ready: count(PodState::Ready),
            starting: count(PodState::Starting),
            terminating: count(PodState::Terminating),
            start_up: cluster.start_up(),
            ..Replicas::default()
        };
        self.read(cluster);
        let memory = &self.memory;
        let next = memory.next_statistics.min(memory.next_list);
        let mut next = memory.look_again.map_or(next, |again| again.min(next));
        let Some(backlog) = self.memory.backlog.clone() else {
            return Action { next, scale: None };
        };
        let observation = Observation {
            replicas,
            backlog,
            slots: self.memory.slots(cluster),
            drained: cluster.drained().into_iter().map(pod_name).collect(),
        };
        let time = Time::from_millis(now);
        let history = &mut self.memory.history;
        history.observe(&self.policy, &observation, time);
        let mut policy = self.policy.clone();
        if let Some(recurring) = &mut self.recurring {
            let local = LocalTime::from_millis(now);
            recurring.observe(&policy, &observation.backlog, history, time, local);
            policy.forecast = recurring.forecast(&policy, history, local);
            let rise = recurring.next_rise(&policy, history, local);
            next = rise.map_or(next, |rise| next.min(now + rise.as_millis() as Millis));
        }
        let mut decision = decide(&policy, &observation, history, time);
        self.bound_by_idle_pods(&mut decision, &observation);
        self.memory.history.carried_out(&decision, time);
        if !decision.act {
            return Action { next, scale: None };
        }
        self.changes.push((now, decision.sentence()));
        let mut costs = Vec::new();
        let remove = decision.previous.saturating_sub(decision.desired);
        if remove > 0 {
            let marked = victims(
                &self.policy,
                &observation,
                &self.memory.history,
                remove,
                time,
            )
            .remove;
            let cost = |victim: taskqueue_scaling::Victim| {
                victim.pod.parse().ok().map(|pod: PodId| (pod, victim.cost))
            };
            costs = marked.into_iter().filter_map(cost).collect();
        }
        Action {
            next,
            scale: Some(Scale {
                replicas: decision.desired,
                costs,
            }),
        }
    }

    fn restart(&mut self) {
        self.memory = Memory::default();
        if let Some(recurring) = &mut self.recurring {
            let text = recurring.to_text();
            let kept = text.and_then(|text| RecurringLoad::from_text(&text));
            *recurring = kept.unwrap_or_default();
        }
    }
}
