//! Workers that are limited by something else than their slots.

use std::fmt::Write as _;
use std::time::Duration;

use taskqueue_simulation::scaler::TaskQueue;
use taskqueue_simulation::{Scenario, run, throttled};

/// One row of the table, and the tasks that were left.
fn row(scenario: &Scenario) -> (String, u32) {
    let Scenario { trace, setup } = scenario;
    let mut ours = TaskQueue::new("ours", setup, TaskQueue::policy(setup));
    let outcome = run(trace, setup, &mut ours);
    let summary = &outcome.summary;
    let last = trace.tasks.last().map_or(0, |task| task.arrives);
    let during = outcome.timeline.iter().filter(|point| point.at <= last);
    let (sum, points) = during.fold((0_u64, 0_u64), |(sum, points), point| {
        (sum + u64::from(point.requested), points + 1)
    });
    let backlog = outcome.timeline.iter().map(|point| point.backlog).max();
    let seconds = |millis| Duration::from_millis(millis).as_secs_f64();
    // In tenths.
    let mean = sum * 10 / points.max(1);
    let row = format!(
        "{:<24}{:>8.1}{:>8.1}{:>7.1}{:>9}{:>6}.{}{:>6}{:>6}",
        trace.name,
        seconds(summary.p50),
        seconds(summary.p99),
        f64::from(summary.late_permille) / 10.0,
        backlog.unwrap_or(0),
        mean / 10,
        mean % 10,
        summary.peak,
        summary.reversals,
    );
    (row, summary.unfinished)
}

#[test]
fn workers_with_free_slots_are_as_many_as_the_arrivals_need() {
    let mut table =
        "workers                    p50 s   p99 s  late %  backlog    mean  peak flips\n"
            .to_owned();
    for scenario in throttled() {
        let (row, unfinished) = row(&scenario);
        _ = writeln!(table, "{row}");
        assert_eq!(unfinished, 0, "{row}");
    }
    insta::assert_snapshot!("throttled", table);
}
