//! The most that a task can have taken on average: no task runs without a slot. Pure, integers
//! only.
//!
//! In a time T, K slots offer K × T of slot time. If D tasks were dispatched meanwhile, at most K
//! of them are unfinished, so the others took K × T ÷ (D − K) on average, or less. While tasks wait
//! for slots, that is close to the truth: the capacity of the slots, measured at saturation.
//! Otherwise it is only larger. Heartbeats can miss short tasks; this bound needs none of them, so
//! it corrects what the first heartbeats of new workers, or heartbeats a minute apart, make too
//! long.

use std::collections::VecDeque;
use std::time::Duration;

use crate::milli::Milli;
use crate::observation::{PerType, RATE_BUCKET, RATE_WINDOW, TaskType, TypeBacklog};
use crate::time::{Time, millis};

/// Finished tasks required for a bound: their mean varies by about a quarter.
const ENOUGH: u64 = 16;

/// The slot time that the recent readings show, per task type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SlotTime {
    types: PerType<VecDeque<Moment>>,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    at: Time,
    /// The dispatched tasks per second.
    dispatched: Milli,
    /// The slots of the pods that may have tasks.
    slots: u64,
}

impl SlotTime {
    /// Records a reading; `slots` are those of the pods that may have tasks, if they are known.
    pub(crate) fn observe(
        &mut self,
        types: &PerType<Option<TypeBacklog>>,
        slots: PerType<Option<u64>>,
        at: Time,
    ) {
        for task_type in TaskType::ALL {
            let moments = self.types.get_mut(task_type);
            let read = *types.get(task_type);
            // Without a slot here, others take the tasks.
            let slots = slots.get(task_type).filter(|slots| *slots > 0);
            let Some((backlog, slots)) = read.zip(slots) else {
                moments.clear();
                continue;
            };
            moments.push_back(Moment {
                at,
                dispatched: Milli::from_thousandths(backlog.dispatch_rate_milli),
                slots,
            });
            let oldest = at.minus(RATE_WINDOW);
            while moments.get(1).is_some_and(|moment| moment.at <= oldest) {
                moments.pop_front();
            }
        }
    }

    /// Forgets the readings: the rates are not trusted, or the slots unknown.
    pub(crate) fn restart(&mut self) {
        self.types = PerType::default();
    }

    /// The most that a finished task took on average, over the span that says most.
    pub(crate) fn most(&self, task_type: TaskType) -> Option<Duration> {
        let moments = self.types.get(task_type);
        let last = moments.back()?;
        let mut most = None;
        let (mut slots, mut slot_millis, mut later) = (last.slots, 0_u64, last);
        for moment in moments.iter().rev().skip(1) {
            let between = moment.slots.max(later.slots);
            slots = slots.max(between);
            let span = millis(later.at.since(moment.at));
            slot_millis = slot_millis.saturating_add(between.saturating_mul(span));
            later = moment;
            // The rate is the tasks of 25 to 30 s, divided by that time. Those from before this
            // moment do not count.
            let all = last.dispatched * RATE_WINDOW.saturating_sub(RATE_BUCKET);
            let before = if last.at.since(moment.at) >= RATE_WINDOW {
                Milli::ZERO
            } else {
                moment.dispatched * RATE_WINDOW
            };
            let dispatched = all.less(before).thousandths() / 1000;
            let finished = Some(dispatched.saturating_sub(slots)).filter(|tasks| *tasks >= ENOUGH);
            if let Some(mean) = finished.and_then(|finished| slot_millis.checked_div(finished)) {
                most = Some(most.map_or(mean, |most: u64| most.min(mean)));
            }
        }
        most.map(Duration::from_millis)
    }
}

#[cfg(test)]
#[allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "the numbers of a test are small, and it may panic"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A task that was dispatched: when, and when it ended.
    #[derive(Debug, Clone, Copy)]
    struct Task {
        start: u64,
        end: u64,
    }

    /// Runs tasks, each a gap after the one before and a duration, in `slots` slots, in order.
    fn run(slots: usize, tasks: &[(u64, u64)]) -> Vec<Task> {
        let mut free_at = vec![0; slots];
        let mut arrival = 0;
        let starts = tasks.iter().map(|(gap, takes)| {
            arrival += gap;
            let first = free_at.iter_mut().min().unwrap();
            let start = arrival.max(*first);
            *first = start + takes;
            Task { start, end: *first }
        });
        starts.collect()
    }

    /// The rate as the server computes it: the tasks of five buckets and of the present one.
    fn rate_milli(tasks: &[Task], at: u64) -> u64 {
        let (bucket, window) = (5_000, 25_000 + at % 5_000);
        assert_eq!(RATE_BUCKET, Duration::from_millis(bucket));
        let within = |task: &&Task| task.start <= at && task.start + window > at;
        let dispatched = tasks.iter().filter(within).count();
        u64::try_from(dispatched).unwrap() * 1_000_000 / window
    }

    fn read(slot_time: &mut SlotTime, slots: usize, rate_milli: u64, at: u64) {
        let backlog = TypeBacklog {
            dispatch_rate_milli: rate_milli,
            ..TypeBacklog::default()
        };
        let types = PerType {
            activity: Some(backlog),
            ..PerType::default()
        };
        let slots = PerType {
            activity: u64::try_from(slots).ok(),
            ..PerType::default()
        };
        slot_time.observe(&types, slots, Time::from_millis(at));
    }

    #[test]
    fn full_slots_bound_the_time_of_their_tasks() {
        let tasks = run(4, &[(0, 500); 1000]);
        let mut slot_time = SlotTime::default();
        let mut bounds = Vec::new();
        for at in (0..60_000).step_by(5_000) {
            read(&mut slot_time, 4, rate_milli(&tasks, at), at);
            bounds.push(slot_time.most(TaskType::Activity).map(millis));
        }
        // 8 tasks a second: after 5 s, 40 are dispatched and 36 finished, and 20 s of slot time are
        // gone. Later the server's window blurs the rate.
        assert_eq!(bounds[..3], [None, Some(571), Some(533)]);
        let close = |bound: &Option<u64>| bound.is_some_and(|bound| (500..700).contains(&bound));
        assert!(bounds[1..].iter().all(close), "{bounds:?}");
    }

    #[test]
    fn tasks_that_others_take_while_there_is_no_slot_bound_nothing() {
        let tasks = run(4, &[(0, 500); 1000]);
        let mut slot_time = SlotTime::default();
        for at in (0..60_000).step_by(5_000) {
            read(&mut slot_time, 0, rate_milli(&tasks, at), at);
            assert_eq!(slot_time.most(TaskType::Activity), None);
        }
    }

    proptest! {
        #[test]
        fn no_bound_is_below_the_mean_of_the_tasks_that_have_ended(
            slots in 1_usize..8,
            tasks in prop::collection::vec(
                (0_u64..800, prop_oneof![1_u64..400, 1_u64..20_000]),
                1..400,
            ),
            pace in 4_000_u64..11_000,
        ) {
            let tasks = run(slots, &tasks);
            let mut slot_time = SlotTime::default();
            let readings: Vec<u64> = (0..20).map(|turn| turn * pace).collect();
            for (index, at) in readings.iter().copied().enumerate() {
                read(&mut slot_time, slots, rate_milli(&tasks, at), at);
                let Some(most) = slot_time.most(TaskType::Activity) else {
                    continue;
                };
                let mean_since = |since: &u64| {
                    let ended = |task: &&Task| task.start > *since && task.end <= at;
                    let ended: Vec<&Task> = tasks.iter().filter(ended).collect();
                    let total: u64 = ended.iter().map(|task| task.end - task.start).sum();
                    total.checked_div(ended.len().try_into().unwrap())
                };
                let least = readings[..index].iter().filter_map(mean_since).min();
                let holds = least.is_some_and(|least| millis(most) >= least);
                prop_assert!(holds, "{most:?} {least:?}");
            }
        }
    }
}
