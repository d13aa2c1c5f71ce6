//! Which rises of the arrivals are bursts, and how many slots a burst needs. Pure, integers only.
//!
//! Only the arrivals count, not what the fleet makes of them: otherwise a burst that a forecast
//! has prepared for would look smaller than one that it has not, and the forecast would forget it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::demand::believable_arrivals;
use crate::history::History;
use crate::milli::Milli;
use crate::observation::{Backlog, PerType, RATE_WINDOW, TaskType};
use crate::policy::Policy;
use crate::time::Time;

/// The recent arrivals of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bursts {
    /// The arrivals per second at the readings of the last [`RATE_WINDOW`], and at the one before.
    rates: VecDeque<(Time, PerType<Milli>)>,
}

impl Bursts {
    /// Forgets the arrivals before a gap.
    pub(crate) fn clear(&mut self) {
        self.rates.clear();
    }

    /// Takes in a reading whose rates are trusted. Returns the slots that each task type needs so
    /// that no task of a burst waits longer than the wait target; 0 if there is no burst.
    pub(crate) fn observe(
        &mut self,
        policy: &Policy,
        backlog: &Backlog,
        history: &History,
        at: Time,
    ) -> PerType<Milli> {
        let oldest = at.minus(RATE_WINDOW);
        while self.rates.get(1).is_some_and(|(at, _)| *at <= oldest) {
            self.rates.pop_front();
        }
        let rates = PerType::from_fn(|task_type| {
            let backlog = backlog.types.get(task_type).as_ref();
            backlog.map_or(Milli::ZERO, believable_arrivals)
        });
        let needed = PerType::from_fn(|task_type| {
            self.needed(policy, history, task_type, *rates.get(task_type), at)
        });
        self.rates.push_back((at, rates));
        needed
    }

    /// base + the largest n × s ÷ (max(s, x) + W ÷ 2) over the recent readings, if that is a burst:
    /// n tasks have arrived since a reading, within x; they may begin within W and occupy their
    /// slots for s each. The base is what had arrived before. Half of the target is left for a
    /// service time that is not what was learned.
    ///
    /// A rise is a burst if nothing had arrived before, or if it at least doubles the load, fills a
    /// replica and is no chance.
    fn needed(
        &self,
        policy: &Policy,
        history: &History,
        task_type: TaskType,
        rate: Milli,
        at: Time,
    ) -> Milli {
        let service_time = history.service_time(task_type, policy).mean();
        let slots = Milli::whole(history.slots_per_replica(task_type, policy));
        let of = |rates: &PerType<Milli>| *rates.get(task_type);
        let Some(before) = self.rates.front().map(|(_, rates)| of(rates)) else {
            return Milli::ZERO;
        };
        let last = self.rates.back().map_or(at, |(at, _)| *at);
        let half_target = policy.queue_wait_target.checked_div(2).unwrap_or_default();
        let rises = self.rates.iter().map(|(since, rates)| {
            let tasks = rate.less(of(rates)) * RATE_WINDOW;
            if tasks == Milli::ZERO || is_chance(tasks, before, at.since(*since)) {
                return Milli::ZERO;
            }
            // They have come within an interval of readings less than this, or one more.
            let within = last.since(*since);
            let span = within.max(service_time);
            tasks * service_time / span.saturating_add(half_target)
        });
        let rise = rises.max().unwrap_or_default();
        let base = if before == Milli::ZERO {
            Milli::ZERO
        } else {
            before * service_time
        };
        let sudden = rise >= base && rise >= slots;
        if rise > Milli::ZERO && (before == Milli::ZERO || sudden) {
            base + rise
        } else {
            Milli::ZERO
        }
    }
}

/// Whether arrivals at random, at this rate, may differ by so many tasks from one such time to
/// another: by less than six standard deviations. The server's rates scatter more than arrivals.
fn is_chance(tasks: Milli, rate: Milli, time: Duration) -> bool {
    if rate == Milli::ZERO {
        return false;
    }
    let variance = rate * time + rate * time;
    tasks * tasks < variance * Milli::whole(36_u32)
}
