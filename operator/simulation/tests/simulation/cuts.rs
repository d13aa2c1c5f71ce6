//! Tasks that are cut off, and the cost of avoiding that. Compares with an earlier policy, which
//! had one limit per queue, and with a variant of the present policy that never removes a pod whose
//! last heartbeat shows a slot in use.

use std::fmt::Write as _;
use std::time::Duration;

use taskqueue_simulation::scaler::TaskQueue;
use taskqueue_simulation::{
    Cut, Millis, Scenario, Setup, Summary, Task, Trace, mixed, run, standard,
};

use crate::before::BEFORE;

const GRACES: [Millis; 3] = [30_000, 120_000, 600_000];
/// The seeds. A mean is a third of the sum over them.
const SEEDS: [u64; 3] = [1, 2, 3];

/// One policy on one trace with one grace, over all seeds.
#[derive(Debug, Default)]
struct Runs {
    cut: Cut,
    cost: f64,
    unfinished: u32,
}

fn one(scenario: &Scenario, setup: &Setup, careful: bool) -> Summary {
    let mut ours = TaskQueue::new("ours", setup, TaskQueue::policy(setup));
    if careful {
        ours = ours.careful();
    }
    run(&scenario.trace, setup, &mut ours).summary
}

fn runs(scenario: &Scenario, grace: Millis, careful: bool) -> Runs {
    SEEDS.iter().fold(Runs::default(), |mut runs, seed| {
        let setup = Setup {
            grace,
            seed: *seed,
            ..scenario.setup.clone()
        };
        let summary = one(scenario, &setup, careful);
        runs.cut.known += summary.cut.known;
        runs.cut.first += summary.cut.first;
        runs.cut.raced += summary.cut.raced;
        runs.cost += summary.cost / 3.0;
        runs.unfinished += summary.unfinished;
        runs
    })
}

/// The results of the earlier policy: tasks cut off, and the cost.
fn before(trace: &str, grace: Millis) -> (u32, f64) {
    let found = BEFORE
        .iter()
        .find(|(name, seconds, ..)| *name == trace && seconds * 1000 == grace);
    let (_, _, cut, cost) = found.expect("every trace was run with every grace");
    (*cut, f64::from(*cost) / 100.0)
}

/// A table of several traces, with a row per grace.
struct Table(String);

impl Table {
    fn new() -> Self {
        Self(
            "policy                             one limit per queue   now                        \
             idle pods only\n\
             trace                  grace s  cut    cost  known  first  raced    cost  ratio    \
             cut    cost\n"
                .to_owned(),
        )
    }

    fn row(&mut self, trace: &str, grace: Millis, now: &Runs, careful: &Runs) {
        let (cut, cost) = before(trace, grace);
        // Writing to a String cannot fail.
        _ = writeln!(
            self.0,
            "{trace:<27}{:>5}{cut:>5}{cost:>8.2}{:>7}{:>7}{:>7}{:>8.2}{:>7.2}{:>7}{:>8.2}",
            grace / 1000,
            now.cut.known,
            now.cut.first,
            now.cut.raced,
            now.cost,
            now.cost / cost,
            careful.cut.total(),
            careful.cost,
        );
    }
}

#[test]
fn no_predictable_cut_off_happens_where_short_and_long_tasks_are_mixed() {
    let mut table = Table::new();
    let (mut known, mut other, mut then) = (0, 0, 0);
    for scenario in mixed() {
        for grace in GRACES {
            let trace = &scenario.trace.name;
            let now = runs(&scenario, grace, false);
            table.row(trace, grace, &now, &runs(&scenario, grace, true));
            assert_eq!(now.unfinished, 0, "{trace}");
            known += now.cut.known;
            if scenario.setup.heartbeat == Setup::default().heartbeat {
                other += now.cut.first + now.cut.raced;
                then += before(trace, grace).0;
            }
        }
    }
    _ = writeln!(
        table.0,
        "\nfirst and raced at heartbeats of 5 s: {other}, where one limit per queue cuts off {then}"
    );
    insta::assert_snapshot!("mixed", table.0);
    assert_eq!(known, 0);
    assert!(other * 5 <= then, "{other} of {then}");
}

/// The standard traces in their own setup, and with the SDKs' default heartbeat interval.
fn standard_setups() -> Vec<(Scenario, Vec<Millis>)> {
    let own = standard().into_iter().map(|own| (own, GRACES.to_vec()));
    let slow = standard().into_iter().map(|mut slow| {
        slow.setup.heartbeat = 60_000;
        slow.trace.name.push_str(", beat 60 s");
        let grace = slow.setup.grace;
        (slow, vec![grace])
    });
    own.chain(slow).collect()
}

#[test]
fn no_predictable_cut_off_happens_on_the_standard_traces_and_the_cost_hardly_rises() {
    let mut table = Table::new();
    let mut known = 0;
    let mut dearer = Vec::new();
    for (scenario, graces) in standard_setups() {
        for grace in graces {
            let trace = &scenario.trace.name;
            let now = runs(&scenario, grace, false);
            table.row(trace, grace, &now, &runs(&scenario, grace, true));
            known += now.cut.known;
            let (_, then) = before(trace, grace);
            let own = scenario.setup == Setup::default();
            // Fewer slots stayed free then.
            if own && grace == scenario.setup.grace && now.cost > then * 1.4 {
                dearer.push((trace.clone(), then, now.cost));
            }
        }
    }
    insta::assert_snapshot!("standard", table.0);
    assert_eq!(known, 0);
    assert_eq!(dearer, Vec::new());
}

#[test]
fn a_long_task_that_ends_within_the_grace_period_hardly_raises_the_cost() {
    let cost = |name: &str| {
        let mut all = mixed().into_iter();
        let scenario = all
            .find(|scenario| scenario.trace.name == name)
            .expect("a trace of this name");
        runs(&scenario, 600_000, false).cost
    };
    let (without, with) = (cost("shrinks"), cost("shrinks, one of 6 min"));
    assert!(with <= without * 1.2, "{with} and {without}");
}

#[test]
fn a_pod_that_has_just_taken_tasks_is_not_removed_however_short_the_window() {
    // Every four minutes, one task at first and 19 more 13 s later, at another moment of the reads
    // each time. The fleet shrinks 5 s after it has grown.
    let group = |index: u64| {
        let start = index * 240_300;
        let task = move |number: u64| Task {
            arrives: start + u64::from(number > 0) * 13_000 + number * 10,
            takes: 50_000,
        };
        (0..20).map(task)
    };
    let trace = Trace::new("groups", "", (0..20).flat_map(group).collect());
    for heartbeat in [5_000, 60_000] {
        let setup = Setup {
            heartbeat,
            ..Setup::default()
        };
        let mut policy = TaskQueue::policy(&setup);
        policy.behavior.scale_down.stabilization_window = Duration::from_secs(5);
        let summary = run(&trace, &setup, &mut TaskQueue::new("ours", &setup, policy)).summary;
        assert_eq!((summary.busy_removed, summary.unfinished), (0, 0));
    }
}
