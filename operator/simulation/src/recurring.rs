//! Loads that recur over days and weeks, and two that do not, with and without a forecast.
//! Deterministic, no I/O.

use crate::contest::{Part, loads};
use crate::engine::{Outcome, run};
use crate::report::Summary;
use crate::rng::Rng;
use crate::scaler::TaskQueue;
use crate::time::Millis;
use crate::trace::{Setup, Task, Trace, millis, poisson};

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// A load over days or weeks, from a Monday at 00:00.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurring {
    /// Its tasks.
    pub trace: Trace,
    /// Task slots of a worker.
    pub slots: u32,
}

/// The loads.
pub fn recurring() -> Vec<Recurring> {
    let timer = |part, name, about| contest(part, "timer", name, about, 3);
    vec![
        timer(
            Part::Chosen,
            "every 5 min",
            "40 tasks of 3 s every 5 min, 3 days",
        ),
        timer(
            Part::Reported,
            "every 10 min",
            "100 tasks of 2 s every 10 min, 3 days",
        ),
        batches(
            "hourly",
            "200 tasks of 2 s every hour, 3 days",
            HOUR,
            72,
            0.0,
            (200, 2.0),
        ),
        batches(
            "nightly",
            "300 tasks of 10 s every day at 02:30, 14 days",
            DAY,
            14,
            2.5 * HOUR,
            (300, 10.0),
        ),
        batches(
            "weekly",
            "300 tasks of 10 s every Monday at 08:00, 8 weeks",
            7.0 * DAY,
            8,
            8.0 * HOUR,
            (300, 10.0),
        ),
        office(),
        contest(
            Part::Reported,
            "fan-out",
            "fan-out",
            "groups of Pareto size (1.5), one in 4 s, about 3 s each, 3 days",
            3,
        ),
        rare(),
    ]
}

fn new(name: &str, about: &str, slots: u32, tasks: Vec<Task>) -> Recurring {
    Recurring {
        trace: Trace::new(name, about, tasks),
        slots,
    }
}

/// A load of the contest, again and again.
fn contest(part: Part, load: &str, name: &str, about: &str, days: u32) -> Recurring {
    let mut loads = loads(part).into_iter();
    let load = loads.find(|known| known.name == load);
    let slots = load.as_ref().map_or(1, |load| load.slots);
    let tasks = load.map_or_else(Vec::new, |load| load.for_hours(24 * days, 1));
    new(name, about, slots, tasks)
}

/// That many tasks of that many seconds, once in each period, this long after it began.
fn batches(
    name: &str,
    about: &str,
    period: f64,
    periods: u32,
    offset: f64,
    (tasks, takes): (u32, f64),
) -> Recurring {
    let batch = |index: u32| {
        let start = f64::from(index) * period + offset;
        (0..tasks).map(move |task| Task {
            arrives: millis(start + f64::from(task) * 0.005),
            takes: millis(takes),
        })
    };
    new(name, about, 10, (0..periods).flat_map(batch).collect())
}

/// A load that is there from nine to five on working days.
fn office() -> Recurring {
    let works = |t: f64| {
        let (day, hour) = ((t / DAY) as u32 % 7, t % DAY / HOUR);
        day < 5 && (9.0..17.0).contains(&hour)
    };
    let rate = |t: f64| if works(t) { 1.0 } else { 0.0 };
    let tasks = poisson(&mut Rng::new(31), 28.0 * DAY, 1.0, rate, |rng| {
        rng.exponential(10.0)
    });
    let about = "1/s of 10 s from 09:00 to 17:00, Monday to Friday, 4 weeks";
    new("office", about, 4, tasks)
}

/// Few tasks, at any time.
fn rare() -> Recurring {
    let rate = 1.0 / (HOUR / 3.0);
    let tasks = poisson(&mut Rng::new(32), 14.0 * DAY, rate, |_| rate, |_| 5.0);
    new("rare", "a task of 5 s once in 20 min, 14 days", 10, tasks)
}

/// The results of one policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The numbers over the whole trace.
    pub summary: Summary,
    /// Tasks of the second half of the trace that waited longer than the target, in thousandths.
    pub late_permille: u32,
}

impl Recurring {
    /// The results without and with a forecast.
    pub fn compare(&self, start_up: Millis, target: Millis) -> [Results; 2] {
        let setup = Setup {
            slots: self.slots,
            start_delay: start_up,
            target,
            ..Setup::default()
        };
        let plain = TaskQueue::new("without", &setup, TaskQueue::policy(&setup));
        let with = TaskQueue::new("with", &setup, TaskQueue::policy(&setup)).with_forecast();
        [plain, with].map(|mut scaler| self.results(&run(&self.trace, &setup, &mut scaler), target))
    }

    fn results(&self, outcome: &Outcome, target: Millis) -> Results {
        let tasks = self.trace.tasks.iter().zip(&outcome.waits);
        let later = tasks.filter(|(task, _)| task.arrives >= self.trace.until / 2);
        let waits: Vec<Option<Millis>> = later.map(|(_, wait)| *wait).collect();
        let late = waits
            .iter()
            .filter(|wait| wait.is_none_or(|wait| wait > target));
        Results {
            summary: outcome.summary.clone(),
            late_permille: (late.count() * 1000 / waits.len().max(1)) as u32,
        }
    }

    /// A line with the results for the table.
    pub fn line(&self, start_up: Millis, target: Millis) -> String {
        let percent = |permille: u32| f64::from(permille) / 10.0;
        let [without, with] = self.compare(start_up, target);
        let (all, later) = (without.summary.late_permille, without.late_permille);
        let (cost, with_cost) = (without.summary.cost, with.summary.cost);
        format!(
            "{:<13}{:>7} s{:>6} s{:>11.1}{:>7.1}{:>11.1}{:>7.1}{:>11.2}{:>8.2}{:>8.2}",
            self.trace.name,
            start_up / 1000,
            target / 1000,
            percent(all),
            percent(with.summary.late_permille),
            percent(later),
            percent(with.late_permille),
            cost,
            with_cost,
            with_cost / cost,
        )
    }
}

/// The heading of the table.
pub fn heading() -> String {
    let (without, with) = ("without", "with");
    format!(
        "{:40}{:>8}{:>27}{:>14}\n{:<13}{:>9}{:>8}{without:>11}{with:>7}{without:>11}{with:>7}\
         {without:>11}{with:>8}{:>8}",
        "", "late %", "late %, 2nd half", "cost", "load", "start-up", "target", "ratio",
    )
}
