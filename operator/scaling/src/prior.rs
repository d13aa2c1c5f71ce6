//! What the other queues of a fleet show about a queue whose own pods have not reported yet. Pure.

use std::time::Duration;

use crate::observation::PerType;

/// What the pods of a queue have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prior {
    /// The slots per replica.
    pub(crate) slots_per_replica: PerType<Option<u32>>,
    /// The mean service time.
    pub(crate) service_time: PerType<Option<Duration>>,
    /// How long a pod takes to start.
    pub(crate) start_up: Option<Duration>,
}

impl Prior {
    /// The most cautious of two: the fewest slots, the longest tasks and the longest start-up. A
    /// first step that is too large costs less than tasks that wait.
    #[must_use]
    pub fn or_more_cautious(self, other: Self) -> Self {
        Self {
            slots_per_replica: PerType::from_fn(|task_type| {
                let both = [self, other].map(|prior| *prior.slots_per_replica.get(task_type));
                both.into_iter().flatten().min()
            }),
            service_time: PerType::from_fn(|task_type| {
                let of = |prior: &Self| *prior.service_time.get(task_type);
                of(&self).max(of(&other))
            }),
            start_up: self.start_up.max(other.start_up),
        }
    }
}
