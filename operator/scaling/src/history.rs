//! What is remembered between decisions of one queue. It starts empty (after a restart or a leader
//! change), holds a bounded amount, and is changed only by the two functions that say so.

use std::collections::VecDeque;
use std::time::Duration;

use crate::decision::{Decision, SampleId};
use crate::demand::{QueueFacts, TypeFacts};
use crate::learn::{Learner, ServiceTime};
use crate::milli::Milli;
use crate::observation::{
    Backlog, Observation, PerType, RATE_WINDOW, Reading, Replicas, TaskType, TypeBacklog,
    UnknownReason,
};
use crate::policy::{Policy, StepPolicy};
use crate::reason::Reason;
use crate::slots::{Signal, SlotFacts, slot_facts};
use crate::stuck::{Finding, Watch};
use crate::time::Time;

/// Slots in use are smoothed over this long, as the server smooths its rates.
const SMOOTHED: Duration = Duration::from_secs(30);
/// No more readings of slots than this are kept for it.
const READINGS_SMOOTHED: usize = 16;
/// The server reports rates in buckets of 5 s: a rate of zero proves this much silence.
const SILENCE: Duration = Duration::from_secs(25);
/// After this long without a reading the server may have unloaded the queue, and its first rates
/// after loading it again are garbage.
const UNLOADED: Duration = Duration::from_mins(5);
/// Ready pods without a single heartbeat for this long are taken never to send any (the SDKs' own
/// default interval is 60 s).
const MUTE_AFTER: Duration = Duration::from_secs(150);
/// Two watches are never in step: the one on pods may be behind the Deployment's status for this
/// long without anything being wrong.
const OUT_OF_STEP: Duration = Duration::from_secs(10);

/// The memory of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    learner: Learner,
    sample: Option<Sample>,
    /// Since when readings have come without a long gap.
    covered_since: Option<Time>,
    /// Since when there have been ready pods without any heartbeat ever, although one would have
    /// been read.
    unheard_since: Option<Time>,
    /// Since when there have been pods that were not seen.
    unseen_since: Option<Time>,
    /// Whether there was no reading before the last one.
    first: bool,
    /// How far apart the last two readings were.
    pace: Duration,
    /// Whether the first of these readings found a fleet at zero: then there is no past to miss.
    began_at_zero: bool,
    failed: bool,
    rates_bad_until: Option<Time>,
    /// Since when nothing waited and no slot was in use, over all readings.
    quiet_since: Option<Time>,
    /// Since when nothing has arrived, over all readings.
    silent_since: Option<Time>,
    acted: Option<SampleId>,
    target: Option<u32>,
    /// Recommendations that a later one does not outdo, largest first.
    highs: VecDeque<(Time, u32)>,
    /// Recommendations that a later one does not undercut, smallest first.
    lows: VecDeque<(Time, u32)>,
    events: VecDeque<(Time, u32, u32)>,
    /// The slots in use at the last readings.
    used: VecDeque<(Time, PerType<u64>)>,
    /// When the last observation was taken in.
    latest: Time,
    watch: Watch,
}

/// The last known reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    sequence: u64,
    taken_at: Time,
    ready: u32,
    types: PerType<Option<TypeBacklog>>,
    /// The tasks that were seen to be processed by then.
    processed: PerType<u64>,
}

impl History {
    /// An empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the readings of an observation in. The same readings twice change nothing.
    pub fn observe(&mut self, policy: &Policy, observation: &Observation, now: Time) {
        if let Reading::Known { value, .. } = &observation.slots {
            self.learner.observe(value, policy.drain_grace_period, now);
        }
        let silent = observation.replicas.ready > 0
            && observation
                .slots
                .unknown()
                .is_none_or(UnknownReason::is_silence);
        if silent && !self.learner.heard() {
            self.unheard_since.get_or_insert(now);
        } else {
            self.unheard_since = None;
        }
        if observation.replicas.unseen == 0 {
            self.unseen_since = None;
        } else {
            self.unseen_since.get_or_insert(now);
        }
        self.latest = self.latest.max(now);
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
                let facts = self.slot_facts(observation);
                if !repeated {
                    self.new_sample(policy, value, *taken_at, observation.replicas, &facts);
                }
                self.smooth(observation, &facts);
                self.watch_idle(value, *taken_at, &facts);
                self.watch
                    .observe(value, observation, &facts, repeated, now);
            }
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
        // Readings that are slow because the call budget is short are no gap.
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
            types: backlog.types,
            processed: PerType::from_fn(|task_type| self.learner.processed(task_type)),
        });
    }

    /// Whether a queue that was quiet is said to get more tasks than can be found anywhere:
    /// waiting, in work, done since, or in slots whose heartbeats have not come yet. The server has
    /// just loaded it, and divides by the moment since.
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
            let was = before.types.get(task_type).unwrap_or_default();
            let Some(is) = backlog.types.get(task_type) else {
                return false;
            };
            let slots = u64::from(self.slots_per_replica(task_type, policy));
            let done = self
                .learner
                .processed(task_type)
                .saturating_sub(*before.processed.get(task_type));
            let found = [
                is.count,
                *facts.used.get(task_type),
                done,
                slots.saturating_mul(ready.into()),
            ];
            let found = found.into_iter().fold(0_u64, u64::saturating_add);
            let said = is.add_rate_milli.saturating_mul(RATE_WINDOW.as_secs()) / 1000;
            let quiet = was.count == 0 && was.add_rate_milli == 0;
            quiet && said > found.saturating_mul(2)
        })
    }

    /// Keeps the slots in use of the last [`SMOOTHED`]. Only a new reading of the slots counts.
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

    /// The mean of the slots in use over the last readings, in thousandths.
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
        // Whether slots are in use is not known in this moment, but the moment breaks no silence.
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

    /// Notes that a decision was carried out (or needed nothing to be done). To be called after the
    /// write succeeded; a decision that failed is not noted, and its sample may be acted on again.
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

    /// Notes that nothing was decided and the replicas stayed as they are. When deciding begins
    /// again, the stabilization windows hold that number like one that was recommended.
    pub fn held(&mut self, asked: u32, now: Time) {
        self.target = None;
        self.recommend(asked, now);
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

    /// The longest that a task of this type has certainly been seen to run.
    pub fn longest_service_time(&self, task_type: TaskType) -> Option<Duration> {
        self.learner.longest(task_type)
    }

    /// Slots of one replica: as reported, or else as the policy says. At least 1.
    pub fn slots_per_replica(&self, task_type: TaskType, policy: &Policy) -> u32 {
        self.learner
            .slots_per_replica(task_type)
            .unwrap_or(policy.slots_per_replica)
            .max(1)
    }

    /// Whether the server's rates can be used.
    pub fn rates_trusted(&self) -> bool {
        self.sample.is_some() && self.rates_bad_until.is_none()
    }

    /// Since when the queue has been proven idle: nothing waits, nothing arrives, no slot in use.
    pub fn idle_since(&self) -> Option<Time> {
        Some(self.quiet_since?.max(self.silent_since?))
    }

    /// Whether Kubernetes counts pods that the watch on pods does not show, for longer than two
    /// watches are out of step.
    pub fn pods_unseen(&self) -> bool {
        self.unseen_since
            .is_some_and(|since| self.latest.since(since) >= OUT_OF_STEP)
    }

    /// Whether the workers are taken never to send heartbeats.
    fn mute(&self) -> bool {
        self.unheard_since
            .is_some_and(|since| self.latest.since(since) >= MUTE_AFTER)
    }

    /// The slots of an observation that this memory has seen, summed.
    pub(crate) fn slot_facts(&self, observation: &Observation) -> SlotFacts {
        slot_facts(observation, self.mute())
    }

    /// What the readings so far say for the demand.
    pub(crate) fn queue_facts(&self, policy: &Policy) -> QueueFacts {
        QueueFacts {
            earned: self.sample.map_or(0, |sample| sample.ready),
            rates_trusted: self.rates_trusted(),
            types: PerType::from_fn(|task_type| TypeFacts {
                slots_per_replica: self.slots_per_replica(task_type, policy),
                service_time: self.service_time(task_type, policy).mean(),
                mean_used: Milli::from_thousandths(self.used_milli(task_type)),
                untaken: self.watch.is_untaken(task_type, self.latest),
            }),
        }
    }

    /// What is stuck as of the last observation.
    pub fn findings(&self, now: Time) -> Vec<Finding> {
        self.watch.findings(now)
    }

    /// What was learned from the workers' heartbeats.
    pub(crate) const fn learner(&self) -> &Learner {
        &self.learner
    }

    /// When the last known reading was taken.
    pub(crate) fn sampled_at(&self) -> Option<Time> {
        self.sample.map(|sample| sample.taken_at)
    }

    /// Since when readings have come without a long gap.
    pub(crate) const fn covered_since(&self) -> Option<Time> {
        self.covered_since
    }

    /// Whether the readings began with a fleet at zero.
    pub(crate) const fn began_at_zero(&self) -> bool {
        self.began_at_zero
    }

    /// Whether the last reading is the first of all.
    pub(crate) const fn first_sample(&self) -> bool {
        self.first
    }

    pub(crate) const fn rates_bad_until(&self) -> Option<Time> {
        self.rates_bad_until
    }

    /// The sample that was acted on last.
    pub(crate) const fn acted(&self) -> Option<SampleId> {
        self.acted
    }

    /// What was decided last.
    pub(crate) const fn target(&self) -> Option<u32> {
        self.target
    }

    /// The largest recommendation of the window that ends now.
    pub(crate) fn highest(&self, window: Duration, now: Time) -> Option<(Time, u32)> {
        within(&self.highs, window, now)
    }

    /// The smallest recommendation of the window that ends now.
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

/// Whether a reading may have failed because the server was away: when it comes back, its rates
/// begin anew.
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

/// The first entry young enough: the extreme one, since the entries are sorted by value too.
fn within(window: &VecDeque<(Time, u32)>, length: Duration, now: Time) -> Option<(Time, u32)> {
    window
        .iter()
        .find(|(at, _)| now.since(*at) < length)
        .copied()
}
