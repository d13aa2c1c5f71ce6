//! The bursts that recur in the load of a queue, and the forecast that follows from them. Pure; the
//! time is passed in.
//!
//! Only bursts count, because only they come faster than pods: a load that rises slowly is followed
//! by the demand itself. A forecast is a minimum for the moment before a burst and until it comes.

use std::time::Duration;

use crate::bursts::Bursts;
use crate::cells::Cells;
use crate::forecast::{Forecast, Pattern};
use crate::history::History;
use crate::milli::Milli;
use crate::observation::{Backlog, PerType, Reading, TaskType};
use crate::policy::Policy;
use crate::time::{LocalTime, Time};

/// The bursts of one queue. It is bounded in size and changes only in [`RecurringLoad::observe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecurringLoad {
    patterns: [Cells; 3],
    bursts: Bursts,
    /// The task type whose slots are the unit of all bursts.
    unit: TaskType,
    /// The slots per replica of that type, and how long a pod takes to start, once they are known.
    /// Kept here, they outlive a restart.
    slots_per_replica: Option<u32>,
    start_up: Option<Duration>,
    seen: Option<Seen>,
}

/// The last reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    sequence: u64,
    at: LocalTime,
    /// Since when readings have arrived without a gap.
    covered: LocalTime,
    /// Whether the queue was idle.
    idle: bool,
}

/// Nobody is told of a reading that only repeats that a queue is idle, so the next one that is
/// known here may come up to this much later.
const IDLE_GAP: Duration = Duration::from_mins(5);

impl Default for RecurringLoad {
    fn default() -> Self {
        Self {
            patterns: Pattern::ALL.map(Cells::new),
            bursts: Bursts::default(),
            unit: TaskType::Activity,
            slots_per_replica: None,
            start_up: None,
            seen: None,
        }
    }
}

impl RecurringLoad {
    /// Takes in a reading of the queue that `history` has observed. `local` is the time of `now` in
    /// the time zone of the forecast. The same reading twice changes nothing.
    pub fn observe(
        &mut self,
        policy: &Policy,
        backlog: &Reading<Backlog>,
        history: &History,
        now: Time,
        local: LocalTime,
    ) {
        let Reading::Known { value, taken_at } = backlog else {
            if let Some(seen) = &mut self.seen {
                seen.idle = false;
            }
            return;
        };
        if self
            .seen
            .is_some_and(|seen| seen.sequence == value.sequence)
        {
            return;
        }
        self.start_up = history.measured_start_up().or(self.start_up);
        let at = local.minus(now.since(*taken_at));
        // Untrusted rates may hide a burst, or show one that there is not.
        if !history.rates_trusted() {
            self.seen = None;
            return;
        }
        let before = self.seen.filter(|seen| {
            let usual = policy.longest_gap();
            let longest = if seen.idle {
                usual.max(IDLE_GAP)
            } else {
                usual
            };
            at >= seen.at && at.since(seen.at) <= longest
        });
        if before.is_none() {
            self.bursts.clear();
        }
        let needed = self.bursts.observe(policy, value, history, *taken_at);
        let burst = self.in_units(policy, value, history, &needed);
        let (before, covered) = before.map_or((at, at), |seen| (seen.at, seen.covered));
        for cells in &mut self.patterns {
            cells.observe(covered, before, at, burst);
        }
        self.seen = Some(Seen {
            sequence: value.sequence,
            at,
            covered,
            idle: is_idle(value),
        });
    }

    /// The slots of the task type that needs the most replicas, in slots of the unit.
    fn in_units(
        &mut self,
        policy: &Policy,
        backlog: &Backlog,
        history: &History,
        needed: &PerType<Milli>,
    ) -> u64 {
        let slots = |task_type| Milli::whole(history.slots_per_replica(task_type, policy));
        let counted = |task_type: &TaskType| backlog.types.get(*task_type).is_some();
        let unit = [TaskType::Activity, TaskType::Workflow, TaskType::Nexus];
        self.unit = unit.into_iter().find(counted).unwrap_or(self.unit);
        let reported = history.learner().slots_per_replica(self.unit);
        self.slots_per_replica = reported.or(self.slots_per_replica);
        let most = TaskType::ALL.into_iter().map(|task_type| {
            let needed = *needed.get(task_type);
            if task_type == self.unit || needed == Milli::ZERO {
                needed
            } else {
                needed * (slots(self.unit) / slots(task_type))
            }
        });
        most.max().unwrap_or_default().thousandths()
    }

    /// What is expected to come before new pods could be ready for it, and has not come yet.
    pub fn forecast(
        &self,
        policy: &Policy,
        history: &History,
        local: LocalTime,
    ) -> Option<Forecast> {
        let reaction = self.reaction(policy, history);
        // Tasks may wait for pods that start when the burst comes.
        if policy.queue_wait_target >= reaction.saturating_mul(2) {
            return None;
        }
        let ready = local.plus(reaction);
        // By then the tasks of a burst have begun.
        let linger = policy.queue_wait_target;
        let expected = self.patterns.iter().map(|cells| {
            let slots = cells.expected(local, ready, linger);
            (slots, cells.pattern())
        });
        let (slots, pattern) = expected.rev().max_by_key(|(slots, _)| *slots)?;
        if slots == 0 {
            return None;
        }
        let reported = history.learner().slots_per_replica(self.unit);
        let per_replica = reported.or(self.slots_per_replica);
        let per_replica = per_replica.unwrap_or(policy.slots_per_replica).max(1);
        let needed = Milli::from_thousandths(slots) / Milli::whole(per_replica);
        let replicas = history.headroom(policy).with_share(needed);
        let replicas = replicas.thousandths().div_ceil(1000).max(1);
        Some(Forecast {
            replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
            pattern,
        })
    }

    /// R: from the request for pods to their first tasks.
    fn reaction(&self, policy: &Policy, history: &History) -> Duration {
        let reaction = history.headroom(policy).reaction;
        match (history.measured_start_up(), self.start_up) {
            (None, Some(kept)) => reaction.max(policy.polling_interval.saturating_add(kept)),
            (Some(_), _) | (None, None) => reaction,
        }
    }

    /// How long until the forecast may ask for more; `None` if it expects nothing else.
    pub fn next_rise(
        &self,
        policy: &Policy,
        history: &History,
        local: LocalTime,
    ) -> Option<Duration> {
        let ready = local.plus(self.reaction(policy, history));
        let next = self
            .patterns
            .iter()
            .filter_map(|cells| cells.next_after(ready));
        Some(next.min()?.since(ready))
    }

    /// The bursts as one line of at most 800 ASCII characters, which [`RecurringLoad::from_text`]
    /// reads; `None` if no burst is known. Sizes are rounded up, by 26 % at most.
    ///
    /// It consists of the slots per replica and the seconds of a start-up (0 = unknown), the
    /// minutes of the hour, the tens of minutes of the day, and the hours of the week.
    pub fn to_text(&self) -> Option<String> {
        if self.patterns.iter().all(Cells::is_empty) {
            return None;
        }
        let [hourly, daily, weekly] = self.patterns.each_ref().map(Cells::to_text);
        let slots = self.slots_per_replica.unwrap_or(0);
        let start_up = self
            .start_up
            .map_or(0, |start_up| start_up.as_millis().div_ceil(1000));
        Some(format!("{slots} {start_up} {hourly} {daily} {weekly}"))
    }

    /// Reads such a line; `None` if it is not one.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let slots: u32 = words.next()?.parse().ok()?;
        let start_up: u32 = words.next()?.parse().ok()?;
        let mut cells = |pattern| Cells::from_text(pattern, words.next()?);
        let patterns = [
            cells(Pattern::Hourly)?,
            cells(Pattern::Daily)?,
            cells(Pattern::Weekly)?,
        ];
        words.next().is_none().then(|| Self {
            patterns,
            slots_per_replica: Some(slots).filter(|slots| *slots > 0),
            start_up: (start_up > 0).then(|| Duration::from_secs(start_up.into())),
            ..Self::default()
        })
    }
}

/// Whether nothing waits or arrives.
fn is_idle(backlog: &Backlog) -> bool {
    let mut types = backlog
        .types
        .iter()
        .filter_map(|(_, of_type)| of_type.as_ref());
    types.all(|of_type| of_type.count == 0 && of_type.add_rate_milli == 0)
}
