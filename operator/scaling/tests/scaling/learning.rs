//! Learning service times and slots from heartbeats alone.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, pod, policy};

const SECOND: Duration = Duration::from_secs(1);

/// One pod with a heartbeat every 5 s: `used(t)` slots in use and `done(t)` tasks so far.
fn learn(
    seconds: u64,
    used: impl Fn(u64) -> u32,
    done: impl Fn(u64) -> u64,
) -> (ServiceTime, Option<Duration>) {
    let mut fleet = TestFleet::new(
        Policy {
            min: 1,
            max: 1,
            ..policy()
        },
        1,
    );
    for t in (0..=seconds).step_by(5) {
        fleet.used = vec![used(t)];
        fleet.processed = done(t);
        drop(fleet.reads(TypeBacklog::default()));
        fleet.wait(5);
    }
    let mean = fleet
        .history
        .service_time(TaskType::Activity, &fleet.policy);
    (mean, fleet.history.longest_service_time(TaskType::Activity))
}

#[test]
fn nothing_is_learned_from_an_idle_worker() {
    let assumed = ServiceTime::Assumed {
        mean: Duration::from_secs(5),
    };
    assert_eq!(learn(600, |_| 0, |_| 0), (assumed, None));
}

#[test]
fn the_mean_follows_littles_law() {
    // 6 slots in use and 4 tasks a second give 1.5 s each, plus 5 s of one slot spread over all
    // tasks.
    let (mean, longest) = learn(600, |_| 6, |t| 4 * t);
    let learned = ServiceTime::Learned {
        mean: Duration::from_millis(1502),
    };
    assert!(mean.is_learned());
    let close = mean.mean().abs_diff(learned.mean()) < Duration::from_millis(40);
    assert!(close, "{mean:?}");
    assert_eq!(longest, None);
}

#[test]
fn the_mean_follows_a_change_of_the_service_time() {
    let done = |t: u64| {
        if t <= 600 {
            20 * t
        } else {
            12_000 + (t - 600) * 20 / 14
        }
    };
    let (mean, _) = learn(1200, |_| 10, done);
    let close = mean.mean().abs_diff(Duration::from_secs(7)) < Duration::from_millis(500);
    assert!(close, "{mean:?}");
}

#[test]
fn a_burst_of_long_tasks_is_not_learned_as_longer_than_observed() {
    // Twice, 10 tasks of 300 s start at once and end together.
    let used = |t: u64| if t.is_multiple_of(305) { 0 } else { 10 };
    let done = |t: u64| t / 305 * 10;
    let (mean, longest) = learn(614, used, done);
    assert!(mean.is_learned());
    assert!(mean.mean() <= Duration::from_secs(310), "{mean:?}");
    assert_eq!(longest, Some(Duration::from_secs(295)));
}

#[test]
fn a_long_running_task_raises_the_assumed_service_time() {
    let (mean, longest) = learn(200, |t| u32::from(t > 0), |_| 0);
    let running = Duration::from_secs(195);
    assert_eq!(
        (mean, longest),
        (ServiceTime::Assumed { mean: running }, Some(running))
    );
}

#[test]
fn the_slots_of_a_replica_are_those_that_its_workers_report() {
    let mut fleet = TestFleet::new(
        Policy {
            slots_per_replica: 100,
            ..policy()
        },
        1,
    );
    let before = fleet
        .history
        .slots_per_replica(TaskType::Activity, &fleet.policy);
    drop(fleet.reads(TypeBacklog::default()));
    let after = fleet
        .history
        .slots_per_replica(TaskType::Activity, &fleet.policy);
    let other = fleet
        .history
        .slots_per_replica(TaskType::Workflow, &fleet.policy);
    assert_eq!((before, after, other), (100, 10, 100));
}

/// A reading of ten pods as the operator builds it: the phase, whether the worker is listed, and
/// its counts if its heartbeat was seen to change.
fn ten_pods(fleet: &TestFleet, phase: PodPhase, listed: bool, counts: Option<(u32, u64)>) -> Slots {
    let pods = (0..10).map(|index| PodSlots {
        phase,
        listed,
        fresh: counts.is_some(),
        reported_at: counts.map(|_| fleet.now),
        reported_after: counts.map(|_| fleet.now),
        types: PerType {
            activity: counts.map(|(used, processed)| TypeSlots {
                used,
                available: Some(10 - used),
                processed_total: Some(processed),
            }),
            ..PerType::default()
        },
        ..pod(&format!("p{index}"), 0, fleet.now)
    });
    Slots {
        pods: pods.collect(),
        ..Slots::default()
    }
}

fn observe(fleet: &mut TestFleet, sequence: u64, slots: Slots) -> Decision {
    let mut observation = fleet.observation(Reading::Known {
        value: activities(sequence, TypeBacklog::default()),
        taken_at: fleet.now,
    });
    observation.slots = Reading::Known {
        value: slots,
        taken_at: fleet.now,
    };
    fleet
        .history
        .observe(&fleet.policy, &observation, fleet.now);
    decide(&fleet.policy, &observation, &fleet.history, fleet.now)
}

fn learned(fleet: &TestFleet) -> ServiceTime {
    fleet
        .history
        .service_time(TaskType::Activity, &fleet.policy)
}

#[test]
fn after_a_restart_the_operator_learns_nothing_from_lifetime_counts() {
    // After a restart the first worker list shows no heartbeat's age: it lists the workers, but no
    // heartbeat was seen to change. Every pod has one long task and a past of 20 or a million
    // tasks.
    for past in [20, 1_000_000] {
        let mut fleet = TestFleet::new(policy(), 10);
        for turn in 0..60 {
            let counts = (turn > 0).then_some((1, past));
            let slots = ten_pods(&fleet, PodPhase::Ready, true, counts);
            let decision = observe(&mut fleet, turn, slots);
            assert_eq!(decision.desired, 10, "{}", decision.sentence());
            fleet.wait(5);
        }
        assert!(!learned(&fleet).is_learned(), "{:?}", learned(&fleet));
    }
}

#[test]
fn the_past_of_a_pod_whose_start_was_not_seen_is_unknown() {
    // The first scrape failed, or a fleet was recreated over running workers: the pods are ready,
    // but not listed at first.
    let mut fleet = TestFleet::new(policy(), 10);
    for turn in 0..20_u64 {
        let counts = (turn > 0).then(|| (1, 1_000_000 + turn));
        let slots = ten_pods(&fleet, PodPhase::Ready, turn > 0, counts);
        drop(observe(&mut fleet, turn, slots));
        fleet.wait(5);
    }
    let mean = learned(&fleet).mean();
    assert!(mean.abs_diff(SECOND * 5) < SECOND, "{mean:?}");
}

#[test]
fn the_start_of_a_pod_does_not_count_as_work() {
    // The pods take a minute to start, then each runs tasks of 1 s in 5 slots.
    let mut fleet = TestFleet::new(policy(), 10);
    for turn in 0..20_u64 {
        let slots = match turn.checked_sub(12) {
            None => ten_pods(&fleet, PodPhase::Starting, false, None),
            Some(beats) => {
                let counts = Some((5, 12 + 25 * beats));
                ten_pods(&fleet, PodPhase::Ready, true, counts)
            }
        };
        drop(observe(&mut fleet, turn, slots));
        fleet.wait(5);
    }
    let mean = learned(&fleet).mean();
    assert!(mean.abs_diff(SECOND) < SECOND / 4, "{mean:?}");
}

#[test]
fn the_start_of_a_pod_is_learned_although_its_worker_is_listed_before_it_is_ready() {
    // The pods are ready after a minute. Their workers are listed then, or 20 s before.
    let in_flight = |listed_at: u64| {
        let policy = Policy {
            target_utilization: None,
            ..policy()
        };
        let mut fleet = TestFleet::new(policy, 10);
        let mut decision = None;
        // Long enough that the rise at the start is forgotten.
        for turn in 0..600_u64 {
            let ready = turn >= 12;
            let counts = (turn >= listed_at).then(|| match turn.checked_sub(12) {
                Some(beats) => (5, 25 * beats),
                None => (0, 0),
            });
            let phase = if ready {
                PodPhase::Ready
            } else {
                PodPhase::Starting
            };
            let slots = ten_pods(&fleet, phase, counts.is_some(), counts);
            decision = Some(observe(&mut fleet, turn, slots));
            fleet.wait(5);
        }
        let demand = decision.and_then(|decision| decision.demand);
        let activity = demand.and_then(|demand| demand.types.activity);
        activity.map(|activity| activity.terms.in_flight_milli)
    };
    // 50 slots in use. With a start of a minute, R ÷ W is over its limit of 6: 4 × 6 stay free.
    assert_eq!([in_flight(12), in_flight(8)], [Some(7_400); 2]);
}

/// Ten new pods take 200 tasks right after their first heartbeats. The next ones, 5 s later, find
/// every slot free; then the pods go.
fn burst_between_heartbeats(fleet: &mut TestFleet, sequence: u64) {
    let readings = [
        ten_pods(fleet, PodPhase::Starting, false, None),
        ten_pods(fleet, PodPhase::Ready, true, Some((0, 0))),
        ten_pods(fleet, PodPhase::Ready, true, Some((0, 20))),
        Slots::default(),
    ];
    for (turn, mut slots) in (0..).zip(readings) {
        for pod in &mut slots.pods {
            pod.reported_at = pod.reported_at.map(|_| fleet.now);
        }
        drop(observe(fleet, sequence + turn, slots));
        fleet.wait(5);
    }
}

#[test]
fn a_burst_between_two_heartbeats_is_not_learned_as_instant() {
    let mut fleet = TestFleet::new(policy(), 10);
    // The tasks took anything up to 5 s.
    let half = ServiceTime::Learned {
        mean: Duration::from_millis(2500),
    };
    for burst in 0..20 {
        burst_between_heartbeats(&mut fleet, 10 * burst);
        assert_eq!(learned(&fleet), half);
    }
}

#[test]
fn a_burst_between_two_long_heartbeats_counts_as_assumed() {
    let mut fleet = TestFleet::new(policy(), 10);
    let slots = ten_pods(&fleet, PodPhase::Ready, true, Some((0, 0)));
    drop(observe(&mut fleet, 0, slots));
    for turn in 1..3 {
        fleet.wait(60);
        let slots = ten_pods(&fleet, PodPhase::Ready, true, Some((0, 20)));
        drop(observe(&mut fleet, turn, slots));
    }
    let assumed = ServiceTime::Learned { mean: SECOND * 5 };
    assert_eq!(learned(&fleet), assumed);
}

#[test]
fn the_first_tasks_of_a_worker_took_no_more_slot_time_than_there_was() {
    let mut fleet = TestFleet::new(policy(), 10);
    // Each pod finishes 200 tasks in 10 slots within 5 s.
    for (turn, counts) in [
        (0, None),
        (1, Some((0, 0))),
        (2, Some((0, 200))),
        (3, Some((0, 200))),
    ] {
        let starting = counts.is_none();
        let phase = if starting {
            PodPhase::Starting
        } else {
            PodPhase::Ready
        };
        let slots = ten_pods(&fleet, phase, !starting, counts);
        drop(observe(&mut fleet, turn, slots));
        fleet.wait(5);
    }
    let quarter = ServiceTime::Learned { mean: SECOND / 4 };
    assert_eq!(learned(&fleet), quarter);
}

#[test]
fn tasks_took_no_more_slot_time_than_there_was_when_they_were_dispatched() {
    // By their heartbeats, tasks take 5 s. Then Temporal dispatches 100 a second to the 100 slots,
    // which shows in its rates little by little, and no further heartbeat comes.
    let learned = ServiceTime::Learned {
        mean: Duration::from_millis(5_062),
    };
    let after = |pause: u64| {
        let fixed = Policy {
            min: 10,
            max: 10,
            ..policy()
        };
        let mut fleet = TestFleet::settled(fixed, 10, SECOND * 5);
        fleet.reported_at = Some(fleet.now);
        fleet.wait(pause);
        for turn in 1..=5 {
            let rate = 100_000 * turn / 6;
            drop(fleet.reads_next(TypeBacklog {
                count: 500,
                add_rate_milli: rate,
                dispatch_rate_milli: rate,
                ..TypeBacklog::default()
            }));
        }
        self::learned(&fleet)
    };
    // 25 s of 100 slots. 83.333 × 25 = 2,083 tasks were dispatched at least, so 1,983 have ended.
    let bound = ServiceTime::Learned {
        mean: Duration::from_millis(1_260),
    };
    assert_eq!(after(0), bound);
    // If nobody has read the queue for ten minutes, the server may have just loaded it. Then its
    // rates say nothing.
    assert_eq!(after(600), learned);
}

#[test]
fn workers_that_never_report_show_by_their_dispatches_that_tasks_are_short() {
    // Three tasks a second in one pod of five slots.
    let policy = Policy {
        slots_per_replica: 5,
        min: 1,
        max: 1,
        ..policy()
    };
    let mut fleet = TestFleet::new(policy, 1);
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    for _ in 0..60 {
        drop(fleet.reads_next(TypeBacklog {
            add_rate_milli: 3_000,
            dispatch_rate_milli: 3_000,
            ..TypeBacklog::default()
        }));
    }
    // 30 s of five slots, and 70 of 75 tasks finished.
    let assumed = ServiceTime::Assumed {
        mean: Duration::from_millis(2_142),
    };
    assert_eq!(learned(&fleet), assumed);
}

#[test]
fn a_task_that_one_heartbeat_has_found_in_work_is_not_taken_to_run_until_the_next() {
    let mut fleet = TestFleet::new(policy(), 10);
    let slots = ten_pods(&fleet, PodPhase::Ready, true, Some((1, 0)));
    for turn in 0..12 {
        // The same heartbeat, up to a minute old.
        drop(observe(&mut fleet, turn, slots.clone()));
        fleet.wait(5);
    }
    let assumed = ServiceTime::Assumed { mean: SECOND * 5 };
    assert_eq!(learned(&fleet), assumed);
}

#[test]
fn tasks_that_heartbeats_have_found_in_work_decide_over_those_that_they_have_not() {
    let mut fleet = TestFleet::new(policy(), 10);
    burst_between_heartbeats(&mut fleet, 0);
    // Ten pods with two tasks of a second each, all the time.
    for turn in 0..20_u64 {
        let slots = ten_pods(&fleet, PodPhase::Ready, true, Some((2, 10 * turn)));
        drop(observe(&mut fleet, 10 + turn, slots));
        fleet.wait(5);
    }
    let mean = learned(&fleet).mean();
    assert!(mean.abs_diff(SECOND) < SECOND / 20, "{mean:?}");
}
