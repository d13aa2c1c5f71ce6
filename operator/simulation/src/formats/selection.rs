//! Which tasks of a file are simulated: the window, the sample, the limit. Pure.

use super::error::TraceError;
use crate::rng::Rng;
use crate::time::Millis;
use crate::trace::{Task, Trace};

/// The seed of the sample, so that the same file gives the same tasks in every run.
const SAMPLE_SEED: u64 = 1;

/// The tasks that have been chosen so far.
#[derive(Debug)]
pub(super) struct Selection {
    /// The window begins this long after the origin. `None`: with the earliest task.
    from: Option<i64>,
    /// The window ends this long after the origin.
    until: i64,
    sample: u32,
    /// How many more tasks the sample leaves out.
    gap: u64,
    rng: Rng,
    limit: usize,
    /// The time from which the window counts; 0 if the format sets none.
    origin: Option<i64>,
    /// Whether the file has a task, chosen or not.
    seen: bool,
    /// When they arrive after the origin, and how long they take.
    tasks: Vec<(i64, Millis)>,
    left_out: Vec<(&'static str, u64)>,
}

impl Selection {
    pub(super) fn new(
        from: Option<Millis>,
        length: Option<Millis>,
        sample: u32,
        limit: usize,
    ) -> Self {
        let signed = |millis: Millis| i64::try_from(millis).unwrap_or(i64::MAX);
        let from = from.map(signed);
        let length = length.map_or(i64::MAX, signed);
        let mut selection = Self {
            from,
            until: from.unwrap_or(0).saturating_add(length),
            sample: sample.max(1),
            gap: 0,
            rng: Rng::new(SAMPLE_SEED),
            limit,
            origin: None,
            seen: false,
            tasks: Vec::new(),
            left_out: Vec::new(),
        };
        selection.gap = selection.next_gap();
        selection
    }

    /// The window counts from the first time that is passed here.
    pub(super) fn begin(&mut self, time: i64) {
        self.origin.get_or_insert(time);
    }

    /// Whether the window has room for times from `begin` to before `end`.
    pub(super) fn overlaps(&self, begin: i64, end: i64) -> bool {
        let (begin, end) = (self.since_origin(begin), self.since_origin(end));
        self.from.is_none_or(|from| end > from) && begin < self.until
    }

    fn since_origin(&self, time: i64) -> i64 {
        time.saturating_sub(self.origin.unwrap_or(0))
    }

    /// Whether a task that arrives then is in the window.
    fn covers(&self, arrives: i64) -> bool {
        self.overlaps(arrives, arrives.saturating_add(1))
    }

    /// Adds a task, if it is in the window and in the sample.
    pub(super) fn add(&mut self, arrives: i64, takes: Millis) -> Result<(), TraceError> {
        self.seen = true;
        if self.covers(arrives) && self.sampled(1) == 1 {
            self.push(arrives, takes)?;
        }
        Ok(())
    }

    /// Adds the tasks of the sample among this many, each as `task` makes it, if it is in the
    /// window.
    pub(super) fn add_many(
        &mut self,
        count: u32,
        mut task: impl FnMut() -> (i64, Millis),
    ) -> Result<(), TraceError> {
        self.seen |= count > 0;
        for _ in 0..self.sampled(count) {
            let (arrives, takes) = task();
            if self.covers(arrives) {
                self.push(arrives, takes)?;
            }
        }
        Ok(())
    }

    /// Counts tasks that arrive then and cannot be simulated, if they are in the window.
    pub(super) fn leave_out(&mut self, arrives: i64, count: u32, reason: &'static str) {
        self.seen |= count > 0;
        if count == 0 || !self.covers(arrives) {
            return;
        }
        match self.left_out.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, total)) => *total += u64::from(count),
            None => self.left_out.push((reason, u64::from(count))),
        }
    }

    fn push(&mut self, arrives: i64, takes: Millis) -> Result<(), TraceError> {
        if self.tasks.len() >= self.limit {
            return Err(TraceError::TooMany { limit: self.limit });
        }
        self.tasks.push((self.since_origin(arrives), takes));
        Ok(())
    }

    /// How many of the next tasks belong to the sample.
    fn sampled(&mut self, count: u32) -> u32 {
        if self.sample == 1 {
            return count;
        }
        let (mut left, mut kept) = (u64::from(count), 0);
        while self.gap < left {
            left -= self.gap + 1;
            kept += 1;
            self.gap = self.next_gap();
        }
        self.gap -= left;
        kept
    }

    /// The tasks between two of the sample: a geometric number, as if each had been drawn. A fixed
    /// number would make the arrivals more even than they are.
    fn next_gap(&mut self) -> u64 {
        if self.sample == 1 {
            return 0;
        }
        let left_out = 1.0 - 1.0 / f64::from(self.sample);
        (self.rng.unit().ln() / left_out.ln()) as u64
    }

    /// The trace, with notes about what is not in it.
    pub(super) fn finish(self, name: &str, of: &str) -> Result<(Trace, Vec<String>), TraceError> {
        // Rows may be older than the first one, and invocations than the trace.
        let begin = match self.from {
            Some(from) => from,
            None => self
                .tasks
                .iter()
                .map(|(at, _)| *at)
                .min()
                .unwrap_or(0)
                .min(0),
        };
        let tasks: Vec<Task> = self
            .tasks
            .iter()
            .map(|(at, takes)| Task {
                arrives: at.saturating_sub(begin).unsigned_abs(),
                takes: *takes,
            })
            .collect();
        if tasks.is_empty() {
            return Err(if self.seen {
                TraceError::NoneChosen
            } else {
                TraceError::Empty
            });
        }
        let mut notes = Vec::new();
        if self.sample > 1 {
            notes.push(format!("one task in {}, chosen at random", self.sample));
        }
        for (reason, count) in &self.left_out {
            notes.push(format!("left out: {count} {reason}"));
        }
        let about = format!("{} tasks from {of}", tasks.len());
        Ok((Trace::new(name, &about, tasks), notes))
    }
}
