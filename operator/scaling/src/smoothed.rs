//! The mean of the slots in use over recent readings. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::observation::{Observation, PerType, Reading, TaskType};
use crate::slots::{Signal, SlotFacts};
use crate::time::Time;

/// Slots in use are averaged over this time, as the server averages its rates.
const SMOOTHED: Duration = Duration::from_secs(30);
/// The maximum number of slot readings kept for the average.
const READINGS_SMOOTHED: usize = 16;

/// The slots in use at the readings of the last [`SMOOTHED`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SmoothedSlots {
    readings: VecDeque<(Time, PerType<u64>)>,
}

impl SmoothedSlots {
    /// Records the slots in use. Only a new slots reading counts.
    pub(crate) fn observe(&mut self, observation: &Observation, facts: &SlotFacts, now: Time) {
        let taken_at = match &observation.slots {
            _ if observation.replicas.is_zero() => now,
            Reading::Known { taken_at, .. } => *taken_at,
            Reading::Unknown { .. } => return,
        };
        let newer = self.readings.back().is_none_or(|(at, _)| *at < taken_at);
        if facts.signal != Signal::Known || !newer {
            return;
        }
        self.readings.push_back((taken_at, facts.used));
        let oldest = taken_at.minus(SMOOTHED);
        while self.readings.len() > READINGS_SMOOTHED
            || self.readings.front().is_some_and(|(at, _)| *at <= oldest)
        {
            self.readings.pop_front();
        }
    }

    /// The mean slots in use, in thousandths.
    pub(crate) fn milli(&self, task_type: TaskType) -> u64 {
        let readings = u64::try_from(self.readings.len()).unwrap_or(u64::MAX);
        let sum = self.readings.iter().fold(0_u64, |sum, (_, used)| {
            sum.saturating_add(used.get(task_type).saturating_mul(1000))
        });
        sum.checked_div(readings).unwrap_or(0)
    }
}
