//! Unknown never means zero: what a fleet does while its slots, readings or tasks are unknown or
//! implausible.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, outcome, pod, policy, waiting};

const SECOND: Duration = Duration::from_secs(1);

/// Waiting tasks, the oldest for this long.
fn old(count: u64, seconds: u64) -> TypeBacklog {
    TypeBacklog {
        age: Duration::from_secs(seconds),
        ..waiting(count)
    }
}

#[test]
fn full_pods_without_heartbeats_are_not_shrunk_while_tasks_wait() {
    let mut fleet = TestFleet::new(policy(), 5);
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    for turn in 0..60 {
        let decision = fleet.reads_next(old(20, 600));
        assert!(decision.desired >= 5, "{turn}: {}", decision.sentence());
    }
}

#[test]
fn workers_that_never_report_keep_their_replicas_while_the_arrivals_are_unknown() {
    // 40 tasks of a second arrive each second and find a slot at once: only their rate is seen.
    let policy = Policy {
        target_utilization: None,
        queue_wait_target: Duration::from_secs(30),
        max: 100,
        ..policy()
    };
    let mut fleet = TestFleet::new(policy, 1);
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    fleet.start_up = Some(Duration::from_secs(3));
    let steady = TypeBacklog {
        add_rate_milli: 40_000,
        dispatch_rate_milli: 40_000,
        ..TypeBacklog::default()
    };
    for _ in 0..60 {
        drop(fleet.reads_next(steady));
    }
    let needed = fleet.requested;
    assert!(needed > 4, "{needed}");
    for failed in [1, 2, 6] {
        for _ in 0..failed {
            fleet.wait(5);
            drop(fleet.fails());
        }
        for reading in 1..=20 {
            let decision = fleet.reads_next(steady);
            let said = decision.sentence();
            assert_eq!(decision.desired, needed, "{failed} {reading}: {said}");
        }
    }
}

#[test]
fn a_fleet_grows_with_the_age_of_its_backlog_although_the_worker_list_is_refused() {
    // Every slot was taken when the slots were last known.
    let mut full = TestFleet::settled(policy(), 10, SECOND);
    full.used = vec![10; 10];
    let known = outcome(&full.reads_next(old(20, 600)));
    full.slots_unknown = Some(UnknownReason::Throttled);
    let unknown = outcome(&full.reads_next(old(20, 600)));
    assert_eq!(
        [known, unknown],
        [(12, "BacklogAge"), (14, "BacklogAge")],
        "its slots are taken"
    );
    // Slots were free then. That is too long ago after two minutes.
    let mut free = TestFleet::settled(policy(), 10, SECOND);
    free.slots_unknown = Some(UnknownReason::Throttled);
    for _ in 0..24 {
        assert_eq!(free.reads_next(old(20, 600)).desired, 10);
    }
    assert_eq!(outcome(&free.reads_next(old(20, 600))), (12, "BacklogAge"));
}

#[test]
fn workers_that_have_not_reported_yet_count_as_full_if_they_take_tasks() {
    let after = |readings, dispatch_rate_milli| {
        let mut fleet = TestFleet::new(policy(), 5);
        fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
        let backlog = TypeBacklog {
            dispatch_rate_milli,
            ..old(20, 600)
        };
        for _ in 1..readings {
            drop(fleet.reads_next(backlog));
        }
        outcome(&fleet.reads_next(backlog))
    };
    // What five pods do shows after 40 s. More pods before that would hide it.
    assert_eq!(after(8, 4_000).0, 5);
    assert_eq!(after(9, 4_000), (7, "BacklogAge"));
    assert_eq!(after(9, 0).0, 5);
}

/// The age term of 26 readings, 5 s apart, while `waiting` tasks are older than the target: ten
/// pods are full of long tasks, and an eleventh with ten slots is ready but its worker has sent no
/// heartbeat.
fn ages_beside_a_silent_pod(waiting: u64) -> Vec<Option<u64>> {
    let mut fleet = TestFleet::settled(policy(), 11, SECOND);
    fleet.used = vec![10; 10];
    let mut decide_on = |seconds: u64| {
        fleet.wait(5);
        let mut observation = fleet.observation(Reading::Known {
            value: activities(1000 + seconds, old(waiting, 600 + seconds)),
            taken_at: fleet.now,
        });
        if let Reading::Known { value, .. } = &mut observation.slots {
            value.pods[10] = PodSlots {
                fresh: false,
                reported_at: None,
                reported_after: None,
                types: PerType::default(),
                ..pod("silent", 0, fleet.now)
            };
        }
        fleet
            .history
            .observe(&fleet.policy, &observation, fleet.now);
        let decision = decide(&fleet.policy, &observation, &fleet.history, fleet.now);
        let activity = decision.demand.and_then(|demand| demand.types.activity);
        activity.map(|activity| activity.terms.age_milli)
    };
    (0..26).map(|turn| decide_on(5 * turn)).collect()
}

#[test]
fn a_pod_that_never_reports_hides_that_all_others_are_full_for_two_minutes_only() {
    let asked = ages_beside_a_silent_pod(10);
    // The first 24 readings come within two minutes of the first sight of the pod.
    let mut expected = vec![Some(0); 24];
    expected.extend([Some(12_000); 2]);
    assert_eq!(asked, expected);
}

#[test]
fn a_new_pod_hides_no_more_waiting_tasks_than_it_has_slots() {
    assert_eq!(ages_beside_a_silent_pod(11), [Some(12_100); 26]);
}

/// The sizes of a fleet from zero while 100 workflow tasks wait that no worker takes, and what is
/// found in the end. Its pods have 1,000 slots and report them from 10 s on. After each scale-in,
/// one reading comes before the watch on pods agrees with the Deployment.
fn untaken(routed: Option<bool>) -> (Vec<u32>, Vec<Stuck>) {
    let mut policy = policy();
    policy.target_utilization = None;
    policy.slots_per_replica = 4;
    policy.behavior.scale_down.stabilization_window = Duration::from_secs(20);
    let mut fleet = TestFleet::new(policy, 0);
    let mut started = Vec::new();
    let mut sizes = Vec::new();
    for reading in 1..=40 {
        fleet.wait(5);
        let backlog = TypeBacklog {
            pollers: Some(3),
            routed,
            ..old(100, 5 * reading)
        };
        let types = PerType {
            workflow: Some(backlog),
            ..PerType::default()
        };
        let mut observation = fleet.observation(Reading::Known {
            value: Backlog {
                sequence: reading,
                types,
            },
            taken_at: fleet.now,
        });
        let requested = usize::try_from(fleet.requested).unwrap();
        let removed = started.len().saturating_sub(requested);
        observation.replicas.unseen = u32::try_from(removed).unwrap();
        started.resize(requested, reading);
        let has_reported = |since: &u64| reading >= since + 2;
        observation.slots = if requested > 0 && !started.iter().any(has_reported) {
            Reading::Unknown {
                reason: UnknownReason::NoHeartbeats,
                since: fleet.now,
                failures: 0,
            }
        } else {
            let pods = started.iter().enumerate().map(|(index, since)| {
                let fresh = has_reported(since);
                let slots = TypeSlots {
                    used: 0,
                    available: Some(1000),
                    processed_total: Some(0),
                };
                PodSlots {
                    fresh,
                    reported_at: fresh.then_some(fleet.now),
                    reported_after: fresh.then_some(fleet.now),
                    types: PerType {
                        workflow: fresh.then_some(slots),
                        ..PerType::default()
                    },
                    ..pod(&format!("pod-{index}"), 0, fleet.now)
                }
            });
            Reading::Known {
                value: Slots {
                    pods: pods.collect(),
                    ..Slots::default()
                },
                taken_at: fleet.now,
            }
        };
        sizes.push(fleet.step(&observation).desired);
    }
    sizes.dedup();
    let found = fleet.history.findings(fleet.now);
    (sizes, found.into_iter().map(|found| found.kind).collect())
}

#[test]
fn a_backlog_that_no_worker_takes_leaves_one_worker_without_a_swing() {
    // Three pods of four slots, as far as is known; one pod once they report 1,000.
    assert_eq!(untaken(None), (vec![3, 1], vec![]));
    let other_version = vec![Stuck::VersionNotCurrent];
    assert_eq!(untaken(Some(false)), (vec![3, 1], other_version));
}

#[test]
fn readings_a_minute_apart_still_grow_a_fleet() {
    for gap in [55, 61, 90, 150] {
        let mut fleet = TestFleet::new(policy(), 2);
        fleet.used = vec![10; 2];
        let mut sizes = Vec::new();
        for _ in 0..4 {
            fleet.wait(gap);
            fleet.used = vec![10; usize::try_from(fleet.requested).unwrap()];
            sizes.push(fleet.reads(old(1000, 600)).desired);
        }
        assert_eq!(sizes.last(), Some(&20), "{gap} s apart: {sizes:?}");
    }
}

#[test]
fn readings_exactly_a_minute_apart_still_shrink_a_fleet() {
    let mut fleet = TestFleet::settled(policy(), 8, SECOND);
    for _ in 0..6 {
        fleet.wait(61);
        drop(fleet.reads(TypeBacklog::default()));
    }
    assert!(fleet.requested < 8, "{}", fleet.requested);
}

#[test]
fn a_backlog_that_the_workers_do_not_take_adds_no_workers() {
    // The workers' version is not current: 50 tasks wait, seven pods start for them, and every slot
    // stays free.
    let mut fleet = TestFleet::new(policy(), 0);
    let mut age = 0;
    let mut last = None;
    for _ in 0..40 {
        age += 5;
        last = Some(fleet.reads_next(old(50, age)));
    }
    let decision = last.unwrap();
    assert_eq!(outcome(&decision), (1, "CoolingDown"));
    assert!(
        decision
            .sentence()
            .contains("50 waiting tasks are not taken, although activity slots are free"),
        "{}",
        decision.sentence()
    );
    // A moment in which the slots are unknown does not bring the other pods back.
    fleet.slots_unknown = Some(UnknownReason::PodsUnseen);
    assert_eq!(fleet.reads_next(old(50, age + 5)).desired, 1);
    fleet.slots_unknown = None;
    assert_eq!(fleet.reads_next(old(50, age + 10)).desired, 1);
    // The last pod stays to poll. Once the head moves, the waiting tasks count again.
    fleet.used = vec![10];
    fleet.processed += 10;
    let decision = fleet.reads_next(old(40, 10));
    assert!(decision.desired > 3, "{}", decision.sentence());
}

#[test]
fn tasks_that_wait_while_temporal_does_not_answer_count() {
    // The head stays in place, but every fifth read fails: Temporal may be what keeps it there.
    let mut fleet = TestFleet::settled(policy(), 2, SECOND);
    for reading in 1..=30 {
        let decision = if reading % 5 == 0 {
            fleet.wait(5);
            fleet.fails()
        } else {
            fleet.reads_next(old(50, 5 * reading))
        };
        let demand = decision.demand.and_then(|demand| demand.types.activity);
        let untaken = demand.is_some_and(|demand| demand.untaken);
        assert!(!untaken, "{reading}: {}", decision.sentence());
    }
    // Tasks that are known not to be taken stay so if a read fails.
    for reading in 31..=40 {
        drop(fleet.reads_next(old(50, 5 * reading)));
    }
    fleet.wait(5);
    drop(fleet.fails());
    let decision = fleet.reads_next(old(50, 210));
    let demand = decision.demand.and_then(|demand| demand.types.activity);
    assert!(demand.unwrap().untaken, "{}", decision.sentence());
}

#[test]
fn the_sentence_says_that_tasks_are_not_taken_while_others_are_in_work() {
    let mut fleet = TestFleet::settled(policy(), 2, SECOND);
    fleet.used = vec![1];
    let decisions = (1..=40).map(|reading| fleet.reads_next(old(50, 5 * reading)));
    let decision = decisions.last().unwrap();
    assert_eq!(
        decision.sentence(),
        "kept at 1: 1 activity slot in use (1 on average); 50 activity tasks wait; 1 replica of \
         10 slots at 75% covers the slots in use; the waiting tasks are not taken, although slots \
         are free"
    );
}

#[test]
fn a_backlog_whose_head_moves_is_taken_although_slots_are_free() {
    // Pods that have just started report free slots in their last heartbeat while a large backlog
    // drains.
    let mut fleet = TestFleet::settled(policy(), 4, SECOND);
    fleet.used = vec![4; 4];
    for _ in 0..20 {
        let decision = fleet.reads_next(old(4_000, 30));
        assert_eq!(decision.desired, 20, "{}", decision.sentence());
        fleet.used = vec![4; 20];
        fleet.processed += 20;
    }
}

#[test]
fn an_overload_of_pods_with_free_slots_is_not_taken_for_tasks_that_nobody_takes() {
    // The pods take one task in five: the head ages by 4 s from one reading to the next.
    let mut fleet = TestFleet::settled(policy(), 2, Duration::from_millis(25));
    let mut untaken = Vec::new();
    for reading in 1..=60 {
        fleet.used = vec![1; 2];
        fleet.processed += 25;
        let decision = fleet.reads_next(old(160 * reading, 4 * reading));
        let demand = decision.demand.and_then(|demand| demand.types.activity);
        untaken.extend(demand.filter(|demand| demand.untaken).map(|_| reading));
    }
    assert_eq!(untaken, Vec::<u64>::new());
}

#[test]
fn the_rate_of_a_queue_that_the_server_has_just_loaded_is_ignored() {
    // Five tasks arrived within the 1/30 s since the queue was loaded.
    let rate = TypeBacklog {
        add_rate_milli: 162_000,
        ..waiting(5)
    };
    let mut fleet = TestFleet::settled(policy(), 0, SECOND);
    assert_eq!(fleet.reads_next(rate).desired, 1);
    // The same if a worker took them at once.
    let dispatched = TypeBacklog {
        add_rate_milli: 162_000,
        dispatch_rate_milli: 162_000,
        ..TypeBacklog::default()
    };
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    fleet.used = vec![5];
    assert_eq!(fleet.reads_next(dispatched).desired, 1);
}

#[test]
fn the_rate_of_a_queue_that_was_polled_counts_although_its_short_tasks_are_not_reported_yet() {
    // 240 tasks within 5 s; the pod has finished 185 of them since its last heartbeat.
    let pollers = Some(1);
    let load = TypeBacklog {
        add_rate_milli: 8_000,
        dispatch_rate_milli: 6_170,
        pollers,
        ..waiting(55)
    };
    let idle = TypeBacklog {
        pollers,
        ..TypeBacklog::default()
    };
    // Polled for as long as the server's rates reach back, or not.
    for (readings, trusted) in [(6, true), (5, false)] {
        let mut fleet = TestFleet::settled(policy(), 1, SECOND);
        for _ in 0..readings {
            drop(fleet.reads_next(idle));
        }
        assert_eq!(fleet.reads_next(load).inputs.rates_trusted, trusted);
    }
    // Without pollers it may have been loaded a moment ago.
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let unpolled = TypeBacklog {
        pollers: Some(0),
        ..load
    };
    drop(fleet.reads_next(TypeBacklog::default()));
    assert!(!fleet.reads_next(unpolled).inputs.rates_trusted);
}

#[test]
fn a_burst_on_a_quiet_queue_counts_at_once() {
    // 600 tasks within 5 s: the rate over 30 s is 20 per second, and all of them wait.
    let burst = TypeBacklog {
        add_rate_milli: 20_000,
        ..waiting(600)
    };
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let decision = fleet.reads_next(burst);
    assert!(decision.inputs.rates_trusted);
    assert_eq!(decision.desired, 20, "{}", decision.sentence());
}
