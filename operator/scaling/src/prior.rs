//! What the other queues of a fleet show about a queue whose own pods have not reported yet. Pure.

use std::time::Duration;

use crate::history::History;
use crate::observation::{PerType, TaskType};

/// What other queues with the same pods have learned.
///
/// Of several queues, the fewest slots, the longest tasks and the longest start-up count: a first
/// step that is too large costs less than tasks that wait.
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
    /// What these queues have learned.
    pub fn of<'a>(others: impl IntoIterator<Item = &'a History>) -> Self {
        let mut prior = Self::default();
        for other in others {
            for task_type in TaskType::ALL {
                let slots = prior.slots_per_replica.get_mut(task_type);
                let reported = other.learner().slots_per_replica(task_type);
                *slots = [*slots, reported].into_iter().flatten().min();
                let time = prior.service_time.get_mut(task_type);
                *time = (*time).max(other.learned_service_time(task_type));
            }
            prior.start_up = prior.start_up.max(other.seen_start_up());
        }
        prior
    }
}
