//! Traces whose workers are limited by something else than their slots. Deterministic, no I/O.

use std::f64::consts::PI;

use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::trace::{Setup, Throttle, Trace, poisson};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// Traces on workers that are limited by something else than their 1,000 slots. Contains none of
/// the [`standard`](crate::standard) traces.
pub fn throttled() -> Vec<Scenario> {
    let limited_by = |throttle| Setup {
        slots: 1000,
        throttle: Some(throttle),
        ..Setup::default()
    };
    let worker = limited_by(Throttle::Worker(8_000));
    let rare = Setup {
        heartbeat: 60_000,
        ..worker.clone()
    };
    let slow = Setup {
        start_delay: 30_000,
        ..worker.clone()
    };
    let all = limited_by(Throttle::All(20_000));
    let steady = |name| load(name, "40 tasks/s of 0.1 s", |_| 40.0);
    let restarted = Trace {
        restarts: vec![1_800_000],
        ..steady("each 8/s, restart")
    };
    let wave = |t: f64| 40.0 - 35.0 * (2.0 * PI * t / (30.0 * MINUTE)).cos();
    let about = "5 to 75 tasks/s of 0.1 s in waves of 30 min";
    let wave = load("each 8/s, wave", about, wave);
    let falls = |t: f64| if t < 20.0 * MINUTE { 40.0 } else { 5.0 };
    let falls = load("all 20/s", "40, after 20 min 5 tasks/s of 0.1 s", falls);
    let of = |trace: Trace, setup: &Setup| Scenario {
        trace,
        setup: setup.clone(),
    };
    vec![
        of(steady("each 8/s"), &worker),
        of(steady("each 8/s, beat 60 s"), &rare),
        of(steady("each 8/s, start-up 30 s"), &slow),
        of(restarted, &worker),
        of(wave, &worker),
        of(falls, &all),
    ]
}

/// An hour of tasks at up to 75 per second.
fn load(name: &str, about: &str, rate: impl Fn(f64) -> f64) -> Trace {
    let service = |rng: &mut Rng| rng.exponential(0.1);
    let tasks = poisson(&mut Rng::new(41), HOUR, 75.0, rate, service);
    Trace::new(name, about, tasks)
}
