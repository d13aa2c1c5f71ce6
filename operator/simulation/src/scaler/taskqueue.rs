//! The policy of this project: the real crate, fed as the operator feeds it.

use std::collections::BTreeMap;
use std::time::Duration;

use taskqueue_scaling::{
    Backlog, History, Observation, PerType, PodPhase, PodSlots, Policy, Reading, Replicas, Slots,
    Time, TypeBacklog, TypeSlots, UnknownReason, decide, victims,
};

use super::Scaler;
use crate::{Action, Cluster, Millis, PodId, PodState, Scale, Setup, WorkerRow};

/// The reader asks just after the server's cache has expired.
const PHASE_MARGIN: Millis = 50;

/// When a heartbeat was sent, when it was first seen, and when the workers had been listed before that.
#[derive(Debug, Clone, Copy)]
struct Beat {
    sent: Millis,
    seen: Millis,
    after: Millis,
}

/// `TaskQueueWorker`.
#[derive(Debug)]
pub struct TaskQueue {
    name: String,
    policy: Policy,
    history: History,
    cache: Millis,
    heartbeat: Millis,
    sequence: u64,
    failures: u32,
    /// Per pod: the newest heartbeat.
    seen: BTreeMap<PodId, Beat>,
    /// When the workers were last listed.
    looked: Millis,
    last_known: Millis,
    slots: u32,
    changes: Vec<(Millis, String)>,
}

impl TaskQueue {
    /// The defaults of the resource, in this world.
    pub fn policy(setup: &Setup) -> Policy {
        Policy {
            min: setup.min,
            max: setup.max,
            slots_per_replica: setup.slots,
            queue_wait_target: Duration::from_millis(setup.target),
            ..Policy::default()
        }
    }

    /// With this policy.
    pub fn new(name: &str, setup: &Setup, policy: Policy) -> Self {
        Self {
            name: name.to_owned(),
            policy,
            history: History::new(),
            cache: setup.cache,
            heartbeat: setup.heartbeat,
            sequence: 0,
            failures: 0,
            seen: BTreeMap::new(),
            looked: 0,
            last_known: 0,
            slots: setup.slots,
            changes: Vec::new(),
        }
    }

    /// What it changed, when, and the sentence that says why.
    pub fn changes(&self) -> &[(Millis, String)] {
        &self.changes
    }

    fn backlog(&mut self, cluster: &mut Cluster<'_>) -> Reading<Backlog> {
        let now = Time::from_millis(cluster.now());
        let Some(statistics) = cluster.statistics() else {
            self.failures += 1;
            return Reading::Unknown {
                reason: UnknownReason::TemporalUnavailable,
                since: Time::from_millis(self.last_known),
                failures: self.failures,
            };
        };
        self.failures = 0;
        self.sequence += 1;
        self.last_known = cluster.now();
        let activity = TypeBacklog {
            count: statistics.count,
            age: Duration::from_millis(statistics.age),
            add_rate_milli: statistics.add_rate_milli,
            dispatch_rate_milli: statistics.dispatch_rate_milli,
            rate_limited: statistics.rate_limited,
            effective_limit_milli: statistics.limit_milli,
            pollers: None,
            routed: None,
        };
        let types = PerType {
            activity: Some(activity),
            ..PerType::default()
        };
        Reading::Known {
            value: Backlog {
                sequence: self.sequence,
                types,
            },
            taken_at: now,
        }
    }

    fn slots(&mut self, cluster: &mut Cluster<'_>) -> Reading<Slots> {
        let now = cluster.now();
        let Some(rows) = cluster.workers() else {
            return Reading::Unknown {
                reason: UnknownReason::TemporalUnavailable,
                since: Time::from_millis(self.last_known),
                failures: self.failures,
            };
        };
        let rows: BTreeMap<PodId, WorkerRow> = rows.into_iter().map(|row| (row.pod, row)).collect();
        let pods = cluster.pods();
        self.seen
            .retain(|pod, _| pods.iter().any(|(live, _)| live == pod));
        let pods = pods.into_iter().map(|(pod, state)| {
            let row = rows.get(&pod);
            if let Some(row) = row
                && self
                    .seen
                    .get(&pod)
                    .is_none_or(|beat| row.sent_at > beat.sent)
            {
                let beat = Beat {
                    sent: row.sent_at,
                    seen: now,
                    after: self.looked,
                };
                self.seen.insert(pod, beat);
            }
            let beat = self.seen.get(&pod).copied();
            let fresh = beat.filter(|beat| now - beat.seen <= 3 * self.heartbeat);
            let slots = row.map(|row| TypeSlots {
                used: row.used,
                available: Some(self.slots - row.used),
                processed_total: Some(row.processed),
            });
            PodSlots {
                pod: pod_name(pod),
                phase: phase(state),
                listed: beat.is_some(),
                fresh: fresh.is_some(),
                reported_at: beat.map(|beat| Time::from_millis(beat.seen)),
                reported_after: fresh.map(|beat| Time::from_millis(beat.after)),
                types: PerType {
                    activity: slots,
                    ..PerType::default()
                },
                elsewhere: None,
            }
        });
        let pods = pods.collect();
        self.looked = now;
        Reading::Known {
            value: Slots {
                pods,
                ..Slots::default()
            },
            taken_at: Time::from_millis(now),
        }
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
            asked: cluster.asked(),
            ready: count(PodState::Ready),
            starting: count(PodState::Starting),
            terminating: count(PodState::Terminating),
            unseen: 0,
            rollout_in_progress: false,
        };
        let backlog = self.backlog(cluster);
        let slots = self.slots(cluster);
        let observation = Observation {
            replicas,
            backlog,
            slots,
        };
        let time = Time::from_millis(now);
        self.history.observe(&self.policy, &observation, time);
        let decision = decide(&self.policy, &observation, &self.history, time);
        self.history.carried_out(&decision, time);
        let next = now
            + self
                .cache
                .max(self.policy.polling_interval.as_millis() as Millis)
            + PHASE_MARGIN;
        if !decision.act {
            return Action { next, scale: None };
        }
        self.changes.push((now, decision.sentence.clone()));
        let mut costs = Vec::new();
        let remove = decision.previous.saturating_sub(decision.desired);
        if remove > 0 {
            let marked = victims(&self.policy, &observation, &self.history, remove, time).remove;
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
        self.history = History::new();
        self.seen.clear();
        self.sequence = 0;
    }
}
