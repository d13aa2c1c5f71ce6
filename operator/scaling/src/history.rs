//! The state that one queue keeps between decisions. It starts empty (after a restart or a leader
//! change), is bounded in size, and changes only in [`History::observe`], [`History::carried_out`]
//! and [`History::held`].

use std::time::Duration;

use crate::capacity::Capacities;
use crate::decision::{Decision, SampleId};
use crate::demand::{QueueFacts, TypeFacts, believable_arrivals};
use crate::head::Progress;
use crate::learn::{Learner, ServiceTime};
use crate::milli::Milli;
use crate::missed::Missed;
use crate::observation::{
    Backlog, Observation, PerType, RATE_WINDOW, Reading, Replicas, Slots, TaskType, TypeBacklog,
    UnknownReason,
};
use crate::past::Past;
use crate::policy::Policy;
use crate::prior::Prior;
use crate::reason::Reason;
use crate::release::ordinal;
use crate::rises::Rises;
use crate::slot_time::SlotTime;
use crate::slots::{LastSlots, Signal, SlotFacts, slot_facts};
use crate::smoothed::SmoothedSlots;
use crate::starts::Starts;
use crate::stuck::{Finding, Watch};
use crate::target::{ASSUMED_START_UP, Headroom};
use crate::time::Time;
use crate::work::Work;

/// The server reports rates in buckets of 5 s, so a rate of zero proves this much silence.
const SILENCE: Duration = Duration::from_secs(25);
/// After this long without a reading the server may have unloaded the queue. Its first rates after
/// it has loaded the queue again are wrong.
const UNLOADED: Duration = Duration::from_mins(5);
/// After this long without a single heartbeat from ready pods, the operator assumes that their
/// workers never send any (the SDKs' default interval is 60 s).
const MUTE_AFTER: Duration = Duration::from_secs(150);
/// The same for workers that have sent heartbeats before. The server lists a worker for about five
/// minutes after its last one, and their silence may have another cause: a restarted server, or a
/// network that is down.
const MUTE_AGAIN_AFTER: Duration = Duration::from_mins(10);
/// A StatefulSet's lowest ordinal is forgotten if no pod has had it for this long, because its
/// first ordinal was changed.
const FIRST_ORDINAL_KEPT: Duration = Duration::from_hours(24);
/// Two watches are never in step: the one on pods may lag behind the Deployment's status for this
/// long although nothing is wrong.
const OUT_OF_STEP: Duration = Duration::from_secs(10);

/// The state of one queue between decisions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    learner: Learner,
    starts: Starts,
    sample: Option<Sample>,
    /// Since when readings have arrived without a long gap.
    covered_since: Option<Time>,
    /// Since when there have been ready pods and no heartbeat of any, at times when one would have
    /// been read.
    silent_pods_since: Option<Time>,
    /// Since when Kubernetes has counted pods that the watch does not show.
    unseen_since: Option<Time>,
    /// Whether the last reading is the first one.
    first: bool,
    /// The time between the last two readings.
    pace: Duration,
    /// Whether the first of these readings found the fleet at zero: then there is no missing
    /// history.
    began_at_zero: bool,
    /// What the failed reads since the last reading say about the server.
    missed: Option<Missed>,
    rates_bad_until: Option<Time>,
    /// Since when every reading has shown pollers.
    polled_since: PerType<Option<Time>>,
    /// Since when no reading has shown a waiting task or a slot in use.
    quiet_since: Option<Time>,
    /// Since when no reading has shown an arrival.
    silent_since: Option<Time>,
    acted: Option<SampleId>,
    target: Option<u32>,
    past: Past,
    used: SmoothedSlots,
    rises: Rises,
    capacities: Capacities,
    slot_time: SlotTime,
    /// The start-up that the pods themselves have last shown.
    start_up: Option<Duration>,
    last_slots: LastSlots,
    /// What the other queues of the fleet show.
    prior: Prior,
    /// The lowest ordinal of the pods, and when a pod last had it; `None` = they have no ordinals.
    first_ordinal: Option<(u32, Time)>,
    /// When the last observation was recorded.
    latest: Time,
    watch: Watch,
}

/// The last known reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    sequence: u64,
    taken_at: Time,
    ready: u32,
    requested: u32,
    types: PerType<Option<TypeBacklog>>,
    /// The processed tasks counted by then.
    processed: PerType<u64>,
}

impl History {
    /// Creates an empty history.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the readings of an observation. Recording the same readings twice has no effect.
    pub fn observe(&mut self, policy: &Policy, observation: &Observation, now: Time) {
        self.learner.observe_drained(&observation.drained);
        if let Reading::Known { value, .. } = &observation.slots {
            self.learner.observe(value, policy.drain_grace_period, now);
            self.starts.observe(&value.pods, now);
            if observation.replicas.by_ordinal {
                self.see_ordinals(value, now);
            }
        }
        let unknown = observation.slots.unknown();
        let silent = if self.learner.heard() {
            unknown == Some(UnknownReason::NoHeartbeats)
        } else {
            unknown.is_none_or(UnknownReason::is_silence)
        };
        if silent && observation.replicas.ready > 0 {
            self.silent_pods_since.get_or_insert(now);
        } else {
            self.silent_pods_since = None;
        }
        if observation.replicas.unseen == 0 {
            self.unseen_since = None;
        } else {
            self.unseen_since.get_or_insert(now);
        }
        self.latest = self.latest.max(now);
        self.start_up = observation.replicas.start_up.or(self.start_up);
        let facts = self.slot_facts(observation);
        self.last_slots.observe(observation, &facts, now);
        match &observation.backlog {
            Reading::Unknown {
                reason, failures, ..
            } => {
                let missed = Missed::new(*reason, *failures);
                if self.sample.is_some() {
                    self.missed = self.missed.max(Some(missed));
                }
                if missed > Missed::Refused {
                    // Temporal itself may be what keeps the tasks waiting.
                    self.capacities.restart();
                    self.watch.restart();
                }
                if self.is_at_work(&facts) {
                    self.quiet_since = None;
                }
            }
            Reading::Known { value, taken_at } => {
                let repeated = self
                    .sample
                    .is_some_and(|sample| sample.sequence == value.sequence);
                if !repeated {
                    self.new_sample(policy, value, *taken_at, observation.replicas, &facts);
                    let progress = self.progress();
                    let target = policy.queue_wait_target;
                    self.capacities
                        .observe(target, observation, &facts, &progress);
                    self.bound_service_times(policy, value, observation, &facts, *taken_at);
                }
                self.used.observe(observation, &facts, self.latest);
                if !repeated && facts.signal == Signal::Known {
                    let load = self.load(policy, value, &facts);
                    let reaction = self.headroom(policy).reaction;
                    let reported_at = observation.slots.known().and_then(Slots::oldest_report);
                    self.rises.observe(load, reaction, reported_at, *taken_at);
                }
                self.watch_idle(value, *taken_at, &facts);
                let progress = self.progress();
                self.watch
                    .observe(value, observation, &facts, &progress, repeated, now);
            }
        }
    }

    fn see_ordinals(&mut self, slots: &Slots, now: Time) {
        let ordinals = slots.pods.iter().map(|pod| ordinal(&pod.pod));
        if let Some(lowest) = ordinals.min()
            && self
                .known_first_ordinal(now)
                .is_none_or(|first| lowest <= first)
        {
            self.first_ordinal = Some((lowest, now));
        }
    }

    fn new_sample(
        &mut self,
        policy: &Policy,
        backlog: &Backlog,
        taken_at: Time,
        replicas: Replicas,
        facts: &SlotFacts,
    ) {
        let (ready, fleet_is_zero) = (replicas.ready, replicas.is_zero());
        let gap = self.sample.map(|sample| taken_at.since(sample.taken_at));
        let just_loaded = self.is_just_loaded(policy, backlog, taken_at, ready, facts);
        let restarted = self.missed == Some(Missed::Outage);
        if restarted || just_loaded || gap.is_none_or(|gap| gap >= UNLOADED) {
            self.rates_bad_until = Some(taken_at.plus(RATE_WINDOW));
        } else if self.rates_bad_until.is_some_and(|until| taken_at >= until) {
            self.rates_bad_until = None;
        }
        // Readings that are slow because the call budget is short do not make a gap.
        let usual = policy.longest_gap().max(self.pace.saturating_mul(2));
        if gap.is_none_or(|gap| gap > usual) {
            self.covered_since = Some(taken_at);
            self.began_at_zero = fleet_is_zero;
        }
        // What came and went between two readings shows in the rates of the second, unless they are
        // too far apart.
        if self.missed.is_some() && gap.is_none_or(|gap| gap > SILENCE) {
            self.quiet_since = None;
            self.silent_since = None;
        }
        self.missed = None;
        for task_type in TaskType::ALL {
            let backlog = backlog.types.get(task_type).unwrap_or_default();
            let since = self.polled_since.get_mut(task_type);
            let polled = backlog.pollers.is_some_and(|pollers| pollers > 0);
            *since = polled.then(|| since.unwrap_or(taken_at));
        }
        self.first = gap.is_none();
        self.pace = gap.unwrap_or_default();
        self.sample = Some(Sample {
            sequence: backlog.sequence,
            taken_at,
            ready,
            requested: replicas.requested,
            types: backlog.types,
            processed: self.processed(),
        });
    }

    /// Whether the server reports more arrivals than can be accounted for, on a formerly quiet
    /// queue that nobody has polled for long, or after a failed read. Accounted for are those known
    /// before, waiting, in work, completed since, or in slots whose heartbeats are still due. Then
    /// the server has just loaded the queue and divides by the short time since.
    fn is_just_loaded(
        &self,
        policy: &Policy,
        backlog: &Backlog,
        taken_at: Time,
        ready: u32,
        facts: &SlotFacts,
    ) -> bool {
        let missed = self.missed >= Some(Missed::One);
        let Some(before) = self.sample.filter(|_| facts.signal == Signal::Known) else {
            return missed;
        };
        TaskType::ALL.into_iter().any(|task_type| {
            let earlier = before.types.get(task_type).unwrap_or_default();
            let Some(current) = backlog.types.get(task_type) else {
                return false;
            };
            let slots = u64::from(self.slots_per_replica(task_type, policy));
            let completed = self
                .learner
                .processed(task_type)
                .saturating_sub(*before.processed.get(task_type));
            let tasks = |rate_milli: u64| rate_milli.saturating_mul(RATE_WINDOW.as_secs()) / 1000;
            let accounted_for = [
                tasks(earlier.add_rate_milli),
                current.count,
                *facts.used.get(task_type),
                completed,
                slots.saturating_mul(ready.into()),
            ];
            let accounted_for = accounted_for.into_iter().fold(0_u64, u64::saturating_add);
            // The server keeps a queue loaded for as long as it lists its pollers, and measures its
            // rates since it has loaded it.
            let polled = *self.polled_since.get(task_type);
            let measured = polled.is_some_and(|since| taken_at.since(since) >= RATE_WINDOW);
            let was_quiet = earlier.count == 0 && earlier.add_rate_milli == 0 && !measured;
            (was_quiet || missed) && tasks(current.add_rate_milli) > accounted_for.saturating_mul(2)
        })
    }

    /// The slots that the work occupies, in thousandths: the mean in use, or what the arrivals will
    /// occupy, as far as there are tasks to do so.
    fn load(&self, policy: &Policy, backlog: &Backlog, facts: &SlotFacts) -> PerType<u64> {
        PerType::from_fn(|task_type| {
            let backlog = backlog.types.get(task_type).unwrap_or_default();
            let tasks = facts.used.get(task_type).saturating_add(backlog.count);
            let arrivals = if self.rates_trusted() {
                believable_arrivals(&backlog) * self.service_time(task_type, policy).mean()
            } else {
                Milli::ZERO
            };
            let of_arrivals = arrivals.min(Milli::whole(tasks)).thousandths();
            of_arrivals.max(self.used_milli(task_type))
        })
    }

    /// The mean slots in use over recent readings, in thousandths.
    pub(crate) fn used_milli(&self, task_type: TaskType) -> u64 {
        self.used.milli(task_type)
    }

    fn watch_idle(&mut self, backlog: &Backlog, taken_at: Time, facts: &SlotFacts) {
        let mut counted = backlog
            .types
            .iter()
            .filter_map(|(_, backlog)| backlog.as_ref());
        let waits = counted.clone().any(|backlog| backlog.count > 0);
        let arrives = !self.rates_trusted() || counted.any(|backlog| backlog.add_rate_milli > 0);
        if waits || self.is_at_work(facts) {
            self.quiet_since = None;
        } else if facts.idle() {
            self.quiet_since.get_or_insert(taken_at);
        }
        if arrives {
            self.silent_since = None;
        } else {
            self.silent_since.get_or_insert(taken_at.minus(SILENCE));
        }
    }

    /// Whether slots may be in use, or tasks have been processed since the last slots reading.
    fn is_at_work(&self, facts: &SlotFacts) -> bool {
        // Whether slots are in use is unknown at the moment, but this does not end a silence.
        let out_of_step = self.unseen_since.is_some() && !self.pods_unseen();
        !facts.idle() && !out_of_step || self.learner.processed_grew()
    }

    /// Records that a decision was carried out, or that nothing had to be done. Call it after the
    /// write has succeeded: a failed decision is not recorded, and its sample may be acted on
    /// again.
    pub fn carried_out(&mut self, decision: &Decision, now: Time) {
        if decision.reason == Reason::Paused {
            self.held(decision.desired, now);
            return;
        }
        self.target = Some(decision.desired);
        if let Some(recommendation) = decision.recommendation {
            self.acted = decision.sample;
            self.past.recommend(recommendation, now);
        }
        if decision.act {
            self.past.change(decision.previous, decision.desired, now);
        }
    }

    /// Records that nothing was decided and the replicas stayed as they are. When deciding resumes,
    /// the stabilization windows treat that number as a recommendation.
    pub fn held(&mut self, requested: u32, now: Time) {
        self.target = None;
        self.past.recommend(requested, now);
    }

    /// Whether the queue's own pods have reported their slots.
    pub fn knows_its_pods(&self) -> bool {
        let mut types = TaskType::ALL.into_iter();
        types.any(|task_type| self.learner.slots_per_replica(task_type).is_some())
    }

    /// What the queue's own pods have shown.
    pub fn shown(&self) -> Prior {
        Prior {
            slots_per_replica: PerType::from_fn(|task_type| {
                self.learner.slots_per_replica(task_type)
            }),
            service_time: PerType::from_fn(|task_type| {
                let time = self
                    .learner
                    .service_time(task_type, Duration::MAX, self.latest);
                time.is_learned().then(|| time.mean())
            }),
            start_up: self.seen_start_up(),
        }
    }

    /// Sets what to assume until the queue's own pods have shown it.
    pub fn assume(&mut self, prior: Prior) {
        self.prior = prior;
    }

    /// The mean service time of a task type, learned or assumed.
    pub fn service_time(&self, task_type: TaskType, policy: &Policy) -> ServiceTime {
        let elsewhere = *self.prior.service_time.get(task_type);
        let most = policy
            .queue_wait_target
            .min(elsewhere.unwrap_or(Duration::MAX));
        self.learner.service_time(task_type, most, self.latest)
    }

    /// The longest time that a task of this type has certainly run.
    pub fn longest_service_time(&self, task_type: TaskType) -> Option<Duration> {
        self.learner.longest(task_type)
    }

    /// How long a task on this pod had certainly been running at the pod's last heartbeat; `None`
    /// if no task certainly ran then.
    pub fn running_on(&self, pod: &str) -> Option<Duration> {
        let memory = self.learner.pod(pod)?;
        let running = |work| {
            let worker = memory.work(work)?;
            worker.running(worker.seen_at())
        };
        Work::ALL.into_iter().filter_map(running).max()
    }

    /// Slots per replica: as reported, or else as other queues of the fleet report, or else from
    /// the policy. At least 1.
    pub fn slots_per_replica(&self, task_type: TaskType, policy: &Policy) -> u32 {
        self.learner
            .slots_per_replica(task_type)
            .or(*self.prior.slots_per_replica.get(task_type))
            .unwrap_or(policy.slots_per_replica)
            .max(1)
    }

    /// Whether the server's rates can be trusted.
    pub fn rates_trusted(&self) -> bool {
        self.sample.is_some() && self.rates_bad_until.is_none()
    }

    /// Since when the queue has been proven idle: nothing waits, nothing arrives, no slot is in
    /// use.
    pub fn idle_since(&self) -> Option<Time> {
        Some(self.quiet_since?.max(self.silent_since?))
    }

    /// Whether Kubernetes has counted pods that the watch does not show for longer than two watches
    /// may be out of step.
    pub fn pods_unseen(&self) -> bool {
        self.unseen_since
            .is_some_and(|since| self.latest.since(since) >= OUT_OF_STEP)
    }

    /// Whether the workers are assumed never to send heartbeats.
    fn mute(&self) -> bool {
        let after = if self.learner.heard() {
            MUTE_AGAIN_AFTER
        } else {
            MUTE_AFTER
        };
        self.silent_pods_since
            .is_some_and(|since| self.latest.since(since) >= after)
    }

    /// Sums the slots of an observation that this history has recorded.
    pub(crate) fn slot_facts(&self, observation: &Observation) -> SlotFacts {
        slot_facts(observation, self.mute(), &self.last_slots, self.latest)
    }

    /// The facts that the demand takes from earlier readings.
    pub(crate) fn queue_facts(&self, policy: &Policy) -> QueueFacts {
        QueueFacts {
            earned: self.sample.map_or(0, |sample| sample.ready),
            rates_trusted: self.rates_trusted(),
            requested: self.sample.map_or(0, |sample| sample.requested),
            start_up: self.measured_start_up(),
            headroom: self.headroom(policy),
            started: self
                .measured_start_up()
                .map_or(Duration::ZERO, |most| self.starts.sum(self.latest, most)),
            types: PerType::from_fn(|task_type| TypeFacts {
                slots_per_replica: self.slots_per_replica(task_type, policy),
                service_time: self.service_time(task_type, policy).mean(),
                mean_used: Milli::from_thousandths(self.used_milli(task_type)),
                rise: Milli::from_thousandths(self.rises.most(task_type)),
                capacity: self.capacities.per_replica(task_type, self.latest),
                judged: self.learner.heard() && !self.mute()
                    || self.capacities.can_be_judged(task_type, self.latest),
                untaken: self.watch.is_untaken(task_type),
            }),
        }
    }

    fn progress(&self) -> Progress {
        Progress {
            rates_trusted: self.rates_trusted(),
            processed: self.processed(),
        }
    }

    /// Bounds the service times by the slot time that there was.
    fn bound_service_times(
        &mut self,
        policy: &Policy,
        backlog: &Backlog,
        observation: &Observation,
        facts: &SlotFacts,
        at: Time,
    ) {
        // Workers that never report have as many slots as the policy says.
        let mute = facts.signal == Signal::None;
        let pods = if mute {
            Some(observation.replicas.with_tasks())
        } else {
            observation.slots.known().map(Slots::pods_with_tasks)
        };
        let Some(pods) = pods.filter(|_| self.rates_trusted()) else {
            self.slot_time.restart();
            return;
        };
        let slots = PerType::from_fn(|task_type| {
            let reported = self.learner.slots_per_replica(task_type);
            let each = reported.or_else(|| mute.then(|| self.slots_per_replica(task_type, policy)));
            Some(u64::from(each?).saturating_mul(pods.into()))
        });
        self.slot_time.observe(&backlog.types, slots, at);
        for task_type in TaskType::ALL {
            if let Some(most) = self.slot_time.most(task_type) {
                self.learner.cap(task_type, most, at);
            }
        }
    }

    /// The processed tasks counted so far.
    fn processed(&self) -> PerType<u64> {
        PerType::from_fn(|task_type| self.learner.processed(task_type))
    }

    /// The tasks that a ready replica takes per 1000 s, if its slots are not what keeps tasks
    /// waiting and this has been measured.
    pub fn capacity_milli(&self, task_type: TaskType) -> Option<u64> {
        let capacity = self.capacities.per_replica(task_type, self.latest)?;
        Some(capacity.rate.thousandths())
    }

    /// What the queue's wait target allows.
    pub(crate) fn headroom(&self, policy: &Policy) -> Headroom {
        let measured = self.measured_start_up();
        // A pod that is still starting shows only that a start takes at least so long.
        let least = self.starts.longest(self.latest);
        let start_up = measured.unwrap_or(ASSUMED_START_UP).max(least);
        Headroom::new(policy, start_up, measured.is_some(), self.rises.watched())
    }

    /// How long recent pods took to start, if any was seen to, of this queue or of others.
    pub(crate) fn measured_start_up(&self) -> Option<Duration> {
        self.seen_start_up().or(self.prior.start_up)
    }

    /// How long recent pods of this queue took to start, if any was seen to.
    fn seen_start_up(&self) -> Option<Duration> {
        self.starts.mean().or(self.start_up)
    }

    /// The stuck states found up to the last observation.
    pub fn findings(&self, now: Time) -> Vec<Finding> {
        self.watch.findings(now)
    }

    /// The lowest ordinal of the queue's pods, if they belong to a StatefulSet; 0 if none was seen.
    pub(crate) fn first_ordinal(&self, now: Time) -> u32 {
        self.known_first_ordinal(now).unwrap_or(0)
    }

    fn known_first_ordinal(&self, now: Time) -> Option<u32> {
        let (first, seen) = self.first_ordinal?;
        (now.since(seen) < FIRST_ORDINAL_KEPT).then_some(first)
    }

    /// What has been learned from the workers' heartbeats.
    pub(crate) const fn learner(&self) -> &Learner {
        &self.learner
    }

    /// When the last known reading was taken.
    pub(crate) fn sampled_at(&self) -> Option<Time> {
        self.sample.map(|sample| sample.taken_at)
    }

    /// The time between two readings: as the policy wants it, or longer.
    pub(crate) fn pace(&self, policy: &Policy) -> Duration {
        self.pace.max(policy.polling_interval)
    }

    /// Since when readings have arrived without a long gap.
    pub(crate) const fn covered_since(&self) -> Option<Time> {
        self.covered_since
    }

    /// Whether the readings began with the fleet at zero.
    pub(crate) const fn began_at_zero(&self) -> bool {
        self.began_at_zero
    }

    /// Whether the last reading is the first one.
    pub(crate) const fn first_sample(&self) -> bool {
        self.first
    }

    pub(crate) const fn rates_bad_until(&self) -> Option<Time> {
        self.rates_bad_until
    }

    /// The last sample that was acted on.
    pub(crate) const fn acted(&self) -> Option<SampleId> {
        self.acted
    }

    /// The last decided number.
    pub(crate) const fn target(&self) -> Option<u32> {
        self.target
    }

    /// What was recommended and changed within the last hour.
    pub(crate) const fn past(&self) -> &Past {
        &self.past
    }
}
