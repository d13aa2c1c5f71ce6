//! Waits by hand, pictures, and identical numbers for identical seeds.

use taskqueue_simulation::scaler::{Fixed, TaskQueue};
use taskqueue_simulation::{Setup, Task, Trace, run, svg};

#[test]
fn a_fixed_fleet_delays_tasks_by_exactly_the_calculated_time() {
    let tasks = vec![
        Task {
            arrives: 1_000,
            takes: 2_000
        };
        5
    ];
    let setup = Setup {
        slots: 2,
        ..Setup::default()
    };
    let summary = run(&Trace::new("five", "", tasks), &setup, &mut Fixed::new(1)).summary;
    // Two at a time: they wait 0, 0, 2, 2 and 4 s.
    assert_eq!(
        (summary.p50, summary.p95, summary.max),
        (2_000, 4_000, 4_000)
    );
    // One worker runs for 301 s; the ideal is 10 s of work ÷ 2 slots.
    assert!((summary.cost - 301.0 / 5.0).abs() < 1e-9, "{summary:#?}");
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let scenario = taskqueue_simulation::standard().remove(6);
    let once = || {
        let setup = &scenario.setup;
        run(
            &scenario.trace,
            setup,
            &mut TaskQueue::new("ours", setup, TaskQueue::policy(setup)),
        )
    };
    assert_eq!(once(), once());
}

#[test]
fn a_run_is_drawn_as_svg() {
    let tasks = (0..30)
        .map(|task| Task {
            arrives: task * 100,
            takes: 4_000,
        })
        .collect();
    let trace = Trace {
        until: 40_000,
        ..Trace::new("burst", "", tasks)
    };
    let setup = Setup::default();
    let mut ours = TaskQueue::new("taskqueue-operator", &setup, TaskQueue::policy(&setup));
    insta::assert_snapshot!(
        "plot",
        svg("a <small> burst", &run(&trace, &setup, &mut ours))
    );
}
