//! Undoes a moving average: from the rates over a window, which every reading repeats in part, to
//! the tasks in short cells of time. Pure.
//!
//! The method is that of Richardson and Lucy: start from a smooth guess, compare the rates that it
//! would give with the recorded ones, and correct each cell by the mean ratio of the windows that
//! see it. Counts stay positive, and a rate that does not change is reproduced exactly. What is
//! known otherwise, such as a backlog that has grown, is a floor that each round keeps.

/// The window of Temporal's rates, in milliseconds: six buckets of 5 s, of which the last one is
/// half full on average.
pub(super) const WINDOW: i64 = 27_500;
/// The longest cell, in milliseconds. Bursts are not resolved below.
const CELL: i64 = 2_500;
/// The most cells between two readings.
const MOST_CELLS: i64 = 1_000;
/// After this many rounds the counts hardly change.
const ROUNDS: usize = 100;

/// Fewer tasks than this are none.
pub(super) const LEAST: f64 = 1e-6;

/// What is known of the tasks between a reading and the one before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Floor {
    /// At least this many ...
    pub(super) tasks: f64,
    /// ... come after this time.
    pub(super) since: i64,
}

/// Cells of time between readings, with one window before the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cells {
    /// Cell `i` reaches from after `bounds[i]` up to `bounds[i + 1]`.
    bounds: Vec<i64>,
    /// The number of cells before each reading.
    ends: Vec<usize>,
}

impl Cells {
    /// The cells between readings at these times, each later than the one before.
    pub(super) fn new(times: &[i64]) -> Self {
        let first = times.first().copied().unwrap_or(0);
        let mut begin = first - WINDOW;
        let mut cells = Self {
            bounds: vec![begin],
            ends: Vec::new(),
        };
        for end in times.iter().copied() {
            let length = (end - begin).max(1);
            let count = (length / CELL + i64::from(length % CELL > 0)).min(MOST_CELLS);
            for part in 1..count {
                cells.bounds.push(begin + (end - begin) * part / count);
            }
            cells.bounds.push(end);
            cells.ends.push(cells.bounds.len() - 1);
            begin = end;
        }
        cells
    }

    pub(super) fn len(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The beginning and the end of a cell.
    pub(super) fn bounds(&self, cell: usize) -> (i64, i64) {
        (self.bounds[cell], self.bounds[cell + 1])
    }

    /// The first cell after the first reading.
    pub(super) fn begin(&self) -> usize {
        self.ends.first().copied().unwrap_or(0)
    }

    /// The cells between a reading, counted from 1, and the one before it.
    pub(super) fn before(&self, reading: usize) -> std::ops::Range<usize> {
        self.ends[reading - 1]..self.ends[reading]
    }

    /// The share of a cell that is after `time`.
    pub(super) fn share_after(&self, cell: usize, time: i64) -> f64 {
        let (begin, end) = self.bounds(cell);
        ((end - time.clamp(begin, end)) as f64) / ((end - begin).max(1) as f64)
    }

    fn seconds(&self, cell: usize) -> f64 {
        let (begin, end) = self.bounds(cell);
        (end - begin) as f64 / 1000.0
    }

    /// The cells that the window of a reading sees, and how much of the first one.
    fn window(&self, reading: usize) -> (std::ops::Range<usize>, f64) {
        let end = self.ends[reading];
        let start = self.bounds[end] - WINDOW;
        let first = self.bounds.partition_point(|bound| *bound <= start).max(1) - 1;
        (first..end, self.share_after(first, start))
    }

    fn seen(&self, reading: usize, tasks: &[f64]) -> f64 {
        let (cells, first) = self.window(reading);
        let all: f64 = tasks[cells.clone()].iter().sum();
        all - (1.0 - first) * tasks[cells.start]
    }

    /// Adds a value to each cell that the window of a reading sees, by the seen share.
    fn share(&self, reading: usize, value: f64, sums: &mut [f64]) {
        let (cells, first) = self.window(reading);
        for sum in &mut sums[cells.clone()] {
            *sum += value;
        }
        sums[cells.start] -= (1.0 - first) * value;
    }

    /// The tasks of each cell, from the rate at each reading in tasks per second. `floors` has one
    /// entry for each reading, of which the first does not count.
    pub(super) fn undo(&self, rates: &[Option<f64>], floors: &[Floor]) -> Vec<f64> {
        let known = || {
            let rates = rates.iter().enumerate();
            rates.filter_map(|(reading, rate)| Some((reading, (*rate)?)))
        };
        let wanted: Vec<(usize, f64)> = known()
            .map(|(reading, rate)| (reading, rate * WINDOW as f64 / 1000.0))
            .collect();
        let mut weights = vec![0.0; self.len()];
        let mut tasks = vec![0.0; self.len()];
        for (reading, wanted) in &wanted {
            self.share(*reading, 1.0, &mut weights);
            self.share(*reading, *wanted, &mut tasks);
        }
        for (cell, (tasks, weight)) in tasks.iter_mut().zip(&weights).enumerate() {
            let mean = if *weight > 0.0 { *tasks / weight } else { 0.0 };
            *tasks = mean.max(0.0) * self.seconds(cell) * 1000.0 / WINDOW as f64;
        }
        // Between readings that are further apart than the window, nobody looked.
        for (reading, rate) in known().filter(|(reading, _)| *reading > 0) {
            let unseen = self.before(reading).filter(|cell| weights[*cell] <= 0.0);
            for cell in unseen {
                tasks[cell] = rate * self.seconds(cell);
            }
        }
        self.raise(floors, &mut tasks);
        for _ in 0..ROUNDS {
            let mut factors = vec![0.0; self.len()];
            for (reading, wanted) in &wanted {
                let seen = self.seen(*reading, &tasks);
                let ratio = if seen > LEAST { wanted / seen } else { 0.0 };
                self.share(*reading, ratio, &mut factors);
            }
            let corrections = factors.iter().zip(&weights);
            for (tasks, (factor, weight)) in tasks.iter_mut().zip(corrections) {
                if *weight > 0.0 {
                    *tasks *= (factor / weight).max(0.0);
                }
            }
            self.raise(floors, &mut tasks);
        }
        tasks
    }

    /// Raises the tasks before each reading to its floor.
    fn raise(&self, floors: &[Floor], tasks: &mut [f64]) {
        for (reading, floor) in floors.iter().enumerate().skip(1) {
            let cells = self.before(reading);
            let within = cells.filter(|cell| self.bounds(*cell).1 > floor.since);
            let present: f64 = within.clone().map(|cell| tasks[cell]).sum();
            if present >= floor.tasks {
                continue;
            }
            let length = |cell| self.share_after(cell, floor.since) * self.seconds(cell);
            let all: f64 = within.clone().map(length).sum();
            for cell in within {
                tasks[cell] = if present > LEAST {
                    tasks[cell] * (floor.tasks / present)
                } else {
                    floor.tasks * length(cell) / all
                };
            }
        }
    }
}
