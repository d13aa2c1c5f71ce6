//! The synthetic loads of the contest. Deterministic, no I/O.
//!
//! No load is a recording. Where shapes and figures come from published measurements, the source is
//! named in docs/contest.md. Each family occurs in every part with different parameters: constants
//! of the policy and settings of the rivals were chosen on [`Part::Chosen`], the results are those
//! on [`Part::Reported`], and on [`Part::Further`], which was written afterwards.

use std::f64::consts::PI;

use crate::rng::Rng;
use crate::time::Millis;
use crate::trace::{Task, millis, poisson};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// A part of the loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The loads on which settings are chosen.
    Chosen,
    /// The loads on which results are reported.
    Reported,
    /// Loads that were written when the policy was nearly done, with three more families.
    Further,
}

/// A family of traces: one per seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// A short name.
    pub name: &'static str,
    /// A one-line description.
    pub about: &'static str,
    /// Task slots of a worker.
    pub slots: u32,
    shape: Shape,
    service: Service,
}

/// How tasks arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// A constant rate per second.
    Steady(f64),
    /// A sine of one hour, from the first rate to the second.
    Day(f64, f64),
    /// A mean rate, distributed over the hour by a cascade with this bias: each half of each
    /// interval gets this share of its tasks, or the rest.
    Cascade(f64, f64),
    /// Two rates and the mean sojourn in each.
    Switch([f64; 2], [f64; 2]),
    /// A number of tasks at a fixed interval, in seconds.
    Timer(u32, f64),
    /// Groups per second, of a Pareto size with this index and at most this many tasks.
    FanOut(f64, f64, f64),
    /// A rate that rises to a multiple at minute 15 and fades.
    Flash(f64, f64),
    /// A rate that is multiplied or divided by up to this factor every four minutes.
    Walk(f64, f64),
}

/// How long tasks take, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Service {
    /// Exponential with this mean.
    Exponential(f64),
    /// Log-normal with this median, this sigma and this maximum.
    LogNormal(f64, f64, f64),
    /// Always the same.
    Constant(f64),
}

impl Service {
    fn draw(self, rng: &mut Rng) -> f64 {
        match self {
            Self::Exponential(mean) => rng.exponential(mean),
            Self::LogNormal(median, sigma, most) => {
                (median * (sigma * rng.normal()).exp()).clamp(0.001, most)
            }
            Self::Constant(takes) => takes,
        }
    }
}

impl Load {
    /// The tasks for this seed. The load grows from nothing over the first ten minutes, so that no
    /// result depends on how a policy takes a full load from a standing start.
    pub fn tasks(&self, seed: u64) -> Vec<Task> {
        let rng = &mut Rng::new(seed);
        let mut tasks = self.full(rng);
        tasks.retain(|task| rng.unit() * 600_000.0 <= task.arrives as f64);
        tasks
    }

    /// The tasks of this many hours at full load, each hour with arrivals of its own.
    pub(crate) fn for_hours(&self, hours: u32, seed: u64) -> Vec<Task> {
        let rng = &mut Rng::new(seed);
        let hour = |hour: u32| {
            let mut tasks = self.full(rng);
            for task in &mut tasks {
                task.arrives += millis(HOUR) * Millis::from(hour);
            }
            tasks
        };
        (0..hours).flat_map(hour).collect()
    }

    fn full(&self, rng: &mut Rng) -> Vec<Task> {
        let service = |rng: &mut Rng| self.service.draw(rng);
        match self.shape {
            Shape::Steady(rate) => poisson(rng, HOUR, rate, |_| rate, service),
            Shape::Day(low, high) => {
                let middle = f64::midpoint(low, high);
                let rate = |t: f64| middle + (high - middle) * (2.0 * PI * (t / HOUR - 0.25)).sin();
                poisson(rng, HOUR, high, rate, service)
            }
            Shape::Cascade(rate, bias) => cascade(rng, rate, bias, service),
            Shape::Switch(rates, sojourns) => switch(rng, rates, sojourns, service),
            Shape::Timer(tasks, every) => {
                let times = (HOUR / every) as u32;
                let batch = |index: u32| f64::from(index) * every + every / 2.0;
                groups((0..times).map(|index| (batch(index), tasks)), rng, service)
            }
            Shape::FanOut(rate, index, most) => {
                let mut starts = Vec::new();
                let mut at = rng.exponential(1.0 / rate);
                while at < HOUR {
                    let size = rng.unit().powf(-1.0 / index).min(most) as u32;
                    starts.push((at, size));
                    at += rng.exponential(1.0 / rate);
                }
                groups(starts.into_iter(), rng, service)
            }
            Shape::Flash(base, times) => {
                let start = 15.0 * MINUTE;
                let burst = move |t: f64| {
                    if t < start {
                        0.0
                    } else {
                        ((start - t) / 150.0).exp()
                    }
                };
                let rate = |t: f64| base * (1.0 + (times - 1.0) * burst(t));
                poisson(rng, HOUR, base * times, rate, service)
            }
            Shape::Walk(start, factor) => walk(rng, start, factor, service),
        }
    }
}

/// The b-model: the tasks of an interval are divided unevenly between its halves, down to cells of
/// 3.5 s.
fn cascade(rng: &mut Rng, rate: f64, bias: f64, service: impl FnMut(&mut Rng) -> f64) -> Vec<Task> {
    let mut rates = vec![rate];
    for _ in 0..10 {
        let mut halves = Vec::with_capacity(rates.len() * 2);
        for rate in rates {
            let first = if rng.unit() < 0.5 { bias } else { 1.0 - bias };
            halves.extend([rate * 2.0 * first, rate * 2.0 * (1.0 - first)]);
        }
        rates = halves;
    }
    let peak = rates.iter().copied().fold(0.0, f64::max);
    let cell = HOUR / rates.len() as f64;
    let at = |t: f64| rates.get((t / cell) as usize).copied().unwrap_or(0.0);
    poisson(rng, HOUR, peak, at, service)
}

fn switch(
    rng: &mut Rng,
    rates: [f64; 2],
    sojourns: [f64; 2],
    service: impl FnMut(&mut Rng) -> f64,
) -> Vec<Task> {
    let mut switches = vec![0.0];
    while let Some(last) = switches.last().copied().filter(|at| *at < HOUR) {
        let sojourn = sojourns[(switches.len() + 1) % 2];
        switches.push(last + rng.exponential(sojourn));
    }
    let state = |t: f64| switches.partition_point(|at| *at <= t) % 2;
    let rate = |t: f64| rates[1 - state(t)];
    poisson(rng, HOUR, rates[0].max(rates[1]), rate, service)
}

fn walk(rng: &mut Rng, start: f64, factor: f64, service: impl FnMut(&mut Rng) -> f64) -> Vec<Task> {
    let mut level = 0.0_f64;
    let levels: Vec<f64> = (0..15)
        .map(|_| {
            let step = (2.0 * rng.unit() - 1.0) * factor.ln();
            // Pulled back towards the start.
            level = level * 0.8 + step;
            start * level.exp()
        })
        .collect();
    let peak = levels.iter().copied().fold(0.0, f64::max);
    let at = |t: f64| levels.get((t / 240.0) as usize).copied().unwrap_or(start);
    poisson(rng, HOUR, peak, at, service)
}

/// Groups of tasks, 5 ms apart.
fn groups(
    starts: impl Iterator<Item = (f64, u32)>,
    rng: &mut Rng,
    mut service: impl FnMut(&mut Rng) -> f64,
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (start, size) in starts {
        tasks.extend((0..size).map(|task| Task {
            arrives: millis(start + f64::from(task) * 0.005),
            takes: millis(service(rng)),
        }));
    }
    tasks
}

/// The loads of one part.
pub fn loads(part: Part) -> Vec<Load> {
    match part {
        Part::Chosen => chosen(),
        Part::Reported => reported(),
        Part::Further => further(),
    }
}

fn load(
    name: &'static str,
    about: &'static str,
    slots: u32,
    shape: Shape,
    service: Service,
) -> Load {
    Load {
        name,
        about,
        slots,
        shape,
        service,
    }
}

/// The loads that constants and settings are chosen on.
fn chosen() -> Vec<Load> {
    use Service::{Constant, Exponential, LogNormal};
    use Shape::{Cascade, Day, FanOut, Flash, Steady, Switch, Timer, Walk};
    vec![
        load("even", "10/s of 1 s", 4, Steady(10.0), Exponential(1.0)),
        load(
            "even, long",
            "0.05/s of about 5 min",
            5,
            Steady(0.05),
            LogNormal(280.0, 0.3, 550.0),
        ),
        load(
            "day",
            "0.5 to 10/s of about 2 s",
            10,
            Day(0.5, 10.0),
            LogNormal(1.2, 1.0, 60.0),
        ),
        load(
            "chat",
            "5/s in a cascade of bias 0.55, about 6 s each",
            10,
            Cascade(5.0, 0.55),
            LogNormal(4.1, 0.75, 20.0),
        ),
        load(
            "code",
            "2.6/s in a cascade of bias 0.7, about 1.3 s each",
            4,
            Cascade(2.6, 0.7),
            LogNormal(0.86, 0.85, 15.0),
        ),
        load(
            "switch",
            "2 and 20/s of 1 s, 3 and 2 min at a time",
            10,
            Switch([2.0, 20.0], [180.0, 120.0]),
            Exponential(1.0),
        ),
        load(
            "timer",
            "40 tasks of 3 s every 5 min",
            10,
            Timer(40, 300.0),
            Constant(3.0),
        ),
        load(
            "fan-out",
            "groups of Pareto size (1.3), one in 10 s, about 2 s each",
            10,
            FanOut(0.1, 1.3, 300.0),
            Exponential(2.0),
        ),
        load(
            "flash",
            "1/s of 1 s, then 25 times as many",
            4,
            Flash(1.0, 25.0),
            Exponential(1.0),
        ),
        load(
            "functions",
            "3/s, log-normal with a median of 0.7 s and a sigma of 2.36",
            10,
            Steady(3.0),
            LogNormal(0.684, 2.36, 540.0),
        ),
        load(
            "walk",
            "about 15/s of 1 s, another level every 4 min",
            20,
            Walk(15.0, 2.5),
            Exponential(1.0),
        ),
    ]
}

/// The loads that figures are reported of.
fn reported() -> Vec<Load> {
    use Service::{Constant, Exponential, LogNormal};
    use Shape::{Cascade, Day, FanOut, Flash, Steady, Switch, Timer, Walk};
    vec![
        load("even", "40/s of 0.5 s", 10, Steady(40.0), Exponential(0.5)),
        load(
            "even, long",
            "0.3/s of about 2 min",
            10,
            Steady(0.3),
            LogNormal(110.0, 0.4, 400.0),
        ),
        load(
            "day",
            "2 to 30/s of about 0.8 s",
            5,
            Day(2.0, 30.0),
            LogNormal(0.5, 1.0, 30.0),
        ),
        load(
            "chat",
            "8/s in a cascade of bias 0.56, about 5 s each",
            20,
            Cascade(8.0, 0.56),
            LogNormal(3.5, 0.8, 25.0),
        ),
        load(
            "code",
            "4/s in a cascade of bias 0.68, about 1 s each",
            8,
            Cascade(4.0, 0.68),
            LogNormal(0.7, 0.85, 15.0),
        ),
        load(
            "switch",
            "0.5 and 12/s of 1.5 s, 2 and 1.5 min at a time",
            5,
            Switch([0.5, 12.0], [120.0, 90.0]),
            Exponential(1.5),
        ),
        load(
            "timer",
            "100 tasks of 2 s every 10 min",
            20,
            Timer(100, 600.0),
            Constant(2.0),
        ),
        load(
            "fan-out",
            "groups of Pareto size (1.5), one in 4 s, about 3 s each",
            8,
            FanOut(0.25, 1.5, 200.0),
            Exponential(3.0),
        ),
        load(
            "flash",
            "2/s of 1 s, then 15 times as many",
            8,
            Flash(2.0, 15.0),
            Exponential(1.0),
        ),
        load(
            "functions",
            "8/s, log-normal with a median of 0.7 s and a sigma of 2.36",
            20,
            Steady(8.0),
            LogNormal(0.684, 2.36, 300.0),
        ),
        load(
            "walk",
            "about 8/s of 2 s, another level every 4 min",
            5,
            Walk(8.0, 2.0),
            Exponential(2.0),
        ),
    ]
}

/// The loads that were written last.
fn further() -> Vec<Load> {
    use Service::{Constant, Exponential, LogNormal};
    use Shape::{Cascade, Day, FanOut, Flash, Steady, Switch, Timer, Walk};
    vec![
        load("even", "3/s of 4 s", 5, Steady(3.0), Exponential(4.0)),
        load(
            "even, long",
            "0.1/s of about 3.5 min",
            4,
            Steady(0.1),
            LogNormal(200.0, 0.35, 500.0),
        ),
        load(
            "day",
            "1 to 18/s of about 1.5 s",
            8,
            Day(1.0, 18.0),
            LogNormal(0.9, 1.0, 45.0),
        ),
        load(
            "chat",
            "3/s in a cascade of bias 0.57, about 6 s each",
            5,
            Cascade(3.0, 0.57),
            LogNormal(4.7, 0.7, 20.0),
        ),
        load(
            "code",
            "6/s in a cascade of bias 0.69, about 0.9 s each",
            16,
            Cascade(6.0, 0.69),
            LogNormal(0.6, 0.9, 15.0),
        ),
        load(
            "switch",
            "4 and 30/s of 0.5 s, 4 and 1 min at a time",
            10,
            Switch([4.0, 30.0], [240.0, 60.0]),
            Exponential(0.5),
        ),
        load(
            "timer",
            "250 tasks of 1 s every 15 min",
            10,
            Timer(250, 900.0),
            Constant(1.0),
        ),
        load(
            "fan-out",
            "groups of Pareto size (1.4), one in 6 s, about 1 s each",
            5,
            FanOut(0.17, 1.4, 250.0),
            Exponential(1.0),
        ),
        load(
            "flash",
            "4/s of 0.8 s, then 20 times as many",
            10,
            Flash(4.0, 20.0),
            Exponential(0.8),
        ),
        load(
            "functions",
            "5/s, log-normal with a median of 0.7 s and a sigma of 2.36",
            5,
            Steady(5.0),
            LogNormal(0.684, 2.36, 400.0),
        ),
        load(
            "walk",
            "about 25/s of 0.6 s, another level every 4 min",
            10,
            Walk(25.0, 3.0),
            Exponential(0.6),
        ),
        load(
            "rare",
            "a task of 10 s in 100 s",
            10,
            Steady(0.01),
            Exponential(10.0),
        ),
        load(
            "stages",
            "0.05 and 0.6/s of about 1 min, 5 and 3 min at a time",
            10,
            Switch([0.05, 0.6], [300.0, 200.0]),
            LogNormal(50.0, 0.6, 300.0),
        ),
        load(
            "batches",
            "groups of Pareto size (1.2), one in 50 s, about 45 s each",
            10,
            FanOut(0.02, 1.2, 100.0),
            LogNormal(40.0, 0.5, 200.0),
        ),
    ]
}
