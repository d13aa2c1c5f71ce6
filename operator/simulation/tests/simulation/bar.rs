//! The bar: one test per standard trace, and the same with other seeds and targets.

use taskqueue_simulation::scaler::TaskQueue;
use taskqueue_simulation::{Millis, Scenario, Setup, Summary, compare, run, standard};

fn scenario(name: &str) -> Scenario {
    let mut all = standard().into_iter();
    all.find(|scenario| scenario.trace.name == name)
        .expect("a standard trace of this name")
}

/// The limit for the 99th percentile of the wait: one and a half times the target, plus the start
/// of a pod if every burst finds the fleet at zero.
fn allowed(trace: &str, setup: &Setup) -> Millis {
    let start = if trace == "cron" {
        setup.start_delay
    } else {
        0
    };
    setup.target * 3 / 2 + start
}

/// Asserts what our policy must achieve on a trace, whatever the seed.
fn assert_bar(trace: &str, setup: &Setup, ours: &Summary) {
    assert_eq!(ours.unfinished, 0, "{ours:#?}");
    // Only a task that takes longer than the grace can be cut off, and even that is rare.
    let cut = if trace == "beyond the grace" { 2 } else { 0 };
    assert!(ours.cut.known == 0 && ours.cut.total() <= cut, "{ours:#?}");
    // No fleet makes a queue faster than its rate limit.
    if trace != "rate limit" {
        assert!(ours.p99 <= allowed(trace, setup), "{ours:#?}");
    }
}

fn holds_on(name: &str) {
    let scenario = scenario(name);
    let compared = compare(&scenario);
    let text = format!("{}: {}\n\n{}", name, scenario.trace.about, compared.table());
    insta::assert_snapshot!(name.replace(' ', "_"), text);
    assert_bar(name, &scenario.setup, &compared.ours.summary);
    // A fixed fleet of the right size is a bound: nobody knows that size in advance.
    let ahead: Vec<&str> = compared
        .ahead()
        .iter()
        .map(|row| row.policy.as_str())
        .filter(|policy| !policy.starts_with("fixed"))
        .collect();
    assert_eq!(ahead, Vec::<&str>::new());
    if name == "rate limit" {
        let others = compared.others.iter().map(|other| other.summary.p99);
        let best = others.min().expect("other policies");
        assert!(
            compared.ours.summary.p99 * 100 <= best * 105,
            "{}",
            compared.table()
        );
    }
}

macro_rules! bar {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                holds_on($name);
            }
        )*

        #[test]
        fn every_standard_trace_has_a_test() {
            let names: Vec<String> =
                standard().into_iter().map(|scenario| scenario.trace.name).collect();
            assert_eq!(names, [$($name),*]);
        }
    };
}

bar! {
    the_bar_holds_on_a_steady_load: "steady",
    the_bar_holds_on_a_ramp: "ramp",
    the_bar_holds_on_days_and_nights: "diurnal",
    the_bar_holds_on_a_flash_of_30_times: "flash x30",
    the_bar_holds_on_a_flash_of_150_times: "flash x150",
    the_bar_holds_on_a_load_that_switches: "mmpp",
    the_bar_holds_on_bursts_from_zero: "cron",
    the_bar_holds_on_long_tasks: "long tasks",
    the_bar_holds_on_a_heavy_tail_within_the_grace: "heavy tail",
    the_bar_holds_on_tasks_beyond_the_grace: "beyond the grace",
    the_bar_holds_through_an_outage_of_the_statistics: "outage",
    the_bar_holds_on_a_rate_limited_queue: "rate limit",
    the_bar_holds_through_a_restart: "restart",
}

#[test]
fn the_bar_holds_for_other_seeds_and_for_a_longer_target() {
    for mut scenario in standard() {
        for (seed, target) in [(2, 5_000), (3, 5_000), (4, 5_000), (5, 10_000), (6, 10_000)] {
            let setup = &mut scenario.setup;
            (setup.seed, setup.target) = (seed, target);
            let mut ours = TaskQueue::new("ours", setup, TaskQueue::policy(setup));
            let summary = run(&scenario.trace, setup, &mut ours).summary;
            assert_bar(&scenario.trace.name, setup, &summary);
        }
    }
}

#[test]
fn an_outage_of_the_statistics_changes_nothing() {
    let scenario = scenario("outage");
    let setup = &scenario.setup;
    let mut ours = TaskQueue::new("ours", setup, TaskQueue::policy(setup));
    run(&scenario.trace, setup, &mut ours);
    let (from, to) = scenario.trace.outages[0];
    let during: Vec<_> = ours
        .changes()
        .iter()
        .filter(|(at, _)| (from..to).contains(at))
        .collect();
    assert_eq!(during, Vec::<&(Millis, String)>::new());
}

#[test]
fn after_a_restart_nothing_changes_for_one_window() {
    let scenario = scenario("restart");
    let setup = &scenario.setup;
    let mut ours = TaskQueue::new("ours", setup, TaskQueue::policy(setup));
    run(&scenario.trace, setup, &mut ours);
    let at = scenario.trace.restarts[0];
    let window = at..at + 60_000;
    let after: Vec<_> = ours
        .changes()
        .iter()
        .filter(|(at, _)| window.contains(at))
        .collect();
    assert_eq!(after, Vec::<&(Millis, String)>::new());
}
