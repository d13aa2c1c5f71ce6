//! Traces of short and long tasks on one queue, and setups that give a policy little information.
//! Deterministic, no I/O.

use std::f64::consts::PI;

use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::trace::{Setup, Task, Trace, millis, poisson};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// Traces on which a policy can lose tasks, each in a setup of its own. Contains none of the
/// [`standard`](crate::standard) traces.
pub fn mixed() -> Vec<Scenario> {
    let ten = Setup {
        slots: 10,
        ..Setup::default()
    };
    let at = |heartbeat, setup: &Setup| Setup {
        heartbeat,
        ..setup.clone()
    };
    let of = |trace: Trace, setup: &Setup| Scenario {
        trace,
        setup: setup.clone(),
    };
    let few = Setup {
        max: 10,
        ..ten.clone()
    };
    let hundred = Setup {
        slots: 100,
        ..Setup::default()
    };
    let twenty = Setup {
        slots: 20,
        ..Setup::default()
    };
    let unbounded = Setup {
        bounded: false,
        ..ten.clone()
    };
    let slow_start = Setup {
        start_delay: 30_000,
        ..Setup::default()
    };
    vec![
        of(short_then_long(), &few),
        of(batches(), &ten),
        of(one_in_a_hundred("1 in 100 long"), &ten),
        of(one_in_a_thousand("1 in 1000 long"), &ten),
        of(hidden(), &twenty),
        of(restarts(), &ten),
        of(one_in_a_hundred("1 in 100, beat 60 s"), &at(60_000, &ten)),
        of(one_in_a_thousand("1 in 1000, beat 60 s"), &at(60_000, &ten)),
        of(shrinks("shrinks", 20.0, None), &hundred),
        of(
            shrinks("shrinks, one of 6 min", 20.0, Some(360_000)),
            &hundred,
        ),
        of(shrinks("shrinks far", 6.0, None), &hundred),
        of(busy_and_short(), &twenty),
        of(rounds("resource-based"), &unbounded),
        of(rises("start-up of 30 s"), &slow_start),
    ]
}

/// A batch of tasks, 5 ms apart from `start` (seconds), that take `takes` milliseconds each.
fn batch(start: f64, tasks: u32, takes: u64) -> impl Iterator<Item = Task> {
    (0..tasks).map(move |task| Task {
        arrives: millis(start + f64::from(task) * 0.005),
        takes,
    })
}

fn short_then_long() -> Trace {
    let round = |round: u32| {
        let start = MINUTE + f64::from(round) * 30.0 * MINUTE;
        batch(start, 400, 200).chain(batch(start + 20.0, 12, 700_000))
    };
    Trace::new(
        "short, then long",
        "400 tasks of 0.2 s, 20 s later 12 of 700 s, every 30 min; at most 10 pods",
        (0..4).flat_map(round).collect(),
    )
}

fn batches() -> Trace {
    let mut rng = Rng::new(31);
    let mut round = |round: u32| {
        let start = MINUTE + f64::from(round) * 10.0 * MINUTE;
        let long = if round % 2 == 1 { 6 } else { 0 };
        let takes = 1000 * (300 + rng.below(900) as u64);
        batch(start, 120, 2_000)
            .chain(batch(start + 1.0, long, takes))
            .collect::<Vec<Task>>()
    };
    Trace::new(
        "batches",
        "120 tasks of 2 s every 10 min, every other time with 6 of 5 to 20 min",
        (0..18).flat_map(&mut round).collect(),
    )
}

/// Load that falls to a tenth and rises again every 40 minutes.
fn wave(t: f64) -> f64 {
    0.55 + 0.45 * (2.0 * PI * (t / (40.0 * MINUTE) - 0.25)).sin()
}

/// 5 to 20 minutes for one task in `one_in`, exponential with mean `short` (seconds) for the
/// others.
fn mix(one_in: usize, short: f64) -> impl Fn(&mut Rng) -> f64 {
    move |rng| {
        if rng.below(one_in) == 0 {
            (5.0 + 15.0 * rng.unit()) * MINUTE
        } else {
            rng.exponential(short)
        }
    }
}

fn one_in_a_hundred(name: &str) -> Trace {
    let rate = |t: f64| 10.0 * wave(t);
    let tasks = poisson(&mut Rng::new(32), 3.0 * HOUR, 10.0, rate, mix(100, 0.2));
    let about = "1 to 10 tasks/s of 0.2 s in waves of 40 min, 1 in 100 of 5 to 20 min";
    Trace::new(name, about, tasks)
}

fn one_in_a_thousand(name: &str) -> Trace {
    let rate = |t: f64| 40.0 * wave(t);
    let tasks = poisson(&mut Rng::new(33), 3.0 * HOUR, 40.0, rate, mix(1000, 1.0));
    let about = "4 to 40 tasks/s of 1 s in waves of 40 min, 1 in 1000 of 5 to 20 min";
    Trace::new(name, about, tasks)
}

fn hidden() -> Trace {
    let rate = |t: f64| 20.0 * wave(t);
    let tasks = poisson(&mut Rng::new(34), 3.0 * HOUR, 20.0, rate, mix(3000, 10.0));
    let about = "2 to 20 tasks/s of 10 s in waves of 40 min, 1 in 3000 of 5 to 20 min";
    Trace::new("1 in 3000 long", about, tasks)
}

fn restarts() -> Trace {
    // In the middle of a fall, at the top, and at the bottom.
    let at = |minutes: u64| minutes * 60_000;
    Trace {
        restarts: vec![at(32), at(60), at(80), at(110)],
        about: "1 in 100 long; the autoscaler restarts at minutes 32, 60, 80 and 110".to_owned(),
        ..one_in_a_hundred("restarts in a mix")
    }
}

fn shrinks(name: &str, to: f64, long: Option<u64>) -> Trace {
    let rate = |t: f64| if t < 10.0 * MINUTE { 80.0 } else { to };
    let service = |rng: &mut Rng| rng.exponential(10.0);
    let mut tasks = poisson(&mut Rng::new(35), 40.0 * MINUTE, 80.0, rate, service);
    tasks.extend(long.map(|takes| Task {
        arrives: 120_000,
        takes,
    }));
    let about = if long.is_some() {
        "the same with one task of 6 min at minute 2".to_owned()
    } else {
        format!("80, after 10 min {to} tasks/s of 10 s")
    };
    Trace::new(name, &about, tasks)
}

fn busy_and_short() -> Trace {
    let rate = |t: f64| 100.0 * wave(t * 2.0);
    let service = |rng: &mut Rng| rng.exponential(1.0);
    let tasks = poisson(&mut Rng::new(37), HOUR, 100.0, rate, service);
    let about = "10 to 100 tasks/s of 1 s in waves of 20 min";
    Trace::new("busy and short", about, tasks)
}

fn rounds(name: &str) -> Trace {
    let round = |round: u32| {
        let start = MINUTE + f64::from(round) * 15.0 * MINUTE;
        (0..5).flat_map(move |part| batch(start + f64::from(part) * 30.0, 60, 20_000))
    };
    let about =
        "five times 60 tasks of 20 s, 30 s apart, every 15 min; workers report no slot limit";
    Trace::new(name, about, (0..4).flat_map(round).collect())
}

fn rises(name: &str) -> Trace {
    let rate = |t: f64| if t < 10.0 * MINUTE { 1.0 } else { 10.0 };
    let service = |rng: &mut Rng| rng.exponential(1.0);
    let tasks = poisson(&mut Rng::new(36), 30.0 * MINUTE, 10.0, rate, service);
    let about = "1, after 10 min 10 tasks/s of 1 s; a pod takes 30 s to start";
    Trace::new(name, about, tasks)
}
