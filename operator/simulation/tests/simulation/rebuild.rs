//! Traces that are simulated, recorded as the operator exposes them, and rebuilt from that.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a run counts tasks and milliseconds of a few hours"
)]

use proptest::prelude::*;
use taskqueue_simulation::rebuild::{
    RebuildError, RebuildOptions, Rebuilt, Recording, Sample, SampleProblem, Series, Verdict,
    agreement, rebuild,
};
use taskqueue_simulation::scaler::{Fixed, TaskQueue};
use taskqueue_simulation::{Millis, Scaler, Setup, Task, Trace, run, standard};

use crate::recorder::{BEGIN, record};

const SECOND: i64 = 1_000;

fn options(seconds: i64) -> RebuildOptions {
    RebuildOptions {
        name: "rebuilt".to_owned(),
        subject: "the metrics of a test,".to_owned(),
        from: BEGIN,
        until: BEGIN + seconds * SECOND,
        seed: 1,
        limit: 200_000,
    }
}

fn series(metric: &str, values: impl IntoIterator<Item = (i64, f64)>) -> Series {
    let values = values.into_iter();
    Series {
        metric: metric.to_owned(),
        samples: values
            .map(|(second, value)| Sample {
                at: BEGIN + second * SECOND,
                value,
            })
            .collect(),
    }
}

/// A constant value every 15 s.
fn constant(metric: &str, seconds: i64, value: f64) -> Series {
    series(metric, (0..=seconds).step_by(15).map(|at| (at, value)))
}

/// A recording of a steady queue on which nothing waits.
fn steady(seconds: i64, rate: f64) -> Recording {
    let of = |metric, value| constant(metric, seconds, value);
    Recording {
        add_rate: of("add", rate),
        dispatch_rate: of("dispatch", rate),
        backlog: of("backlog", 0.0),
        backlog_age: of("age", 0.0),
        slots_used: of("used", rate),
        slots_available: of("free", 20.0 - rate),
        service_time: of("service", 1.0),
        service_time_learned: of("learned", 1.0),
        ready_replicas: of("ready", 2.0),
        current_replicas: of("current", 2.0),
        ..Recording::default()
    }
}

/// Without the samples of these seconds.
fn without(series: &Series, seconds: std::ops::Range<i64>) -> Series {
    let range = BEGIN + seconds.start * SECOND..BEGIN + seconds.end * SECOND;
    let kept = series.samples.iter().filter(|s| !range.contains(&s.at));
    Series {
        metric: series.metric.clone(),
        samples: kept.copied().collect(),
    }
}

/// All series, changed.
fn each(recording: &Recording, change: impl Fn(&Series) -> Series) -> Recording {
    Recording {
        add_rate: change(&recording.add_rate),
        dispatch_rate: change(&recording.dispatch_rate),
        backlog: change(&recording.backlog),
        backlog_age: change(&recording.backlog_age),
        rate_limited: change(&recording.rate_limited),
        slots_used: change(&recording.slots_used),
        slots_available: change(&recording.slots_available),
        service_time: change(&recording.service_time),
        service_time_learned: change(&recording.service_time_learned),
        ready_replicas: change(&recording.ready_replicas),
        current_replicas: change(&recording.current_replicas),
        wait_target: change(&recording.wait_target),
        reading_age: change(&recording.reading_age),
    }
}

/// Simulates a trace, records it, and rebuilds it.
fn round_trip(trace: &Trace, setup: &Setup, scaler: &mut dyn Scaler, every: Millis) -> Rebuilt {
    let outcome = run(trace, setup, scaler);
    let recording = record(trace, setup, &outcome, every);
    let seconds = i64::try_from(trace.until / 1000).unwrap();
    rebuild(&recording, &options(seconds)).unwrap()
}

#[test]
fn the_standard_traces_come_back_with_their_tasks_and_their_waits() {
    let (mut text, mut wrong) = (String::new(), Vec::new());
    for scenario in standard() {
        let (trace, setup) = (&scenario.trace, &scenario.setup);
        let policy = TaskQueue::policy(setup);
        let ours = || TaskQueue::new("ours", setup, policy.clone());
        let rebuilt = round_trip(trace, setup, &mut ours(), 15_000);
        let tasks = trace.tasks.len();
        let differs = rebuilt.trace.tasks.len().abs_diff(tasks);
        // Of few tasks, or few bursts, chance decides how many readings see them.
        let may_differ = if tasks < 1_000 { tasks / 8 } else { tasks / 50 };
        if differs > may_differ {
            wrong.push(format!("{}: {:?} of {tasks}", trace.name, rebuilt.counts));
        }
        let agreement = agreement(&rebuilt, setup).unwrap();
        let (true_wait, wait) = (
            run(trace, setup, &mut ours()).summary,
            run(&rebuilt.trace, setup, &mut ours()).summary,
        );
        text.extend([format!(
            "{}: {tasks} tasks of {:.2} s, rebuilt {} of {:.2} s; our p95 and p99 {:.1} and {:.1} \
             s, rebuilt {:.1} and {:.1} s\n{}\n",
            trace.name,
            trace.mean_service() as f64 / 1000.0,
            rebuilt.trace.tasks.len(),
            rebuilt.trace.mean_service() as f64 / 1000.0,
            true_wait.p95 as f64 / 1000.0,
            true_wait.p99 as f64 / 1000.0,
            wait.p95 as f64 / 1000.0,
            wait.p99 as f64 / 1000.0,
            agreement.text()
        )]);
    }
    insta::assert_snapshot!("round_trips", text);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_fleet_that_is_too_small_for_a_while_is_rebuilt_well_enough() {
    // Eight slots, and for ten minutes 12 tasks per second of 1 s.
    let tasks = (0..24_000_u64).filter(|k| {
        let at = k * 50;
        let busy = (300_000..900_000).contains(&at);
        if busy { k % 5 < 3 } else { k % 5 == 0 }
    });
    let tasks = tasks.map(|k| Task {
        arrives: k * 50,
        takes: 1_000,
    });
    let trace = Trace {
        until: 2_400_000,
        ..Trace::new("too small", "", tasks.collect())
    };
    let setup = Setup::default();
    let rebuilt = round_trip(&trace, &setup, &mut Fixed::new(2), 15_000);
    let found = agreement(&rebuilt, &setup).unwrap();
    assert_eq!(found.verdict, Verdict::Good, "{}", found.text());
    assert!(found.measured.age_p95 > 100_000, "{}", found.text());
    let differs = found.measured.age_p95.abs_diff(found.simulated.age_p95);
    assert!(differs < found.measured.age_p95 / 10, "{}", found.text());
    // The comparison can fail: with twice the durations, the waits are others.
    let mut slower = rebuilt.clone();
    for task in &mut slower.trace.tasks {
        task.takes *= 2;
    }
    let found = agreement(&slower, &setup).unwrap();
    assert_eq!(found.verdict, Verdict::Different, "{}", found.text());
    let gaps = Rebuilt {
        covered: 0.5,
        ..rebuilt
    };
    let found = agreement(&gaps, &setup).unwrap();
    assert_eq!(found.verdict, Verdict::Gaps, "{}", found.text());
}

#[test]
fn a_queue_on_which_nothing_waits_says_nothing_about_waits() {
    let rebuilt = rebuild(&steady(1_800, 4.0), &options(1_800)).unwrap();
    let found = agreement(&rebuilt, &Setup::default()).unwrap();
    assert_eq!(found.verdict, Verdict::Untested, "{}", found.text());
    let unknown = Recording {
        ready_replicas: Series::default(),
        current_replicas: Series::default(),
        ..steady(1_800, 4.0)
    };
    let rebuilt = rebuild(&unknown, &options(1_800)).unwrap();
    assert_eq!(agreement(&rebuilt, &Setup::default()), None);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another_one() {
    let once = |seed| {
        let options = RebuildOptions {
            seed,
            ..options(1_800)
        };
        rebuild(&steady(1_800, 4.0), &options).unwrap()
    };
    assert_eq!(once(1), once(1));
    assert_ne!(once(1).trace.tasks, once(2).trace.tasks);
}

#[test]
fn nothing_arrives_in_a_gap_and_the_gap_is_said() {
    let whole = rebuild(&steady(3_600, 4.0), &options(3_600)).unwrap();
    assert!((whole.covered - 1.0).abs() < 0.01, "{whole:#?}");
    let broken = each(&steady(3_600, 4.0), |series| without(series, 1_001..1_599));
    let rebuilt = rebuild(&broken, &options(3_600)).unwrap();
    let in_gap = |task: &&Task| (1_000_000..1_590_000).contains(&task.arrives);
    // What ran when the recording went on.
    assert_eq!(rebuilt.trace.tasks.iter().filter(in_gap).count(), 0);
    assert_eq!(rebuilt.counts.ran_before, 8);
    insta::assert_snapshot!("gap", rebuilt.notes.join("\n"));
    assert!((rebuilt.covered - 5.0 / 6.0).abs() < 0.01, "{rebuilt:#?}");
}

#[test]
fn a_restart_of_the_operator_is_no_gap_and_its_assumed_service_time_does_not_count() {
    let lost = each(&steady(3_600, 4.0), |series| without(series, 1_001..1_029));
    let at = |second: i64| (1_030..1_300).contains(&second);
    let steps = || {
        (0..=3_600)
            .step_by(15)
            .filter(|second| !(1_001..1_029).contains(second))
    };
    let restarted = Recording {
        service_time: series(
            "service",
            steps().map(|s| (s, if at(s) { 5.0 } else { 1.0 })),
        ),
        service_time_learned: series("learned", steps().map(|s| (s, f64::from(u8::from(!at(s)))))),
        ..lost
    };
    let rebuilt = rebuild(&restarted, &options(3_600)).unwrap();
    let mean = rebuilt.trace.mean_service();
    assert!((950..1_050).contains(&mean), "{mean}");
    assert!(rebuilt.counts.arrived.abs_diff(14_400) < 60, "{rebuilt:#?}");
    assert!(rebuilt.covered > 0.999, "{}", rebuilt.covered);
}

#[test]
fn without_a_learned_service_time_the_slots_in_use_tell_it() {
    let assumed = Recording {
        service_time: constant("service", 1_800, 5.0),
        service_time_learned: constant("learned", 1_800, 0.0),
        slots_used: constant("used", 1_800, 12.0),
        ..steady(1_800, 4.0)
    };
    let rebuilt = rebuild(&assumed, &options(1_800)).unwrap();
    let mean = rebuilt.trace.mean_service();
    assert!(
        (2_850..3_150).contains(&mean),
        "12 slots ÷ 4 tasks/s, not {mean}"
    );
    let no_slots = Recording {
        slots_used: Series::default(),
        ..assumed.clone()
    };
    let mean = rebuild(&no_slots, &options(1_800))
        .unwrap()
        .trace
        .mean_service();
    assert!((4_750..5_250).contains(&mean), "{mean}");
    let nothing = Recording {
        service_time: Series {
            metric: "service".to_owned(),
            ..Series::default()
        },
        slots_used: Series {
            metric: "used".to_owned(),
            ..Series::default()
        },
        ..assumed
    };
    let error = rebuild(&nothing, &options(1_800)).unwrap_err();
    assert!(
        matches!(error, RebuildError::NoServiceTime { .. }),
        "{error}"
    );
}

#[test]
fn slots_beyond_the_dispatches_stand_for_tasks_that_passed_by_the_queue() {
    let sticky = Recording {
        slots_used: constant("used", 1_800, 8.0),
        ..steady(1_800, 4.0)
    };
    let rebuilt = rebuild(&sticky, &options(1_800)).unwrap();
    let mean = rebuilt.trace.mean_service();
    assert!((1_900..2_100).contains(&mean), "{mean}");
    assert!(
        rebuilt.notes.join("\n").contains("times 2.00"),
        "{rebuilt:#?}"
    );
}

#[test]
fn a_burst_that_waits_arrives_when_its_oldest_task_did() {
    // 90 tasks at second 605, seen at second 615 with an age of 10 s.
    let backlog = |second: i64| {
        if (606..700).contains(&second) {
            90.0
        } else {
            0.0
        }
    };
    let age = |second: i64| {
        if backlog(second) > 0.0 {
            (second - 605) as f64
        } else {
            0.0
        }
    };
    let steps = || (0..=1_200).step_by(15);
    // The windows of 30 s that saw them.
    let rate = |second: i64, from: i64| {
        let seen = (from..from + 27).contains(&second);
        if seen { 90.0 / 27.5 } else { 0.0 }
    };
    let recording = Recording {
        add_rate: series("add", steps().map(|s| (s, rate(s, 606)))),
        dispatch_rate: series("dispatch", steps().map(|s| (s, rate(s, 700)))),
        backlog: series("backlog", steps().map(|s| (s, backlog(s)))),
        backlog_age: series("age", steps().map(|s| (s, age(s)))),
        ..steady(1_200, 0.0)
    };
    let rebuilt = rebuild(&recording, &options(1_200)).unwrap();
    let arrived = rebuilt.counts.arrived;
    // How many were dispatched is open by a tenth: windows of 30 s, seen every 15 s, allow for it.
    assert!((90..=101).contains(&arrived), "{:?}", rebuilt.counts);
    let tasks = rebuilt.trace.tasks.iter();
    let in_time = tasks.filter(|task| (605_000..=615_000).contains(&task.arrives));
    assert!(in_time.count() >= 89, "{:?}", rebuilt.counts);
}

#[test]
fn what_the_operator_cannot_have_exposed_is_refused_with_the_metric_and_the_time() {
    let broken = |values: &[(i64, f64)]| Recording {
        add_rate: series("tasks_add_rate", values.iter().copied()),
        ..steady(60, 1.0)
    };
    let many = Recording {
        ready_replicas: series("ready_replicas", [(0, 1e6)]),
        ..steady(60, 1.0)
    };
    let cases = [
        broken(&[(0, 1.0), (15, f64::NAN)]),
        broken(&[(0, f64::INFINITY)]),
        broken(&[(0, -0.5)]),
        broken(&[(0, 1e10)]),
        broken(&[(0, 1.0), (0, 1.0)]),
        broken(&[(15, 1.0), (0, 1.0)]),
        broken(&[(1_000_000_000_000, 1.0)]),
        many,
        steady(60, 0.0),
        steady(0, 1.0),
        Recording {
            slots_available: Series::default(),
            ..steady(3_600, 1e6)
        },
    ];
    let text = cases.map(|recording| {
        let error = rebuild(&recording, &options(3_600)).unwrap_err();
        error.to_string()
    });
    insta::assert_snapshot!("refused", text.join("\n"));
    let nan = rebuild(&broken(&[(0, f64::NAN)]), &options(60)).unwrap_err();
    let RebuildError::Sample { problem, .. } = nan else {
        panic!("{nan}")
    };
    assert!(matches!(problem, SampleProblem::NotFinite(value) if value.is_nan()));
}

/// Values of one series at these seconds.
fn values(seconds: &[i64], values: &[f64]) -> Series {
    series("m", seconds.iter().copied().zip(values.iter().copied()))
}

/// Increasing seconds from steps.
fn times(steps: &[i64]) -> Vec<i64> {
    let sums = steps.iter().scan(0, |sum, step| {
        *sum += step;
        Some(*sum)
    });
    sums.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn constant_rates_give_rate_times_time(rate in 0.05..40.0_f64, step in 1..30_i64) {
        let seconds = step * (900 / step);
        let at: Vec<i64> = (0..=seconds).step_by(step.unsigned_abs() as usize).collect();
        let all = |value: f64| values(&at, &vec![value; at.len()]);
        let recording = Recording {
            add_rate: all(rate),
            service_time: all(1.0),
            service_time_learned: all(1.0),
            ..Recording::default()
        };
        let rebuilt = rebuild(&recording, &options(seconds)).unwrap();
        let expected = rate * seconds as f64;
        let found = rebuilt.counts.arrived as f64;
        prop_assert!((found - expected).abs() <= 1.0, "{found} {expected}");
    }

    #[test]
    fn arrivals_are_the_dispatched_tasks_plus_the_change_of_the_backlog(
        rows in prop::collection::vec(
            (1..40_i64, 0.0..30.0_f64, 0.0..30.0_f64, 0..500_u32, 0.0..100.0_f64), 2..40),
    ) {
        let at = times(&rows.iter().map(|row| row.0).collect::<Vec<_>>());
        let column = |pick: fn(&(i64, f64, f64, u32, f64)) -> f64| {
            values(&at, &rows.iter().map(pick).collect::<Vec<_>>())
        };
        let recording = Recording {
            add_rate: column(|row| row.1),
            dispatch_rate: column(|row| row.2),
            backlog: column(|row| f64::from(row.3)),
            backlog_age: column(|row| row.4),
            service_time: column(|_| 1.0),
            service_time_learned: column(|_| 1.0),
            ..Recording::default()
        };
        let rebuilt = rebuild(&recording, &options(10_000)).unwrap();
        let counts = rebuilt.counts;
        let expected = counts.by_dispatch_rate.unwrap();
        // Each stretch without a gap has whole tasks.
        let stretches = rebuilt.measured.iter().map(|reading| reading.stretch);
        let stretches = stretches.collect::<std::collections::BTreeSet<_>>().len();
        let rounded = 0.5 * stretches as f64 + 1e-3;
        prop_assert!((counts.arrived as f64 - expected).abs() <= rounded, "{counts:?}");
        // Whatever waits at the end has arrived.
        let last = rows.last().unwrap().3 as usize;
        prop_assert!(counts.arrived + counts.waited_before + 1 >= last, "{counts:?}");
        prop_assert!(rebuilt.trace.tasks.is_sorted_by_key(|task| task.arrives));
    }

    #[test]
    fn tasks_at_random_are_counted(
        seed in any::<u64>(),
        rate in 0.5..20.0_f64,
        replicas in 1..6_u32,
        every in 2..16_u64,
    ) {
        let mut rng = taskqueue_simulation::Rng::new(seed);
        let mut at = 0.0;
        let tasks = std::iter::from_fn(|| {
            at += rng.exponential(1.0 / rate);
            let takes = (rng.exponential(1.0) * 1000.0) as Millis + 1;
            (at < 1_200.0).then_some(Task { arrives: (at * 1000.0) as Millis, takes })
        });
        let trace = Trace { until: 1_260_000, ..Trace::new("random", "", tasks.collect()) };
        let setup = Setup::default();
        let rebuilt = round_trip(&trace, &setup, &mut Fixed::new(replicas), every * 1000);
        let (found, expected) = (rebuilt.trace.tasks.len() as f64, trace.tasks.len() as f64);
        prop_assert!((found - expected).abs() <= expected * 0.1 + 30.0, "{found} of {expected}");
    }

    #[test]
    fn no_recording_causes_a_panic(
        columns in prop::collection::vec(
            prop::collection::vec((any::<i64>(), any::<f64>()), 0..6), 13),
        from in any::<i64>(),
        until in any::<i64>(),
    ) {
        let recording = from_columns(&columns);
        let options = RebuildOptions { from, until, limit: 1_000, ..options(0) };
        // What comes out, a trace or an error, can be shown.
        let shown = match rebuild(&recording, &options) {
            Ok(rebuilt) => rebuilt.notes.join("\n"),
            Err(error) => error.to_string(),
        };
        prop_assert!(!shown.is_empty());
    }

    #[test]
    fn no_recording_that_passes_the_check_causes_a_panic(
        columns in prop::collection::vec(
            prop::collection::vec((1..40_i64, prop::sample::select(
                vec![0.0, 1e-300, 1e-9, 0.5, 1.0, 3.0, 1e3, 1e5])), 0..12), 13),
    ) {
        let columns: Vec<Vec<(i64, f64)>> = columns.iter().map(|column| {
            let at = times(&column.iter().map(|row| row.0).collect::<Vec<_>>());
            let at = at.iter().map(|second| BEGIN + second * SECOND);
            at.zip(column.iter().map(|row| row.1)).collect()
        }).collect();
        let mut recording = from_columns(&columns);
        for replicas in [&mut recording.ready_replicas, &mut recording.current_replicas] {
            for sample in &mut replicas.samples {
                sample.value = sample.value.min(50.0);
            }
        }
        let options = RebuildOptions { limit: 2_000, ..options(600) };
        if let Ok(rebuilt) = rebuild(&recording, &options) {
            prop_assert!(rebuilt.trace.tasks.len() <= 2_001);
            // A fleet of nothing would be waited for until the simulation gives up.
            if let Some(found) = agreement(&rebuilt, &Setup::default()) {
                prop_assert!(!found.text().is_empty());
            }
        }
    }
}

fn from_columns(columns: &[Vec<(i64, f64)>]) -> Recording {
    let of = |column: usize| Series {
        metric: "m".to_owned(),
        samples: columns[column]
            .iter()
            .map(|(at, value)| Sample {
                at: *at,
                value: *value,
            })
            .collect(),
    };
    Recording {
        add_rate: of(0),
        dispatch_rate: of(1),
        backlog: of(2),
        backlog_age: of(3),
        rate_limited: of(4),
        slots_used: of(5),
        slots_available: of(6),
        service_time: of(7),
        service_time_learned: of(8),
        ready_replicas: of(9),
        current_replicas: of(10),
        wait_target: of(11),
        reading_age: of(12),
    }
}
