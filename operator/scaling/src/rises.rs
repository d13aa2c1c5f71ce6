//! How far the load of a queue has recently risen before new pods could help. Pure.

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

/// The recent load, and its largest rise within one reaction time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rises {
    /// The load at the readings of the last reaction time, in thousandths of a slot.
    recent: VecDeque<(Time, PerType<u64>)>,
    most: PerType<u64>,
    latest: Option<Time>,
}

impl Rises {
    /// Records the load of a new reading.
    pub(crate) fn observe(&mut self, load: PerType<u64>, reaction: Duration, at: Time) {
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

    /// The largest recent rise within one reaction time beyond that of an even load, in thousandths
    /// of a slot.
    pub(crate) const fn most(&self, task_type: TaskType) -> u64 {
        *self.most.get(task_type)
    }
}
