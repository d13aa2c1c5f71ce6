//! One reading, one decision, compared whole.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, outcome, pod, policy, waiting};

const SECOND: Duration = Duration::from_secs(1);

fn after_a_while(requested: u32) -> TestFleet {
    TestFleet::settled(policy(), requested, SECOND)
}

#[test]
fn the_first_reading_with_a_backlog_scales_a_fleet_from_zero_to_the_right_size() {
    let cases = [(1, 1), (7, 1), (8, 2), (50, 7), (1_000_000, 20)];
    let decided = cases.map(|(count, _)| {
        let mut fleet = TestFleet::new(policy(), 0);
        (count, fleet.reads(waiting(count)).desired)
    });
    assert_eq!(decided, cases);
}

#[test]
fn a_decision_contains_demand_limits_reason_and_sentence() {
    let mut fleet = TestFleet::new(policy(), 0);
    let decision = fleet.reads(waiting(50));
    let terms = DemandTerms {
        drain_milli: 6667,
        ..DemandTerms::default()
    };
    let activity = TypeDemand {
        terms,
        milli: 6667,
        binding: Term::Drain,
        rate_limited: false,
        untaken: false,
        in_vain: false,
    };
    let expected = Demand {
        milli: 6667,
        binding: Some((TaskType::Activity, Term::Drain)),
        rate_limited: false,
        in_vain: false,
        types: PerType {
            activity: Some(activity),
            ..PerType::default()
        },
    };
    assert_eq!(decision.demand, Some(expected));
    assert_eq!(
        (decision.previous, decision.desired, decision.act),
        (0, 7, true)
    );
    assert_eq!(
        decision.sentence(),
        "scaled 0 to 7: 50 activity tasks wait; a task is assumed to take 5s; \
         7 replicas of 10 slots at 75% clear them within the 5s target"
    );
    assert_eq!(
        (decision.reason, decision.limits),
        (Reason::Activated, Vec::new())
    );
    let inputs = Inputs {
        replicas: Replicas::default(),
        backlog: Ok(PerType {
            activity: Some(waiting(50)),
            ..PerType::default()
        }),
        slots_in_use: Ok(PerType::default()),
        blind_pods: 0,
        busy_pods: 0,
        held_pods: Vec::new(),
        slots_per_replica: PerType {
            workflow: 10,
            activity: 10,
            nexus: 10,
        },
        mean_slots_in_use_milli: PerType::default(),
        service_time: PerType {
            workflow: ServiceTime::Assumed {
                mean: DEFAULT_WORKFLOW_TASK_TIME,
            },
            activity: ServiceTime::Assumed {
                mean: DEFAULT_SERVICE_TIME,
            },
            nexus: ServiceTime::Assumed {
                mean: DEFAULT_SERVICE_TIME,
            },
        },
        capacity_milli: PerType::default(),
        rates_trusted: false,
        queue_wait_target: Duration::from_secs(5),
        target_utilization: Some(75),
    };
    assert_eq!(decision.inputs, inputs);
}

#[test]
fn the_sentence_names_the_inputs_the_demand_and_the_limit() {
    let mut fleet = after_a_while(3);
    fleet.policy.behavior.scale_up.policies = vec![StepPolicy {
        kind: StepKind::Pods,
        value: 4,
        period: Duration::from_secs(15),
    }];
    fleet.wait(5);
    fleet.used = vec![10, 10, 10];
    let backlog = TypeBacklog {
        count: 420,
        add_rate_milli: 12_500,
        ..TypeBacklog::default()
    };
    let decision = fleet.reads(backlog);
    assert_eq!(
        decision.sentence(),
        "scaled 3 to 7: 420 activity tasks wait and 12.5/s arrive; a task takes 1.2s; \
         16 replicas of 10 slots at 75% clear them within the 5s target; \
         limited to 7 by the scaleUp policy"
    );
    assert_eq!(
        decision.limits,
        vec![Limited {
            by: Reason::ScaleUpPolicy,
            from: 16,
            to: 7
        }]
    );
}

#[test]
fn an_empty_backlog_with_busy_workers_keeps_its_replicas() {
    let mut fleet = after_a_while(4);
    let mut seen = Vec::new();
    for _ in 0..24 {
        fleet.wait(30);
        fleet.used = vec![8, 8, 7, 7];
        seen.push(outcome(&fleet.reads(TypeBacklog::default())));
    }
    assert_eq!(seen, vec![(4, "SlotsInUse"); 24]);
}

#[test]
fn a_blind_pod_counts_as_full_and_demands_only_itself() {
    let mut fleet = after_a_while(4);
    fleet.blind = 3;
    let mut seen = Vec::new();
    for _ in 0..24 {
        fleet.wait(5);
        seen.push(outcome(&fleet.reads(TypeBacklog::default())));
    }
    // The idle pod goes once the window has passed; the blind pods stay.
    assert_eq!(seen.last(), Some(&(3, "SlotsInUse")));
    assert!(
        seen.iter().all(|(desired, _)| (3..=4).contains(desired)),
        "{seen:?}"
    );
}

#[test]
fn slots_of_terminating_pods_do_not_count_as_demand() {
    let mut fleet = after_a_while(1);
    fleet.wait(5);
    let mut leaving = pod("leaving", 10, fleet.now);
    leaving.phase = PodPhase::Terminating;
    let staying = pod("pod-00", 6, fleet.now);
    let mut observation = fleet.observation(Reading::Known {
        value: activities(1000, TypeBacklog::default()),
        taken_at: fleet.now,
    });
    observation.slots = Reading::Known {
        value: Slots {
            pods: vec![leaving, staying],
            ..Slots::default()
        },
        taken_at: fleet.now,
    };
    assert_eq!(outcome(&fleet.step(&observation)), (1, "SlotsInUse"));
}

#[test]
fn an_old_backlog_with_every_slot_in_use_adds_one_step() {
    let mut fleet = after_a_while(4);
    fleet.wait(5);
    fleet.used = vec![10; 4];
    let backlog = TypeBacklog {
        count: 15,
        age: Duration::from_secs(9),
        ..TypeBacklog::default()
    };
    let decision = fleet.reads(backlog);
    // 40 slots in use just fit into 4 replicas. The 15 tasks that wait too long fill two more.
    assert_eq!(outcome(&decision), (6, "BacklogAge"));
    let terms = decision
        .demand
        .and_then(|demand| demand.types.activity)
        .map(|demand| demand.terms);
    let expected = DemandTerms {
        in_flight_milli: 4000,
        drain_milli: 567,
        age_milli: 5500,
        capacity_milli: 0,
        backlog_per_replica_milli: 0,
    };
    assert_eq!(terms, Some(expected));
}

#[test]
fn backlog_per_replica_adds_a_term_to_the_demand() {
    let mut fleet = after_a_while(1);
    fleet.policy.backlog_per_replica = Some(5);
    fleet.wait(5);
    assert_eq!(outcome(&fleet.reads(waiting(42))), (9, "BacklogPerReplica"));
}

#[test]
fn a_rate_limited_queue_gets_no_more_than_its_limit_can_feed() {
    let mut fleet = after_a_while(2);
    fleet.used = vec![5, 0];
    for _ in 0..7 {
        fleet.processed += 12;
        drop(fleet.reads_next(TypeBacklog::default()));
    }
    fleet.wait(5);
    let backlog = TypeBacklog {
        count: 5000,
        age: Duration::from_mins(4),
        rate_limited: true,
        effective_limit_milli: Some(10_000),
        ..TypeBacklog::default()
    };
    let decision = fleet.reads(backlog);
    assert_eq!(outcome(&decision), (2, "RateLimited"));
    assert_eq!(
        decision.sentence(),
        "kept at 2: 5000 activity tasks wait; a task takes 1.1s; \
         2 replicas of 10 slots at 75% take what the \
         queue's rate limit lets through"
    );
}

#[test]
fn a_queue_that_is_limited_by_an_unknown_rate_does_not_grow() {
    let mut fleet = after_a_while(2);
    fleet.wait(5);
    let backlog = TypeBacklog {
        count: 5000,
        rate_limited: true,
        ..TypeBacklog::default()
    };
    assert_eq!(outcome(&fleet.reads(backlog)), (2, "RateLimited"));
}

#[test]
fn each_task_type_is_counted_separately_and_the_largest_wins() {
    let policy = policy();
    let mut fleet = TestFleet::new(policy, 0);
    let types = PerType {
        workflow: Some(waiting(500)),
        activity: Some(waiting(20)),
        nexus: None,
    };
    let observation = fleet.observation(Reading::Known {
        value: Backlog { sequence: 1, types },
        taken_at: fleet.now,
    });
    let decision = fleet.step(&observation);
    let binding = decision.demand.and_then(|demand| demand.binding);
    assert_eq!(
        (decision.desired, binding),
        (7, Some((TaskType::Workflow, Term::Drain)))
    );
}

#[test]
fn a_demand_close_to_the_current_size_changes_nothing() {
    let mut fleet = after_a_while(10);
    // 78 slots in use require 10.4 replicas of 7.5 useful slots: within 10 % of 10.
    fleet.used = vec![8, 8, 8, 8, 8, 8, 8, 8, 7, 7];
    let close = (0..7)
        .map(|_| fleet.reads_next(TypeBacklog::default()))
        .last();
    assert_eq!(close.as_ref().map(outcome), Some((10, "WithinTolerance")));
    // The 30 s mean moves from 78 to 90 slots and leaves the tolerance on the way.
    fleet.used = vec![9; 10];
    let seen: Vec<_> = (0..7)
        .map(|_| outcome(&fleet.reads_next(TypeBacklog::default())))
        .collect();
    let expected = vec![
        (10, "WithinTolerance"),
        (10, "WithinTolerance"),
        (12, "SlotsInUse"),
        (12, "SlotsInUse"),
        (12, "SlotsInUse"),
        (12, "SlotsInUse"),
        (12, "SlotsInUse"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_users_bounds_win_over_everything() {
    let mut fleet = after_a_while(5);
    fleet.wait(5);
    fleet.policy.max = 3;
    assert_eq!(outcome(&fleet.fails()), (3, "MaxReplicas"));
    fleet.wait(5);
    fleet.policy.min = 4;
    fleet.policy.max = 9;
    assert_eq!(outcome(&fleet.fails()), (4, "MinReplicas"));
    fleet.wait(5);
    fleet.policy.scheduled_min = 100;
    assert_eq!(outcome(&fleet.fails()), (9, "ScheduledMinimum"));
}

#[test]
fn paused_keeps_the_replicas_that_somebody_set_and_dry_run_only_reports() {
    let mut fleet = TestFleet::new(
        Policy {
            mode: Mode::Paused,
            min: 3,
            ..policy()
        },
        1,
    );
    let decision = fleet.reads(waiting(500));
    assert_eq!((outcome(&decision), decision.act), ((1, "Paused"), false));
    assert_eq!(decision.sentence(), "kept at 1: mode is Paused");
    let mut fleet = TestFleet::new(
        Policy {
            mode: Mode::DryRun,
            ..policy()
        },
        0,
    );
    let decision = fleet.reads(waiting(50));
    assert_eq!(
        (outcome(&decision), decision.act),
        ((7, "Activated"), false)
    );
    assert_eq!(&decision.sentence()[..19], "would scale 0 to 7:");
}

#[test]
fn a_new_deployment_starts_at_its_minimum() {
    let at = |min, scheduled_min, max| {
        initial_replicas(&Policy {
            min,
            scheduled_min,
            max,
            ..policy()
        })
    };
    assert_eq!(
        [at(0, 0, 9), at(2, 0, 9), at(2, 5, 9), at(2, 50, 9)],
        [0, 2, 5, 9]
    );
}

#[test]
fn every_reason_has_its_own_word() {
    let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    words.sort_unstable();
    let count = words.len();
    words.dedup();
    assert_eq!((words.len(), count), (Reason::ALL.len(), Reason::ALL.len()));
}

#[test]
fn a_queue_that_is_paused_in_temporal_keeps_a_replica_for_the_tasks_that_wait() {
    let paused = TypeBacklog {
        add_rate_milli: 519,
        rate_limited: true,
        effective_limit_milli: Some(0),
        age: Duration::from_secs(32),
        ..waiting(57)
    };
    let mut fleet = TestFleet::settled(policy(), 3, Duration::from_secs(1));
    let decisions = (0..60).map(|_| fleet.reads_next(paused));
    let decision = decisions.last().unwrap();
    assert_eq!(outcome(&decision).0, 1);
    assert_eq!(
        decision.sentence(),
        "kept at 1: 57 activity tasks wait and 0.519/s arrive; a task takes 1.1s; 1 replica of 10 \
         slots at 75% takes what the queue's rate limit lets through"
    );
}
