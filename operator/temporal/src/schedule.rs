//! Chooses what to read next: earliest deadline first among the jobs that are due. Pure; the time
//! is passed in.
//!
//! A job becomes eligible when it is due; the eligible job with the earliest deadline runs first. A
//! job's deadline is fixed when the job is scheduled. Every job that is scheduled after a waiting
//! job's deadline gets a later one, so waiting alone brings a job to the front. No job starves,
//! however small the budget and however many hints come in.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::Millis;

/// Identifies a job.
pub(crate) type JobId = u64;

/// The jobs of one reader, by due time and by deadline.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    jobs: BTreeMap<JobId, Job>,
    /// By due time.
    waiting: BTreeSet<(Millis, JobId)>,
    /// By deadline.
    eligible: BTreeSet<(Millis, JobId)>,
}

#[derive(Clone, Copy, Debug)]
struct Job {
    due: Millis,
    deadline: Millis,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Eligible,
    Running {
        /// When to run again, if the job was hastened while it ran.
        again: Option<Millis>,
    },
}

impl Schedule {
    /// Schedules a job, new or not: due at `due`, and late `slack` after that. If the job was
    /// hastened while it ran, it is due and late at that time instead.
    pub(crate) fn set(&mut self, id: JobId, due: Millis, slack: Millis) {
        let (due, deadline) = match self.take(id).map(|job| job.state) {
            Some(State::Running { again: Some(at) }) => (at, at),
            Some(State::Running { again: None } | State::Waiting | State::Eligible) | None => {
                (due, due.saturating_add(slack))
            }
        };
        self.jobs.insert(
            id,
            Job {
                due,
                deadline,
                state: State::Waiting,
            },
        );
        self.waiting.insert((due, id));
    }

    /// Makes a job due at `now`, which may be in the future, and late from then on. A running job
    /// becomes due again at that time. A job that would be late by then anyway stays as it is.
    pub(crate) fn hasten(&mut self, id: JobId, now: Millis) {
        match self.jobs.get_mut(&id) {
            None => {}
            Some(job) => match job.state {
                State::Running { again } => {
                    job.state = State::Running {
                        again: Some(again.unwrap_or(now)),
                    };
                }
                State::Waiting | State::Eligible if job.deadline <= now => {}
                State::Waiting | State::Eligible => self.set(id, now, 0),
            },
        }
    }

    /// Takes a job off the schedule.
    pub(crate) fn remove(&mut self, id: JobId) {
        self.take(id);
    }

    fn take(&mut self, id: JobId) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        self.waiting.remove(&(job.due, id));
        self.eligible.remove(&(job.deadline, id));
        Some(job)
    }

    /// The job to run at `now` among those that may run, if any is due.
    pub(crate) fn peek(
        &mut self,
        now: Millis,
        mut may_run: impl FnMut(JobId) -> bool,
    ) -> Option<JobId> {
        while let Some(&(due, id)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            if let Some(job) = self.jobs.get_mut(&id) {
                job.state = State::Eligible;
                self.eligible.insert((job.deadline, id));
            }
        }
        let mut eligible = self.eligible.iter().map(|&(_, id)| id);
        eligible.find(|id| may_run(*id))
    }

    /// Marks the job as running; it is not eligible until it is set again.
    pub(crate) fn start(&mut self, id: JobId) {
        if let Some(job) = self.jobs.get_mut(&id) {
            self.waiting.remove(&(job.due, id));
            self.eligible.remove(&(job.deadline, id));
            job.state = State::Running { again: None };
        }
    }

    /// When the next job becomes due; ignores jobs that are already due.
    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.waiting.first().map(|&(due, _)| due)
    }

    /// How long the most overdue of these jobs has been due.
    pub(crate) fn behind(&self, now: Millis, counts: impl Fn(JobId) -> bool) -> Millis {
        let due = self
            .eligible
            .iter()
            .filter(|(_, id)| counts(*id))
            .filter_map(|(_, id)| self.jobs.get(id))
            .map(|job| job.due);
        due.min().map_or(0, |due| now.saturating_sub(due))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peek(schedule: &mut Schedule, now: Millis) -> Option<JobId> {
        schedule.peek(now, |_| true)
    }

    fn drain(schedule: &mut Schedule, now: Millis) -> Vec<JobId> {
        std::iter::from_fn(|| {
            let id = peek(schedule, now)?;
            schedule.start(id);
            Some(id)
        })
        .collect()
    }

    #[test]
    fn no_job_runs_before_it_is_due_and_the_earliest_deadline_runs_first() {
        let mut schedule = Schedule::default();
        schedule.set(1, 10, 100);
        schedule.set(2, 20, 5);
        schedule.set(3, 30, 0);
        assert_eq!(peek(&mut schedule, 9), None);
        assert_eq!(schedule.next_due(), Some(10));
        assert_eq!(drain(&mut schedule, 20), [2, 1]);
        assert_eq!(drain(&mut schedule, 30), [3]);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn a_hinted_job_runs_after_late_jobs_and_before_all_others() {
        let mut schedule = Schedule::default();
        schedule.set(1, 0, 50);
        schedule.set(2, 0, 200);
        schedule.set(3, 5_000, 200);
        schedule.hasten(3, 100);
        assert_eq!(drain(&mut schedule, 100), [1, 3, 2]);
    }

    #[test]
    fn a_hint_while_a_job_runs_makes_it_run_once_more() {
        let mut schedule = Schedule::default();
        schedule.set(1, 0, 0);
        schedule.start(1);
        schedule.hasten(1, 5);
        schedule.hasten(1, 6);
        assert_eq!(peek(&mut schedule, 6), None);
        schedule.set(1, 5_000, 0);
        assert_eq!(drain(&mut schedule, 7), [1]);
        schedule.set(1, 5_000, 0);
        assert_eq!(peek(&mut schedule, 8), None);
    }

    #[test]
    fn a_removed_job_does_not_come_back() {
        let mut schedule = Schedule::default();
        schedule.set(1, 0, 0);
        schedule.remove(1);
        schedule.hasten(1, 0);
        assert_eq!(peek(&mut schedule, 100), None);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn behind_is_the_age_of_the_oldest_due_job() {
        let mut schedule = Schedule::default();
        schedule.set(1, 10, 500);
        schedule.set(2, 40, 0);
        assert_eq!(peek(&mut schedule, 50), Some(2));
        assert_eq!(schedule.behind(50, |_| true), 40);
        assert_eq!(schedule.behind(50, |id| id == 2), 10);
    }

    #[test]
    fn a_job_that_may_not_run_holds_back_no_other() {
        let mut schedule = Schedule::default();
        schedule.set(1, 10, 0);
        schedule.set(2, 20, 0);
        schedule.set(3, 30, 0);
        assert_eq!(schedule.peek(50, |id| id != 1), Some(2));
        assert_eq!(schedule.peek(50, |id| id > 2), Some(3));
        assert_eq!(schedule.peek(50, |_| false), None);
        assert_eq!(peek(&mut schedule, 50), Some(1));
    }

    proptest! {
        /// Only one job runs per tick, far too few. Still, every waiting job runs within a bounded
        /// time, whatever the others do and however often they are hinted.
        #[test]
        fn no_job_starves(
            periods in prop::collection::vec((1u64..20, 0u64..60), 2..12),
            hints in prop::collection::vec(0usize..12, 400),
        ) {
            let mut schedule = Schedule::default();
            let mut last_run = vec![0u64; periods.len()];
            for (id, _) in periods.iter().enumerate() {
                schedule.set(id as JobId, 0, periods[id].1);
            }
            for (now, hint) in hints.iter().enumerate() {
                let now = now as Millis;
                // One queue is hinted at every tick.
                schedule.hasten(0, now);
                if *hint < periods.len() {
                    schedule.hasten(*hint as JobId, now);
                }
                if let Some(id) = peek(&mut schedule, now) {
                    schedule.start(id);
                    let index = usize::try_from(id).unwrap();
                    last_run[index] = now;
                    schedule.set(id, now + periods[index].0, periods[index].1);
                }
                for (id, (period, slack)) in periods.iter().enumerate() {
                    // Its own period and slack, then every other job at most twice.
                    let bound = period + slack + 2 * periods.len() as u64;
                    prop_assert!(
                        now - last_run[id] <= bound,
                        "job {id} waited {} at {now}, bound {bound}", now - last_run[id]
                    );
                }
            }
        }
    }
}
