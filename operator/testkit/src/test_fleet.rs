//! A queue and its fleet for the tests of scaling, with a clock that only the test moves.

use std::time::Duration;

use taskqueue_scaling::{
    Backlog, Decision, History, Observation, PerType, PodPhase, PodSlots, Policy, Reading,
    Replicas, SlotSource, Slots, Time, TypeBacklog, TypeSlots, UnknownReason, check, decide,
};

/// A policy with simple numbers: pods of 10 slots at 75 %, a target of 5 s, 0 to 20 replicas.
pub fn policy() -> Policy {
    Policy {
        max: 20,
        slots_per_replica: 10,
        // A fixed share, so that the expected numbers can be computed by hand.
        target_utilization: Some(75),
        ..Policy::default()
    }
}

/// A backlog of activities, without other task types.
pub fn activities(sequence: u64, activity: TypeBacklog) -> Backlog {
    Backlog {
        sequence,
        types: PerType {
            activity: Some(activity),
            ..PerType::default()
        },
    }
}

/// A backlog of `count` tasks.
pub fn waiting(count: u64) -> TypeBacklog {
    TypeBacklog {
        count,
        ..TypeBacklog::default()
    }
}

/// A ready pod of 10 activity slots with `used` of them in use.
pub fn pod(name: &str, used: u32, reported_at: Time) -> PodSlots {
    let slots = TypeSlots {
        used,
        available: Some(10_u32.saturating_sub(used)),
        processed_total: Some(0),
    };
    PodSlots {
        pod: name.to_owned(),
        phase: PodPhase::Ready,
        listed: true,
        fresh: true,
        reported_at: Some(reported_at),
        reported_after: Some(reported_at),
        types: PerType {
            activity: Some(slots),
            ..PerType::default()
        },
        elsewhere: None,
    }
}

/// One queue and its fleet. Pods are ready as soon as they are requested.
pub struct TestFleet {
    /// The policy of the queue.
    pub policy: Policy,
    /// What the scaling core remembers of the queue.
    pub history: History,
    /// The current time, which only the test moves.
    pub now: Time,
    /// The replicas requested; each is a ready pod.
    pub requested: u32,
    /// Whether a rollout is under way.
    pub rollout: bool,
    /// How many of the last pods the Deployment counts but the watch on pods does not show yet.
    pub unseen: u32,
    /// Slots in use per pod, from the first pod on; the rest are idle.
    pub used: Vec<u32>,
    /// Tasks that every pod has processed so far.
    pub processed: u64,
    /// How many of the last pods are ready but have no fresh heartbeat.
    pub blind: u32,
    /// When the pods were last seen to report; `None` = just now.
    pub reported_at: Option<Time>,
    /// How long the pods took to start, as they show it; `None` = unknown.
    pub start_up: Option<Duration>,
    /// Why the slots are unknown; `None` if they are known.
    pub slots_unknown: Option<UnknownReason>,
    /// The source of the slots.
    pub source: SlotSource,
    /// Whether the workers report how many tasks they have processed.
    pub counts: bool,
    sequence: u64,
    failures: u32,
}

impl TestFleet {
    /// A fleet without history.
    pub fn new(policy: Policy, requested: u32) -> Self {
        Self {
            policy,
            history: History::new(),
            now: Time::from_secs(1000),
            requested,
            rollout: false,
            unseen: 0,
            used: Vec::new(),
            processed: 0,
            blind: 0,
            reported_at: None,
            start_up: None,
            slots_unknown: None,
            source: SlotSource::Heartbeats,
            counts: true,
            sequence: 0,
            failures: 0,
        }
    }

    /// A fleet with enough history for every decision, whose tasks take `service` each.
    pub fn settled(policy: Policy, requested: u32, service: Duration) -> Self {
        let mut fleet = Self::new(policy, requested);
        let kept = fleet.policy.clone();
        // Enough completions for the mean, with as many slots in use as Little's law requires.
        fleet.policy.min = requested;
        fleet.policy.max = fleet.policy.max.max(requested);
        fleet.used = vec![7; usize::try_from(requested.max(1)).unwrap()];
        let zero = requested == 0;
        if zero {
            fleet.requested = 1;
            fleet.policy.min = 1;
        }
        for _ in 0..40 {
            fleet.wait(5);
            let span = 35_000 * 64;
            fleet.processed += span / u64::try_from(service.as_millis()).unwrap() / 64;
            drop(fleet.reads(TypeBacklog::default()));
        }
        fleet.used = Vec::new();
        fleet.policy = kept;
        if zero {
            for _ in 0..30 {
                fleet.wait(5);
                drop(fleet.reads(TypeBacklog::default()));
            }
        }
        assert_eq!(fleet.requested, requested);
        fleet
    }

    /// Advances the clock.
    pub fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }

    /// The current reading of the slots.
    pub fn slots(&self) -> Reading<Slots> {
        if let Some(reason) = self.slots_unknown {
            return Reading::Unknown {
                reason,
                since: self.now,
                failures: 1,
            };
        }
        let pods = (0..self.requested.saturating_sub(self.unseen)).map(|index| {
            let used = self
                .used
                .get(usize::try_from(index).unwrap())
                .copied()
                .unwrap_or(0);
            let reported_at = self.reported_at.unwrap_or(self.now);
            let mut pod = pod(&format!("pod-{index:02}"), used, reported_at);
            if let Some(slots) = &mut pod.types.activity {
                slots.processed_total = self.counts.then_some(self.processed);
            }
            if index + self.blind >= self.requested {
                pod.fresh = false;
            }
            pod
        });
        Reading::Known {
            value: Slots {
                pods: pods.collect(),
                source: self.source,
            },
            taken_at: self.now,
        }
    }

    /// An observation with this backlog.
    pub fn observation(&self, backlog: Reading<Backlog>) -> Observation {
        let replicas = Replicas {
            requested: self.requested,
            ready: self.requested.saturating_sub(self.unseen),
            starting: self.unseen.min(self.requested),
            unseen: self.unseen,
            rollout_in_progress: self.rollout,
            start_up: self.start_up,
            ..Replicas::default()
        };
        Observation {
            replicas,
            backlog,
            slots: self.slots(),
            drained: Vec::new(),
        }
    }

    /// Takes a new reading with this backlog, decides and carries the decision out.
    pub fn reads(&mut self, activity: TypeBacklog) -> Decision {
        self.sequence += 1;
        self.failures = 0;
        self.rereads(activity)
    }

    /// The same, 5 s later.
    pub fn reads_next(&mut self, activity: TypeBacklog) -> Decision {
        self.wait(5);
        self.reads(activity)
    }

    /// Decides again without a new reading: the sequence stays the same.
    pub fn rereads(&mut self, activity: TypeBacklog) -> Decision {
        let backlog = Reading::Known {
            value: activities(self.sequence, activity),
            taken_at: self.now,
        };
        let observation = self.observation(backlog);
        self.step(&observation)
    }

    /// Takes a failed reading and decides.
    pub fn fails(&mut self) -> Decision {
        self.failures += 1;
        let reason = UnknownReason::TemporalUnavailable;
        let observation = self.observation(Reading::Unknown {
            reason,
            since: self.now,
            failures: self.failures,
        });
        self.step(&observation)
    }

    /// Records an observation, decides, checks the decision and carries it out.
    pub fn step(&mut self, observation: &Observation) -> Decision {
        self.history.observe(&self.policy, observation, self.now);
        let decision = decide(&self.policy, observation, &self.history, self.now);
        let broken = check::violations(
            &self.policy,
            observation,
            &self.history,
            &decision,
            self.now,
        );
        assert_eq!(broken, Vec::new(), "{decision:#?}");
        self.history.carried_out(&decision, self.now);
        if decision.act {
            self.scale(decision.desired);
        }
        decision
    }

    /// Sets the replicas; idle pods go first, as their deletion costs require.
    fn scale(&mut self, replicas: u32) {
        let pods = |count: u32| usize::try_from(count).unwrap();
        self.used.resize(pods(self.requested), 0);
        while self.used.len() > pods(replicas) {
            let idlest = (0..self.used.len())
                .min_by_key(|index| self.used[*index])
                .unwrap();
            self.used.remove(idlest);
        }
        self.requested = replicas;
    }
}

/// What tables and timelines compare: the number and the reason.
pub fn outcome(decision: &Decision) -> (u32, &'static str) {
    (decision.desired, decision.reason.as_str())
}
