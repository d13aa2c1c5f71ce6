//! The state that one queue keeps between decisions. It starts empty (after a restart or a leader
//! change), is bounded in size, and changes only in [`History::observe`], [`History::carried_out`]
//! and [`History::held`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::decision::{Decision, SampleId};
use crate::demand::{QueueFacts, TypeFacts, believable_arrivals};
use crate::learn::{Learner, ServiceTime, Work};
use crate::milli::Milli;
use crate::observation::{
    Backlog, Observation, PerType, RATE_WINDOW, Reading, Replicas, Slots, TaskType, TypeBacklog,
    UnknownReason,
};
use crate::policy::{Policy, StepPolicy};
use crate::reason::Reason;
use crate::release::ordinal;
use crate::rises::Rises;
use crate::slots::{LastSlots, Signal, SlotFacts, slot_facts};
use crate::stuck::{Finding, Watch};
use crate::target::{ASSUMED_START_UP, Headroom};
use crate::time::Time;

/// Slots in use are averaged over this time, as the server averages its rates.
const SMOOTHED: Duration = Duration::from_secs(30);
/// The maximum number of slot readings kept for the average.
const READINGS_SMOOTHED: usize = 16;
/// The server reports rates in buckets of 5 s, so a rate of zero proves this much silence.
const SILENCE: Duration = Duration::from_secs(25);
/// After this long without a reading the server may have unloaded the queue. Its first rates after
/// it has loaded the queue again are wrong.
const UNLOADED: Duration = Duration::from_mins(5);
/// After this long without a single heartbeat from ready pods, the operator assumes that their
/// workers never send any (the SDKs' default interval is 60 s).
const MUTE_AFTER: Duration = Duration::from_secs(150);
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
    sample: Option<Sample>,
    /// Since when readings have arrived without a long gap.
    covered_since: Option<Time>,
    /// Since when there have been ready pods without any heartbeat, at times when one would have
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
    failed: bool,
    rates_bad_until: Option<Time>,
    /// Since when no reading has shown a waiting task or a slot in use.
    quiet_since: Option<Time>,
    /// Since when no reading has shown an arrival.
    silent_since: Option<Time>,
    acted: Option<SampleId>,
    target: Option<u32>,
    /// Recommendations that no later one has reached, largest first.
    highs: VecDeque<(Time, u32)>,
    /// Recommendations that no later one has fallen to, smallest first.
    lows: VecDeque<(Time, u32)>,
    events: VecDeque<(Time, u32, u32)>,
    /// The slots in use at recent readings.
    used: VecDeque<(Time, PerType<u64>)>,
    rises: Rises,
    /// The start-up that the pods themselves have last shown.
    start_up: Option<Duration>,
    last_slots: LastSlots,
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
            if observation.replicas.by_ordinal {
                self.see_ordinals(value, now);
            }
        }
        let silent = observation.replicas.ready > 0
            && observation
                .slots
                .unknown()
                .is_none_or(UnknownReason::is_silence);
        if silent && !self.learner.heard() {
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
            Reading::Unknown { reason, .. } => {
                self.failed |= self.sample.is_some() && may_have_restarted(*reason);
                self.quiet_since = None;
                self.silent_since = None;
            }
            Reading::Known { value, taken_at } => {
                let repeated = self
                    .sample
                    .is_some_and(|sample| sample.sequence == value.sequence);
                if !repeated {
                    self.new_sample(policy, value, *taken_at, observation.replicas, &facts);
                }
                self.smooth(observation, &facts);
                if !repeated && facts.signal == Signal::Known {
                    let load = self.load(policy, value, &facts);
                    let reaction = self.headroom(policy).reaction;
                    self.rises.observe(load, reaction, *taken_at);
                }
                self.watch_idle(value, *taken_at, &facts);
                self.watch
                    .observe(value, observation, &facts, repeated, now);
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
        let just_loaded = self.is_just_loaded(policy, backlog, ready, facts);
        if self.failed || just_loaded || gap.is_none_or(|gap| gap >= UNLOADED) {
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
        self.failed = false;
        self.first = gap.is_none();
        self.pace = gap.unwrap_or_default();
        self.sample = Some(Sample {
            sequence: backlog.sequence,
            taken_at,
            ready,
            requested: replicas.requested,
            types: backlog.types,
            processed: PerType::from_fn(|task_type| self.learner.processed(task_type)),
        });
    }

    /// Whether the server reports more arrivals on a formerly quiet queue than can be accounted
    /// for: waiting, in work, completed since, or in slots whose heartbeats are still due. Then the
    /// server has just loaded the queue and divides by the short time since.
    fn is_just_loaded(
        &self,
        policy: &Policy,
        backlog: &Backlog,
        ready: u32,
        facts: &SlotFacts,
    ) -> bool {
        let Some(before) = self.sample.filter(|_| facts.signal == Signal::Known) else {
            return false;
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
            let accounted_for = [
                current.count,
                *facts.used.get(task_type),
                completed,
                slots.saturating_mul(ready.into()),
            ];
            let accounted_for = accounted_for.into_iter().fold(0_u64, u64::saturating_add);
            let reported_arrivals =
                current.add_rate_milli.saturating_mul(RATE_WINDOW.as_secs()) / 1000;
            let was_quiet = earlier.count == 0 && earlier.add_rate_milli == 0;
            was_quiet && reported_arrivals > accounted_for.saturating_mul(2)
        })
    }

    /// Keeps the slots in use of the last [`SMOOTHED`]. Only a new slots reading counts.
    fn smooth(&mut self, observation: &Observation, facts: &SlotFacts) {
        let taken_at = match &observation.slots {
            _ if observation.replicas.is_zero() => self.latest,
            Reading::Known { taken_at, .. } => *taken_at,
            Reading::Unknown { .. } => return,
        };
        let newer = self.used.back().is_none_or(|(at, _)| *at < taken_at);
        if facts.signal != Signal::Known || !newer {
            return;
        }
        self.used.push_back((taken_at, facts.used));
        let oldest = taken_at.minus(SMOOTHED);
        while self.used.len() > READINGS_SMOOTHED
            || self.used.front().is_some_and(|(at, _)| *at <= oldest)
        {
            self.used.pop_front();
        }
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
        let readings = u64::try_from(self.used.len()).unwrap_or(u64::MAX);
        let sum = self.used.iter().fold(0_u64, |sum, (_, used)| {
            sum.saturating_add(used.get(task_type).saturating_mul(1000))
        });
        sum.checked_div(readings).unwrap_or(0)
    }

    fn watch_idle(&mut self, backlog: &Backlog, taken_at: Time, facts: &SlotFacts) {
        let mut counted = backlog
            .types
            .iter()
            .filter_map(|(_, backlog)| backlog.as_ref());
        let waits = counted.clone().any(|backlog| backlog.count > 0);
        let arrives = !self.rates_trusted() || counted.any(|backlog| backlog.add_rate_milli > 0);
        // Whether slots are in use is unknown at the moment, but this does not end a silence.
        let out_of_step = self.unseen_since.is_some() && !self.pods_unseen();
        let in_use = !facts.idle() && !out_of_step;
        if waits || in_use || self.learner.processed_grew() {
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
            self.recommend(recommendation, now);
        }
        if decision.act {
            self.events
                .push_back((now, decision.previous, decision.desired));
            let oldest = now.minus(StepPolicy::MAX_PERIOD);
            while self.events.front().is_some_and(|(at, ..)| *at < oldest) {
                self.events.pop_front();
            }
        }
    }

    /// Records that nothing was decided and the replicas stayed as they are. When deciding resumes,
    /// the stabilization windows treat that number as a recommendation.
    pub fn held(&mut self, requested: u32, now: Time) {
        self.target = None;
        self.recommend(requested, now);
    }

    fn recommend(&mut self, replicas: u32, now: Time) {
        const LONGEST_WINDOW: Duration = Duration::from_hours(1);
        while self.highs.back().is_some_and(|(_, high)| *high <= replicas) {
            self.highs.pop_back();
        }
        while self.lows.back().is_some_and(|(_, low)| *low >= replicas) {
            self.lows.pop_back();
        }
        for window in [&mut self.highs, &mut self.lows] {
            window.push_back((now, replicas));
            let oldest = now.minus(LONGEST_WINDOW);
            while window.front().is_some_and(|(at, _)| *at < oldest) {
                window.pop_front();
            }
        }
    }

    /// The mean service time of a task type, learned or assumed.
    pub fn service_time(&self, task_type: TaskType, policy: &Policy) -> ServiceTime {
        self.learner
            .service_time(task_type, policy.queue_wait_target)
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

    /// Slots per replica: as reported, or else from the policy. At least 1.
    pub fn slots_per_replica(&self, task_type: TaskType, policy: &Policy) -> u32 {
        self.learner
            .slots_per_replica(task_type)
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
        self.silent_pods_since
            .is_some_and(|since| self.latest.since(since) >= MUTE_AFTER)
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
            started: self.learner.started(self.latest),
            types: PerType::from_fn(|task_type| TypeFacts {
                slots_per_replica: self.slots_per_replica(task_type, policy),
                service_time: self.service_time(task_type, policy).mean(),
                mean_used: Milli::from_thousandths(self.used_milli(task_type)),
                rise: Milli::from_thousandths(self.rises.most(task_type)),
                untaken: self.watch.is_untaken(task_type, self.latest),
            }),
        }
    }

    /// What the queue's wait target allows.
    pub(crate) fn headroom(&self, policy: &Policy) -> Headroom {
        let measured = self.measured_start_up();
        // A pod that is still starting shows only that a start takes at least so long.
        let least = self.learner.longest_start(self.latest);
        let start_up = measured.unwrap_or(ASSUMED_START_UP).max(least);
        Headroom::new(policy, start_up, measured.is_some())
    }

    /// How long recent pods took to start, if any was seen to.
    pub(crate) fn measured_start_up(&self) -> Option<Duration> {
        self.learner.start_up().or(self.start_up)
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

    /// The largest recommendation in the window that ends now.
    pub(crate) fn highest(&self, window: Duration, now: Time) -> Option<(Time, u32)> {
        within(&self.highs, window, now)
    }

    /// The smallest recommendation in the window that ends now.
    pub(crate) fn lowest(&self, window: Duration, now: Time) -> Option<(Time, u32)> {
        within(&self.lows, window, now)
    }

    /// Replicas added and removed within the period that ends now.
    pub(crate) fn changes(&self, period: Duration, now: Time) -> (u32, u32) {
        let recent = self
            .events
            .iter()
            .filter(|(at, ..)| now.since(*at) < period);
        recent.fold((0, 0), |(added, removed): (u32, u32), (_, from, to)| {
            (
                added.saturating_add(to.saturating_sub(*from)),
                removed.saturating_add(from.saturating_sub(*to)),
            )
        })
    }
}

/// Whether a reading may have failed because the server was down. A restarted server measures its
/// rates from scratch.
const fn may_have_restarted(reason: UnknownReason) -> bool {
    match reason {
        UnknownReason::TemporalUnavailable
        | UnknownReason::NotReadYet
        | UnknownReason::NotSupported
        | UnknownReason::Malformed => true,
        UnknownReason::TemporalAccessDenied
        | UnknownReason::Throttled
        | UnknownReason::Stale
        | UnknownReason::NoHeartbeats
        | UnknownReason::ScrapeFailed
        | UnknownReason::PodsUnseen => false,
    }
}

/// The first entry that is young enough. It is also the extreme one, because the entries are sorted
/// by value too.
fn within(window: &VecDeque<(Time, u32)>, length: Duration, now: Time) -> Option<(Time, u32)> {
    window
        .iter()
        .find(|(at, _)| now.since(*at) < length)
        .copied()
}
