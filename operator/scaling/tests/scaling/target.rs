//! How many slots stay free: the wait target's own rule, and a fixed share.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, policy, waiting};

/// The in-flight term of four pods of 10 slots that have had 7 in use for twenty minutes.
fn in_flight(utilization: Option<u32>, target: u64) -> u64 {
    let policy = Policy {
        target_utilization: utilization,
        queue_wait_target: Duration::from_secs(target),
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
    let mut decision = None;
    for _ in 0..240 {
        fleet.wait(5);
        fleet.used = vec![7; 4];
        decision = Some(fleet.reads(TypeBacklog::default()));
    }
    let demand = decision.and_then(|decision| decision.demand);
    let activity = demand.and_then(|demand| demand.types.activity);
    activity.map_or(0, |activity| activity.terms.in_flight_milli)
}

/// The drain term of the activities, in thousandths of a replica.
fn drain(decision: &Decision) -> u64 {
    let demand = decision.demand.as_ref().map(|demand| &demand.types);
    let activity = demand.and_then(|types| types.activity.as_ref());
    activity.map_or(0, |activity| activity.terms.drain_milli)
}

/// The learned time of an activity, in milliseconds.
fn task_millis(decision: &Decision) -> u64 {
    let mean = decision.inputs.service_time.activity.mean();
    u64::try_from(mean.as_millis()).unwrap()
}

#[test]
fn the_longer_tasks_may_wait_the_fewer_slots_stay_free() {
    let by_target = [5, 30, 600].map(|target| in_flight(None, target));
    // 28 slots, and 4 × 10 s ÷ target.
    assert_eq!(by_target, [3600, 2934, 2807]);
}

#[test]
fn slow_pods_keep_slots_free_for_six_times_the_target_at_most() {
    let policy = Policy {
        target_utilization: None,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
    let mut decision = None;
    for start_up in [25, 600] {
        fleet.start_up = Some(Duration::from_secs(start_up));
        for _ in 0..120 {
            fleet.wait(5);
            fleet.used = vec![7; 4];
            fleet.processed += 35;
            decision = Some(fleet.reads(TypeBacklog::default()));
        }
        let demand = decision.as_ref().and_then(|decision| decision.demand);
        let activity = demand.and_then(|demand| demand.types.activity);
        // 28 slots, and 4 × 6.
        assert_eq!(
            activity.map(|activity| activity.terms.in_flight_milli),
            Some(5_200)
        );
    }
}

#[test]
fn a_fixed_share_of_slots_stays_free_whatever_the_target() {
    let by_target = [5, 30, 600].map(|target| in_flight(Some(75), target));
    assert_eq!(by_target, [3734; 3]);
}

#[test]
fn the_sentence_says_which_rule_applies() {
    let said = |utilization| {
        let policy = Policy {
            target_utilization: utilization,
            ..policy()
        };
        let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
        fleet.wait(5);
        fleet.used = vec![10; 4];
        let waiting = TypeBacklog {
            count: 300,
            ..TypeBacklog::default()
        };
        fleet.reads(waiting).sentence()
    };
    assert!(said(Some(75)).contains("slots at 75% clear them within the 5s target"));
    assert!(said(None).contains("slots clear them within the 5s target"));
}

#[test]
fn the_sentence_does_not_promise_what_is_too_late() {
    let said = |age| {
        let mut fleet = TestFleet::settled(policy(), 4, Duration::from_secs(1));
        let late = TypeBacklog {
            age: Duration::from_secs(age),
            ..waiting(300)
        };
        fleet.reads_next(late).sentence()
    };
    assert!(said(5).contains(" clear them within the 5s target"));
    assert!(said(6).contains(" clear them, some later than the 5s target"));
}

#[test]
fn the_sentence_clears_nothing_where_nothing_waits() {
    let policy = Policy {
        target_utilization: None,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
    let mut decision = None;
    for _ in 0..8 {
        decision = Some(fleet.reads_next(TypeBacklog {
            add_rate_milli: 30_000,
            dispatch_rate_milli: 30_000,
            ..TypeBacklog::default()
        }));
    }
    let said = decision.map(|decision| decision.sentence());
    let keeps = "slots keep up with the reserve for the 5s target";
    assert!(
        said.as_ref().is_some_and(|said| said.contains(keeps)),
        "{said:?}"
    );
}

#[test]
fn sixty_new_workflows_wake_one_pod_and_sixty_activities_several() {
    let wakes = |types| {
        let policy = Policy {
            target_utilization: None,
            ..policy()
        };
        let mut fleet = TestFleet::new(policy, 0);
        let backlog = Backlog { sequence: 1, types };
        let taken_at = fleet.now;
        let observation = fleet.observation(Reading::Known {
            value: backlog,
            taken_at,
        });
        fleet.step(&observation).desired
    };
    let workflows = PerType {
        workflow: Some(waiting(60)),
        ..PerType::default()
    };
    let activities = PerType {
        activity: Some(waiting(60)),
        ..PerType::default()
    };
    assert_eq!([wakes(workflows), wakes(activities)], [1, 6]);
}

#[test]
fn no_pod_is_requested_for_tasks_that_are_gone_before_it_is_ready() {
    // Every slot is taken and 300 tasks wait, but almost 40 tasks end per second and 2 arrive.
    let asks = |start_up| {
        let policy = Policy {
            target_utilization: None,
            max: 100,
            ..policy()
        };
        let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
        fleet.start_up = start_up;
        fleet.wait(5);
        fleet.used = vec![10; 4];
        let waiting = TypeBacklog {
            count: 300,
            add_rate_milli: 2_000,
            dispatch_rate_milli: 2_000,
            ..TypeBacklog::default()
        };
        drain(&fleet.reads(waiting))
    };
    assert!(asks(None) > 4000);
    assert!(asks(Some(Duration::from_secs(1))) > 4000);
    assert_eq!(asks(Some(Duration::from_mins(1))), 4000);
}

#[test]
fn a_backlog_is_cleared_within_a_long_target() {
    let policy = Policy {
        target_utilization: None,
        queue_wait_target: Duration::from_mins(10),
        max: 100,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 2, Duration::from_secs(1));
    fleet.start_up = Some(Duration::from_secs(3));
    let decision = fleet.reads_next(waiting(60_000));
    // The work of 60,000 tasks in 592 s, by 10 slots.
    let expected = 60_000 * task_millis(&decision) / 592 / 10;
    let found = drain(&decision);
    assert!(found.abs_diff(expected) < 10, "{found} {expected}");
}

/// Replaces the last pod by one that is not ready.
fn with_a_starting_pod(mut observation: Observation) -> Observation {
    observation.replicas.ready -= 1;
    observation.replicas.starting = 1;
    if let Reading::Known { value, .. } = &mut observation.slots
        && let Some(pod) = value.pods.last_mut()
    {
        *pod = PodSlots {
            phase: PodPhase::Starting,
            listed: false,
            fresh: false,
            reported_at: None,
            reported_after: None,
            types: PerType::default(),
            ..pod.clone()
        };
    }
    observation
}

#[test]
fn a_pod_that_never_becomes_ready_does_not_count_as_if_it_had_worked_all_the_time() {
    let policy = Policy {
        min: 6,
        max: 100,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 6, Duration::from_secs(1));
    fleet.start_up = Some(Duration::from_secs(30));
    let mut sequence = 1_000;
    let mut next = |fleet: &mut TestFleet, backlog| {
        fleet.wait(5);
        sequence += 1;
        let observation = fleet.observation(Reading::Known {
            value: activities(sequence, backlog),
            taken_at: fleet.now,
        });
        fleet.step(&with_a_starting_pod(observation))
    };
    fleet.used = vec![7; 5];
    for _ in 0..60 {
        fleet.processed += 35;
        drop(next(&mut fleet, TypeBacklog::default()));
    }
    fleet.used = vec![10; 5];
    fleet.processed += 35;
    let decision = next(&mut fleet, waiting(4_000));
    // The work of 4,000 tasks, less what 6 pods of 10 slots do in 30 s, in 5 s and at 75 %.
    let expected = (4_000 * task_millis(&decision) - 6 * 10 * 30_000) * 4 / 3 / 5 / 10;
    let found = drain(&decision);
    assert!(found.abs_diff(expected) < 10, "{found} {expected}");
}

#[test]
fn a_pod_that_is_still_starting_measures_no_start_up() {
    let policy = Policy {
        target_utilization: None,
        queue_wait_target: Duration::from_mins(2),
        max: 100,
        ..policy()
    };
    let mut fleet = TestFleet::new(policy, 0);
    let before = drain(&fleet.reads(waiting(300)));
    let mut asks_after = |sequence, seconds| {
        fleet.wait(seconds);
        let taken_at = fleet.now;
        let mut observation = fleet.observation(Reading::Known {
            value: activities(sequence, waiting(300)),
            taken_at,
        });
        observation.replicas.starting = observation.replicas.ready;
        observation.replicas.ready = 0;
        if let Reading::Known { value, .. } = &mut observation.slots {
            for pod in &mut value.pods {
                *pod = PodSlots {
                    phase: PodPhase::Starting,
                    listed: false,
                    fresh: false,
                    reported_at: None,
                    reported_after: None,
                    types: PerType::default(),
                    ..pod.clone()
                };
            }
        }
        drain(&fleet.step(&observation))
    };
    assert_eq!(asks_after(2, 0), before);
    // It takes at least 20 s: there is less time to clear the backlog, and still no slack.
    let later = asks_after(3, 20);
    assert!(later > before, "{later} after {before}");
}

#[test]
fn a_burst_of_the_past_asks_for_no_more_slots_than_there_are_tasks() {
    let policy = Policy {
        target_utilization: None,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
    for used in [1, 10, 0] {
        for _ in 0..6 {
            fleet.wait(5);
            fleet.used = vec![used; usize::try_from(fleet.requested).unwrap()];
            drop(fleet.reads(TypeBacklog::default()));
        }
    }
    fleet.wait(5);
    // One task of one second: a tenth of a replica of ten slots.
    assert_eq!(drain(&fleet.reads(waiting(1))), 100);
}

#[test]
fn a_burst_of_the_past_asks_for_no_more_slots_than_the_rate_limit_feeds() {
    let policy = Policy {
        target_utilization: None,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 4, Duration::from_secs(1));
    for used in [1, 10] {
        for _ in 0..6 {
            fleet.wait(5);
            fleet.used = vec![used; 4];
            fleet.processed += 5 * u64::from(used);
            drop(fleet.reads(TypeBacklog::default()));
        }
    }
    // One task of one second per second. Less than one replica is never asked for.
    let limited = TypeBacklog {
        effective_limit_milli: Some(1_000),
        ..waiting(500)
    };
    assert_eq!(drain(&fleet.reads_next(limited)), 1000);
}

#[test]
fn a_limit_of_fairness_keys_feeds_no_more_replicas() {
    let mut fleet = TestFleet::settled(policy(), 4, Duration::from_secs(1));
    fleet.wait(5);
    fleet.used = vec![5; 4];
    // The queue's own limit is far away; what limits is not reported.
    let limited = TypeBacklog {
        count: 5000,
        age: Duration::from_mins(10),
        add_rate_milli: 40_000,
        dispatch_rate_milli: 20_000,
        rate_limited: true,
        effective_limit_milli: Some(4_000_000),
        ..TypeBacklog::default()
    };
    let decision = fleet.reads(limited);
    assert_eq!(
        (decision.desired, decision.reason),
        (4, Reason::RateLimited)
    );
}

#[test]
fn a_restarted_operator_keeps_the_pods_that_long_tasks_fill() {
    let policy = Policy {
        target_utilization: None,
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 3, Duration::from_millis(200));
    fleet.used = vec![10; 3];
    fleet.wait(5);
    drop(fleet.reads(TypeBacklog::default()));
    // The restart: what was learned is gone, and the tasks still run.
    fleet.history = History::new();
    let kept: Vec<u32> = (0..24)
        .map(|_| fleet.reads_next(TypeBacklog::default()).desired)
        .collect();
    assert!(kept.iter().all(|desired| *desired >= 3), "{kept:?}");
}

#[test]
fn twelve_tasks_on_workers_without_a_slot_limit_need_a_few_replicas_of_four() {
    // The longer a pod takes to start, the more slots the target of 5 s keeps free: at most twice
    // those in use.
    for (start_up, enough) in [(1, 6), (10, 6), (60, 9)] {
        let policy = Policy {
            target_utilization: None,
            slots_per_replica: 4,
            ..policy()
        };
        let mut fleet = TestFleet::new(policy, 0);
        let woken = fleet.reads(waiting(12)).desired;
        assert!((1..=6).contains(&woken), "{woken}");
        fleet.start_up = Some(Duration::from_secs(start_up));
        let mut requested = Vec::new();
        for sequence in 2..20 {
            fleet.wait(5);
            let pods = fleet.requested;
            fleet.used = (0..pods).map(|pod| (12 + pod) / pods).collect();
            let backlog = activities(sequence, TypeBacklog::default());
            let taken_at = fleet.now;
            let mut observation = fleet.observation(Reading::Known {
                value: backlog,
                taken_at,
            });
            if let Reading::Known { value, .. } = &mut observation.slots {
                let activities = value.pods.iter_mut().map(|pod| &mut pod.types.activity);
                for slots in activities.flatten() {
                    slots.available = None;
                }
            }
            requested.push(fleet.step(&observation).desired);
        }
        let most = requested.iter().max();
        assert!(most.is_some_and(|most| *most <= enough), "{requested:?}");
    }
}
