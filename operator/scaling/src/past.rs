//! What was recommended for a queue and what was changed, as the limits on steps and the
//! stabilization windows need it. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::policy::StepPolicy;
use crate::time::Time;

/// The longest stabilization window.
const LONGEST_WINDOW: Duration = Duration::from_hours(1);

/// The recommendations of the last hour, and the changes that were carried out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Past {
    /// Recommendations that no later one has reached, largest first.
    highs: VecDeque<(Time, u32)>,
    /// Recommendations that no later one has fallen to, smallest first.
    lows: VecDeque<(Time, u32)>,
    changes: VecDeque<(Time, u32, u32)>,
}

impl Past {
    /// Records a recommendation.
    pub(crate) fn recommend(&mut self, replicas: u32, now: Time) {
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

    /// Records a change that was carried out.
    pub(crate) fn change(&mut self, from: u32, to: u32, now: Time) {
        self.changes.push_back((now, from, to));
        let oldest = now.minus(StepPolicy::MAX_PERIOD);
        while self.changes.front().is_some_and(|(at, ..)| *at < oldest) {
            self.changes.pop_front();
        }
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
            .changes
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

/// The first entry that is young enough. It is also the extreme one, because the entries are sorted
/// by value too.
fn within(window: &VecDeque<(Time, u32)>, length: Duration, now: Time) -> Option<(Time, u32)> {
    window
        .iter()
        .find(|(at, _)| now.since(*at) < length)
        .copied()
}
