//! How far the load of a queue has recently risen before new pods could help, and how long it was
//! watched for that. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::milli::Milli;
use crate::observation::{PerType, TaskType};
use crate::time::{Time, millis};

/// In each of these times, 63 % of a rise is forgotten.
const FADES: Duration = Duration::from_mins(20);
/// An even load of n slots rises by about the square root of n: of a rise, this part of the root is
/// no burst, in percent. The reserve covers it.
const EVEN_PERCENT: u32 = 50;
/// The maximum number of readings kept.
const READINGS: u32 = 32;
/// The most that counts as watched: 95 % of a rise is forgotten by then.
const WATCHED: Duration = Duration::from_hours(1);
/// A reading is close if each worker has reported within this time: what rises and falls between
/// two reports is not seen.
const CLOSE: Duration = Duration::from_secs(15);
/// The load is watched once all readings have been close for this long. One report in a minute is
/// close now and then.
const ALL_CLOSE: Duration = Duration::from_mins(1);

/// The recent load, and its largest rise within one reaction time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rises {
    /// The load at the readings of the last reaction time, in thousandths of a slot.
    recent: VecDeque<(Time, PerType<u64>)>,
    most: PerType<u64>,
    latest: Option<Time>,
    /// Since when every reading has been close.
    close_since: Option<Time>,
    watched: Duration,
}

impl Rises {
    /// Records the load of a new reading. `reported_at` is the oldest of the workers' last reports.
    pub(crate) fn observe(
        &mut self,
        load: PerType<u64>,
        reaction: Duration,
        reported_at: Option<Time>,
        at: Time,
    ) {
        self.watch(&load, reaction, reported_at, at);
        let oldest = at.minus(reaction);
        while self.recent.front().is_some_and(|(at, _)| *at < oldest) {
            self.recent.pop_front();
        }
        let passed = millis(at.since(self.latest.unwrap_or(at)));
        self.latest = Some(at);
        for task_type in TaskType::ALL {
            let now = *load.get(task_type);
            let before = self.recent.iter().map(|(_, load)| *load.get(task_type));
            let before = Milli::from_thousandths(before.min().unwrap_or(now));
            let even = before.root().percent(EVEN_PERCENT);
            let rise = Milli::from_thousandths(now).less(before + even);
            let rise = rise.thousandths();
            let most = self.most.get_mut(task_type);
            let faded = most.saturating_mul(passed).checked_div(millis(FADES));
            *most = most.saturating_sub(faded.unwrap_or(0)).max(rise);
        }
        let spacing = reaction.checked_div(READINGS).unwrap_or_default();
        let last = self.recent.back().map(|(at, _)| *at);
        if last.is_none_or(|last| at.since(last) >= spacing) {
            self.recent.push_back((at, load));
        }
    }

    /// Without load nothing can be seen to rise: what was watched fades as fast as it came.
    fn watch(
        &mut self,
        load: &PerType<u64>,
        reaction: Duration,
        reported_at: Option<Time>,
        at: Time,
    ) {
        let passed = self
            .latest
            .map_or(Duration::ZERO, |latest| at.since(latest));
        if load.iter().all(|(_, load)| *load == 0) {
            self.watched = self.watched.saturating_sub(passed);
        } else if reported_at.is_none_or(|reported| at.since(reported) > CLOSE) {
            self.close_since = None;
        } else if at.since(*self.close_since.get_or_insert(at)) >= ALL_CLOSE {
            // Within a gap between readings, no more than one rise can be seen.
            let seen = self.watched.saturating_add(passed.min(reaction));
            self.watched = seen.min(WATCHED);
        }
    }

    /// How long the load was lately watched closely, at most an hour.
    pub(crate) const fn watched(&self) -> Duration {
        self.watched
    }

    /// The largest recent rise within one reaction time beyond that of an even load, in thousandths
    /// of a slot.
    pub(crate) const fn most(&self, task_type: TaskType) -> u64 {
        *self.most.get(task_type)
    }
}
