//! The current metrics of each task type of a queue, and which type's slots are fullest. Pure.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;
use taskqueue_exposition::{Sample, table};

/// The current metrics of one task type of a queue. Unknown values are absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeFigures {
    /// Waiting tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_tasks: Option<f64>,
    /// Arriving tasks per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals_per_second: Option<f64>,
    /// Tasks handed to workers per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatches_per_second: Option<f64>,
    /// Task slots in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_used: Option<f64>,
    /// Free task slots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_free: Option<f64>,
    /// Mean time that a task occupies a slot, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_time_seconds: Option<f64>,
    /// Whether that time is assumed, because the workers have not shown it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_time_assumed: Option<bool>,
}

impl TypeFigures {
    /// Whether the workers have slots for tasks of this type, or there is work of it. A number of
    /// free slots that is unknown may be any.
    pub fn has_slots_or_work(&self) -> bool {
        let unbounded = self.slots_used.is_some() && self.slots_free.is_none();
        let counts = [
            self.slots_used,
            self.slots_free,
            self.backlog_tasks,
            self.arrivals_per_second,
            self.dispatches_per_second,
        ];
        unbounded || counts.into_iter().flatten().any(|count| count > 0.0)
    }

    /// The slots in use and, if their number is known, all slots.
    pub fn slots(&self) -> Option<(f64, Option<f64>)> {
        let used = self.slots_used?;
        Some((used, self.slots_free.map(|free| used + free)))
    }

    /// The share of the slots that is in use, from 0 to 1. Used slots out of an unknown number
    /// count as full: nothing shows that another task would find room.
    fn fullness(&self) -> Option<f64> {
        let (used, all) = self.slots()?;
        Some(if used > 0.0 {
            all.map_or(1.0, |all| used / all)
        } else {
            0.0
        })
    }

    /// Orders types by how full their slots are; of equally full ones, that with fewer slots is
    /// fuller, because fewer tasks fill it.
    fn compare_fullness(&self, other: &Self) -> Ordering {
        let all = |this: &Self| {
            let all = this.slots().and_then(|(_, all)| all);
            all.unwrap_or(f64::INFINITY)
        };
        let share = |this: &Self| this.fullness().unwrap_or(-1.0);
        let by_share = share(self).total_cmp(&share(other));
        by_share.then(all(other).total_cmp(&all(self)))
    }
}

/// The task type whose slots are fullest, of those with slots or work. `None` if no slots are
/// known, or no type has any.
pub(super) fn fullest(task_types: &BTreeMap<String, TypeFigures>) -> Option<&TypeFigures> {
    task_types
        .values()
        .filter(|figures| figures.slots_used.is_some() && figures.has_slots_or_work())
        .max_by(|a, b| a.compare_fullness(b))
}

/// Keeps a sample that is about a task type.
pub(super) fn take(
    task_types: &mut BTreeMap<String, TypeFigures>,
    task_type: &str,
    sample: &Sample<'_>,
) {
    let field: fn(&mut TypeFigures) -> &mut Option<f64> = match sample.name {
        name if name == table::BACKLOG.name => |figures| &mut figures.backlog_tasks,
        name if name == table::ADD_RATE.name => |figures| &mut figures.arrivals_per_second,
        name if name == table::DISPATCH_RATE.name => |figures| &mut figures.dispatches_per_second,
        name if name == table::SLOTS_USED.name => |figures| &mut figures.slots_used,
        name if name == table::SLOTS_AVAILABLE.name => |figures| &mut figures.slots_free,
        name if name == table::SERVICE_TIME.name => |figures| &mut figures.service_time_seconds,
        name if name == table::SERVICE_TIME_LEARNED.name => {
            let figures = task_types.entry(task_type.to_owned()).or_default();
            figures.service_time_assumed = Some(sample.value <= 0.0);
            return;
        }
        _ => return,
    };
    let figures = task_types.entry(task_type.to_owned()).or_default();
    *field(figures) = Some(sample.value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(used: Option<f64>, free: Option<f64>) -> TypeFigures {
        TypeFigures {
            slots_used: used,
            slots_free: free,
            ..TypeFigures::default()
        }
    }

    #[test]
    fn the_fullest_slots_are_those_with_the_largest_share_in_use() {
        let of = |activity: TypeFigures, workflow: TypeFigures| {
            let task_types = [("activity", activity), ("workflow", workflow)];
            let named = task_types.map(|(name, figures)| (name.to_owned(), figures));
            fullest(&named.into()).and_then(TypeFigures::slots)
        };
        let some = |used: f64, free: f64| slots(Some(used), Some(free));
        let table = [
            (
                some(40.0, 0.0),
                some(0.0, 4_000.0),
                Some((40.0, Some(40.0))),
            ),
            (
                some(1.0, 9.0),
                some(900.0, 100.0),
                Some((900.0, Some(1_000.0))),
            ),
            // Idle: the type that fills up first.
            (some(0.0, 40.0), some(0.0, 4_000.0), Some((0.0, Some(40.0)))),
            // No slots at all are not full.
            (some(0.0, 0.0), some(1.0, 999.0), Some((1.0, Some(1_000.0)))),
            (some(0.0, 0.0), some(0.0, 0.0), None),
            // Used slots out of an unknown number.
            (
                slots(Some(30.0), None),
                some(3.0, 997.0),
                Some((30.0, None)),
            ),
            (
                slots(Some(0.0), None),
                some(0.0, 9.0),
                Some((0.0, Some(9.0))),
            ),
            (slots(Some(0.0), None), slots(None, None), Some((0.0, None))),
            (slots(None, None), slots(None, None), None),
        ];
        for (activity, workflow, expected) in table {
            let both = [of(activity, workflow), of(workflow, activity)];
            assert_eq!(both, [expected; 2], "{activity:?} {workflow:?}");
        }
    }

    #[test]
    fn a_type_without_slots_is_told_from_one_whose_slots_are_not_counted() {
        let work = |work: fn(&mut TypeFigures)| {
            let mut figures = slots(Some(0.0), Some(0.0));
            work(&mut figures);
            figures.has_slots_or_work()
        };
        assert!(!work(|_| {}));
        assert!(!work(|none| *none = TypeFigures::default()));
        assert!(work(|unknown| unknown.slots_free = None));
        assert!(work(|waiting| waiting.backlog_tasks = Some(1.0)));
        assert!(work(|arriving| arriving.arrivals_per_second = Some(0.1)));
        assert!(work(|leaving| leaving.dispatches_per_second = Some(0.1)));
    }
}
