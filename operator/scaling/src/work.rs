//! The kinds of work that a pod does. Plain data.

use crate::observation::{PerType, PodSlots, TaskType, TypeSlots};

/// The kinds of work that a pod does: tasks of this queue by type, and tasks of other task queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Here(TaskType),
    Elsewhere,
}

impl Work {
    pub(crate) const ALL: [Self; 4] = [
        Self::Here(TaskType::Workflow),
        Self::Here(TaskType::Activity),
        Self::Here(TaskType::Nexus),
        Self::Elsewhere,
    ];

    /// The slots of this kind that a pod reports.
    pub(crate) const fn slots(self, pod: &PodSlots) -> Option<&TypeSlots> {
        match self {
            Self::Here(task_type) => pod.types.get(task_type).as_ref(),
            Self::Elsewhere => pod.elsewhere.as_ref(),
        }
    }
}

/// One value per kind of work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PerWork<T> {
    here: PerType<T>,
    elsewhere: T,
}

impl<T> PerWork<T> {
    pub(crate) const fn get(&self, work: Work) -> &T {
        match work {
            Work::Here(task_type) => self.here.get(task_type),
            Work::Elsewhere => &self.elsewhere,
        }
    }

    pub(crate) const fn get_mut(&mut self, work: Work) -> &mut T {
        match work {
            Work::Here(task_type) => self.here.get_mut(task_type),
            Work::Elsewhere => &mut self.elsewhere,
        }
    }
}
