//! The standard traces and the setups that they run in. Deterministic, no I/O.

use std::f64::consts::PI;

use crate::rng::Rng;
use crate::trace::{Setup, Task, Trace, millis, poisson};

/// A trace and the setup that it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The trace.
    pub trace: Trace,
    /// The setup.
    pub setup: Setup,
}

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;

/// The standard traces, in [`Setup::default`].
pub fn standard() -> Vec<Scenario> {
    let traces = [
        steady(),
        ramp(),
        diurnal(),
        flash("flash x30", 14, 1.0, 30.0),
        flash("flash x150", 15, 0.5, 150.0),
        mmpp(),
        cron(),
        long_tasks(),
        heavy_tail("heavy tail", 600.0),
        heavy_tail("beyond the grace", 1800.0),
        outage(),
        rate_limit(),
        restart(),
    ];
    let setup = Setup::default();
    traces
        .map(|trace| Scenario {
            trace,
            setup: setup.clone(),
        })
        .into()
}

/// Exponential service times with a mean of one second.
fn second(rng: &mut Rng) -> f64 {
    rng.exponential(1.0)
}

fn steady() -> Trace {
    let tasks = poisson(&mut Rng::new(11), 30.0 * MINUTE, 10.0, |_| 10.0, second);
    Trace::new("steady", "10 tasks/s of 1 s for 30 min", tasks)
}

fn ramp() -> Trace {
    let rate = |t: f64| 1.0 + 39.0 * (1.0 - (t / MINUTE - 20.0).abs() / 20.0);
    let tasks = poisson(&mut Rng::new(12), 40.0 * MINUTE, 40.0, rate, second);
    Trace::new(
        "ramp",
        "1 to 40 tasks/s and back within 40 min, tasks of 1 s",
        tasks,
    )
}

fn diurnal() -> Trace {
    let rate = |t: f64| 8.0 * (1.0 + 0.9 * (2.0 * PI * (t / HOUR - 0.25)).sin());
    let tasks = poisson(&mut Rng::new(13), 2.0 * HOUR, 16.0, rate, second);
    Trace::new(
        "diurnal",
        "two days of one hour each, 0.8 to 15 tasks/s, tasks of 1 s",
        tasks,
    )
}

/// A quiet queue whose load suddenly rises to a multiple, then fades.
fn flash(name: &str, seed: u64, base: f64, times: f64) -> Trace {
    let start = 10.0 * MINUTE;
    let burst = |t: f64| {
        if t < start {
            0.0
        } else {
            (-(t - start) / 100.0).exp()
        }
    };
    let rate = |t: f64| base * (1.0 + (times - 1.0) * burst(t));
    let tasks = poisson(
        &mut Rng::new(seed),
        30.0 * MINUTE,
        base * times,
        rate,
        second,
    );
    let about =
        format!("{base} tasks/s of 1 s, then {times} times as many at once, fading over 5 min");
    Trace::new(name, &about, tasks)
}

/// A Markov-modulated Poisson process of two states.
fn mmpp() -> Trace {
    let mut rng = Rng::new(16);
    let mut switches = vec![0.0];
    while let Some(last) = switches.last().copied().filter(|at| *at < HOUR) {
        switches.push(last + rng.exponential(MINUTE));
    }
    let busy = |t: f64| {
        switches
            .iter()
            .filter(|at| **at <= t)
            .count()
            .is_multiple_of(2)
    };
    let rate = |t: f64| if busy(t) { 20.0 } else { 0.5 };
    let tasks = poisson(&mut rng, HOUR, 20.0, rate, second);
    let about = "switches between 0.5 and 20 tasks/s of 1 s, about once a minute";
    Trace::new("mmpp", about, tasks)
}

/// Bursts at the same time of every ten minutes.
fn cron() -> Trace {
    let burst = |index: u32| {
        (0..20).map(move |task: u32| Task {
            arrives: millis(f64::from(index + 1) * 10.0 * MINUTE + f64::from(task) * 0.01),
            takes: 5_000,
        })
    };
    Trace::new(
        "cron",
        "20 tasks of 5 s every 10 min",
        (0..12).flat_map(burst).collect(),
    )
}

fn long_tasks() -> Trace {
    let service = |rng: &mut Rng| (300.0 + 30.0 * rng.normal()).max(60.0);
    let tasks = poisson(&mut Rng::new(18), 4.0 * HOUR, 0.02, |_| 0.02, service);
    Trace::new("long tasks", "0.02 tasks/s of about 300 s for 4 h", tasks)
}

fn heavy_tail(name: &str, longest: f64) -> Trace {
    let service = |rng: &mut Rng| (-0.38 + 2.36 * rng.normal()).exp().clamp(0.001, longest);
    let tasks = poisson(&mut Rng::new(19), HOUR, 2.0, |_| 2.0, service);
    let about = format!(
        "2 tasks/s, log-normal service times: median 0.7 s, 1 in 100 over 3 min, up to {} min",
        longest / MINUTE
    );
    Trace::new(name, &about, tasks)
}

fn outage() -> Trace {
    let rate = |t: f64| if t < 20.0 * MINUTE { 20.0 } else { 8.0 };
    let tasks = poisson(&mut Rng::new(20), 40.0 * MINUTE, 20.0, rate, second);
    let about = "20, then 8 tasks/s of 1 s; Temporal answers no reads from minute 15 to 30";
    let outages = vec![(15 * 60_000, 30 * 60_000)];
    Trace {
        outages,
        ..Trace::new("outage", about, tasks)
    }
}

fn rate_limit() -> Trace {
    let rate = |t: f64| if t < 10.0 * MINUTE { 10.0 } else { 2.0 };
    let tasks = poisson(&mut Rng::new(21), 40.0 * MINUTE, 10.0, rate, second);
    let about = "10, then 2 tasks/s of 1 s on a queue limited to 5/s";
    Trace {
        limit_milli: Some(5_000),
        ..Trace::new("rate limit", about, tasks)
    }
}

fn restart() -> Trace {
    let tasks = poisson(&mut Rng::new(22), 30.0 * MINUTE, 20.0, |_| 20.0, second);
    let about = "20 tasks/s of 1 s; the autoscaler restarts at minute 15";
    Trace {
        restarts: vec![15 * 60_000],
        ..Trace::new("restart", about, tasks)
    }
}
