//! A job every hour, with and without a forecast. Several loads over days and weeks are
//! `cargo run -p taskqueue-simulation --example forecast`.

use taskqueue_simulation::scaler::TaskQueue;
use taskqueue_simulation::{Millis, Outcome, Setup, Task, Trace, run};

const HOURS: u64 = 10;
const HOUR: Millis = 3_600_000;

/// 200 tasks of two seconds a quarter past every hour.
fn hourly() -> Trace {
    let batch = |hour: u64| {
        (0..200).map(move |task| Task {
            arrives: hour * HOUR + HOUR / 4 + task * 5,
            takes: 2_000,
        })
    };
    let about = "200 tasks of 2 s every hour";
    Trace::new("hourly", about, (0..HOURS).flat_map(batch).collect())
}

/// The late tasks of each hour with a forecast: two bursts come before any is expected.
const PREPARED: [usize; 10] = [200, 200, 0, 0, 0, 0, 0, 0, 0, 0];

fn setup() -> Setup {
    Setup {
        slots: 10,
        start_delay: 30_000,
        ..Setup::default()
    }
}

fn scaler(setup: &Setup) -> TaskQueue {
    TaskQueue::new("ours", setup, TaskQueue::policy(setup))
}

/// The tasks of each hour that waited longer than the target.
fn late(trace: &Trace, setup: &Setup, outcome: &Outcome) -> Vec<usize> {
    let of_hour = |hour: u64| {
        let tasks = trace.tasks.iter().zip(&outcome.waits);
        let tasks = tasks.filter(|(task, _)| task.arrives / HOUR == hour);
        tasks
            .filter(|(_, wait)| wait.is_none_or(|wait| wait > setup.target))
            .count()
    };
    (0..HOURS).map(of_hour).collect()
}

#[test]
fn a_burst_that_has_come_twice_finds_pods_that_are_ready() {
    let (trace, setup) = (hourly(), setup());
    let without = run(&trace, &setup, &mut scaler(&setup));
    assert_eq!(late(&trace, &setup, &without), [200; 10]);
    let with = run(&trace, &setup, &mut scaler(&setup).with_forecast());
    assert_eq!(late(&trace, &setup, &with), PREPARED);
    let (dear, cheap) = (with.summary.cost, without.summary.cost);
    assert!(dear <= cheap * 1.1, "{dear} against {cheap}");
}

#[test]
fn a_restart_between_two_bursts_forgets_none() {
    let (mut trace, setup) = (hourly(), setup());
    trace.restarts = vec![5 * HOUR + HOUR / 2];
    let outcome = run(&trace, &setup, &mut scaler(&setup).with_forecast());
    assert_eq!(late(&trace, &setup, &outcome), PREPARED);
}

#[test]
fn a_forecast_changes_nothing_if_tasks_may_wait_for_pods_to_start() {
    let trace = hourly();
    let setup = Setup {
        target: 90_000,
        ..setup()
    };
    let (mut with, mut without) = (scaler(&setup).with_forecast(), scaler(&setup));
    let outcomes = [
        run(&trace, &setup, &mut with),
        run(&trace, &setup, &mut without),
    ];
    assert_eq!(with.changes(), without.changes());
    let [with, without] = outcomes;
    assert_eq!(with.waits, without.waits);
}
