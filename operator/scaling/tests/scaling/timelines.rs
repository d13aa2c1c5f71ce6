//! Timelines: set readings, advance the clock, compare what happened.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, outcome, policy, waiting};

const SECOND: Duration = Duration::from_secs(1);

fn idle() -> TypeBacklog {
    TypeBacklog::default()
}

/// As many tasks arrive as are dispatched.
fn rate(milli: u64) -> TypeBacklog {
    TypeBacklog {
        add_rate_milli: milli,
        dispatch_rate_milli: milli,
        ..idle()
    }
}

/// Four pods that execute the 28 tasks of 1 s that arrive per second.
fn busy_fleet() -> TestFleet {
    let mut fleet = TestFleet::settled(policy(), 4, SECOND);
    fleet.used = vec![7; 4];
    for _ in 0..8 {
        drop(fleet.reads_next(rate(28_000)));
    }
    fleet
}

/// The seconds from the start to each change, with the new number and the reason.
fn changes(
    fleet: &mut TestFleet,
    readings: u32,
    mut read: impl FnMut(&mut TestFleet) -> Decision,
) -> Vec<(u64, u32, &'static str)> {
    let start = fleet.now;
    let mut seen = Vec::new();
    for _ in 0..readings {
        fleet.wait(5);
        let decision = read(fleet);
        if decision.act {
            let (desired, reason) = outcome(&decision);
            seen.push((fleet.now.since(start).as_secs(), desired, reason));
        }
    }
    seen
}

#[test]
fn zero_follows_only_after_the_whole_cooldown_and_a_heartbeat_after_the_last_task() {
    let mut fleet = TestFleet::settled(policy(), 3, SECOND);
    fleet.wait(5);
    fleet.used = vec![1];
    drop(fleet.reads(TypeBacklog {
        add_rate_milli: 100,
        ..idle()
    }));
    fleet.used = Vec::new();
    // The window holds the 3 replicas of the busy half minute; idleness counts from the first quiet
    // reading.
    let seen = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    assert_eq!(seen, vec![(60, 1, "CoolingDown"), (65, 0, "NoDemand")]);
}

#[test]
fn the_last_pod_goes_right_after_a_heartbeat() {
    // Its worker sends one every 60 s, 40 s after each minute. The cooldown ends at 60 s.
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let start = fleet.now;
    let seen = changes(&mut fleet, 40, |fleet| {
        let beats = (fleet.now.since(start).as_secs() + 20) / 60;
        let last = start.plus(Duration::from_secs(60 * beats));
        fleet.reported_at = Some(last.minus(Duration::from_secs(20)));
        fleet.reads(idle())
    });
    assert_eq!(seen, vec![(100, 0, "NoDemand")]);
}

#[test]
fn a_failed_read_now_and_then_neither_keeps_the_last_replica_nor_hides_the_arrivals() {
    // Every fourth read fails.
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let mut turn = 0;
    let seen = changes(&mut fleet, 20, |fleet| {
        turn += 1;
        if turn % 4 == 0 {
            fleet.fails()
        } else {
            fleet.reads(idle())
        }
    });
    assert_eq!(seen, vec![(65, 0, "NoDemand")]);
    let mut fleet = busy_fleet();
    for turn in 1..=20 {
        if turn % 4 == 0 {
            fleet.wait(5);
            drop(fleet.fails());
        } else {
            let decision = fleet.reads_next(rate(28_000));
            assert!(decision.inputs.rates_trusted, "read {turn}");
        }
    }
}

#[test]
fn a_slot_in_use_at_a_failed_read_restarts_the_cooldown() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    changes(&mut fleet, 8, |fleet| fleet.reads(idle()));
    fleet.wait(5);
    fleet.used = vec![1];
    drop(fleet.fails());
    fleet.used = Vec::new();
    let seen = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    assert_eq!(seen, vec![(65, 0, "NoDemand")]);
}

#[test]
fn failed_reads_for_longer_than_a_rate_covers_restart_the_cooldown() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    changes(&mut fleet, 8, |fleet| fleet.reads(idle()));
    fleet.wait(21);
    drop(fleet.fails());
    let seen = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    assert_eq!(seen, vec![(65, 0, "NoDemand")]);
}

#[test]
fn a_single_task_restarts_the_cooldown() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    changes(&mut fleet, 11, |fleet| fleet.reads(idle()));
    fleet.wait(5);
    fleet.used = vec![1];
    drop(fleet.reads(idle()));
    fleet.used = Vec::new();
    let seen = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    assert_eq!(seen, vec![(65, 0, "NoDemand")]);
}

#[test]
fn arrivals_that_never_wait_keep_the_last_replica() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let busy = TypeBacklog {
        add_rate_milli: 33,
        ..idle()
    };
    assert_eq!(
        changes(&mut fleet, 100, |fleet| fleet.reads(busy)),
        Vec::new()
    );
}

#[test]
fn tasks_seen_only_in_the_total_of_a_worker_keep_the_last_replica() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    let seen = changes(&mut fleet, 100, |fleet| {
        fleet.processed += 1;
        fleet.reads(idle())
    });
    assert_eq!(seen, Vec::new());
}

#[test]
fn an_outage_changes_nothing_and_no_fleet_shrinks_right_after_it() {
    let mut fleet = TestFleet::settled(policy(), 6, SECOND);
    fleet.used = vec![9; 6];
    for _ in 0..7 {
        fleet.wait(5);
        drop(fleet.reads(idle()));
    }
    assert_eq!(fleet.requested, 7);
    let during = changes(&mut fleet, 120, TestFleet::fails);
    fleet.used = Vec::new();
    let after = changes(&mut fleet, 30, |fleet| fleet.reads(idle()));
    // Readings resume at 5 s, so a window of history exists at 65 s. Rates count from 35 s and
    // prove silence since 10 s: idle since then, and proven at 70 s.
    assert_eq!(
        (during, after),
        (
            Vec::new(),
            vec![(65, 1, "CoolingDown"), (70, 0, "NoDemand")]
        )
    );
}

#[test]
fn a_fallback_raises_but_never_lowers() {
    let fallback = Some(Fallback {
        failure_threshold: 3,
        replicas: 4,
    });
    let mut low = TestFleet::settled(
        Policy {
            fallback,
            ..policy()
        },
        2,
        SECOND,
    );
    let mut high = TestFleet::settled(
        Policy {
            fallback,
            ..policy()
        },
        6,
        SECOND,
    );
    assert_eq!(
        changes(&mut low, 10, TestFleet::fails),
        vec![(15, 4, "Fallback")]
    );
    assert_eq!(changes(&mut high, 10, TestFleet::fails), Vec::new());
}

#[test]
fn after_a_restart_nothing_shrinks_and_the_first_reading_scales_no_running_fleet() {
    let mut fleet = TestFleet::new(policy(), 4);
    let shrink = changes(&mut fleet, 14, |fleet| fleet.reads(idle()));
    assert_eq!(shrink, vec![(65, 1, "CoolingDown"), (70, 0, "NoDemand")]);
    let mut fleet = TestFleet::new(policy(), 2);
    fleet.used = vec![10; 20];
    let grow = changes(&mut fleet, 4, |fleet| fleet.reads(waiting(10_000)));
    assert_eq!(
        grow,
        vec![
            (10, 4, "WarmingUp"),
            (15, 8, "WarmingUp"),
            (20, 16, "WarmingUp")
        ]
    );
}

#[test]
fn the_same_reading_is_acted_on_once_even_when_windows_end() {
    let mut fleet = TestFleet::settled(policy(), 5, SECOND);
    fleet.wait(5);
    let backlog = taskqueue_testkit::test_fleet::activities(9000, idle());
    let observation = fleet.observation(Reading::Known {
        value: backlog,
        taken_at: fleet.now,
    });
    let first = outcome(&fleet.step(&observation));
    // Everything stays the same, heartbeats included, until long after every window has ended.
    let seen = changes(&mut fleet, 60, |fleet| fleet.step(&observation));
    assert_eq!((first, seen), ((5, "ScaleDownStabilized"), Vec::new()));
}

#[test]
fn a_change_by_somebody_else_is_reverted_on_the_same_reading() {
    let mut fleet = TestFleet::settled(policy(), 2, SECOND);
    fleet.wait(5);
    fleet.used = vec![8, 7];
    let observation = fleet.observation(Reading::Known {
        value: taskqueue_testkit::test_fleet::activities(9000, idle()),
        taken_at: fleet.now,
    });
    assert_eq!(outcome(&fleet.step(&observation)), (2, "SlotsInUse"));
    let mut changed = observation.clone();
    changed.replicas.requested = 9;
    let decision = fleet.step(&changed);
    assert_eq!(
        (outcome(&decision), decision.act),
        ((2, "AlreadyActedOn"), true)
    );
}

#[test]
fn a_burst_is_kept_for_the_scale_down_window_and_then_follows_the_policy() {
    let mut policy = policy();
    policy.behavior.scale_down.policies = vec![StepPolicy {
        kind: StepKind::Percent,
        value: 50,
        period: Duration::from_secs(15),
    }];
    let mut fleet = TestFleet::settled(policy, 1, SECOND);
    fleet.wait(5);
    fleet.used = vec![10];
    let peak = fleet.reads(waiting(400));
    assert_eq!(outcome(&peak), (12, "Drain"));
    fleet.used = vec![1];
    let seen = changes(&mut fleet, 24, |fleet| fleet.reads(idle()));
    let expected = vec![
        (60, 6, "ScaleDownPolicy"),
        (75, 3, "ScaleDownPolicy"),
        (90, 1, "SlotsInUse"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_resumed_fleet_keeps_its_replicas_for_the_scale_down_window() {
    let mut fleet = TestFleet::settled(policy(), 5, SECOND);
    fleet.policy.mode = Mode::Paused;
    let paused = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    fleet.policy.mode = Mode::Active;
    let resumed = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    assert_eq!((paused, resumed), (Vec::new(), vec![(60, 0, "NoDemand")]));
}

#[test]
fn a_scale_up_window_waits_for_the_demand_to_last() {
    let mut policy = policy();
    policy.behavior.scale_up.stabilization_window = Duration::from_secs(30);
    let mut fleet = TestFleet::settled(policy, 2, SECOND);
    let seen = changes(&mut fleet, 10, |fleet| {
        fleet.used = vec![10; 2];
        fleet.processed += 50;
        fleet.reads(waiting(200))
    });
    assert_eq!(seen, vec![(30, 6, "Drain")]);
}

#[test]
fn nothing_shrinks_during_a_rollout() {
    let mut fleet = TestFleet::settled(policy(), 5, SECOND);
    fleet.rollout = true;
    fleet.used = vec![1];
    let during = changes(&mut fleet, 40, |fleet| fleet.reads(idle()));
    fleet.rollout = false;
    let after = changes(&mut fleet, 1, |fleet| fleet.reads(idle()));
    assert_eq!((during, after), (Vec::new(), vec![(5, 1, "SlotsInUse")]));
}

#[test]
fn only_idle_pods_are_removed_when_tasks_outlast_the_grace_period() {
    let grace = Duration::from_secs(30);
    let mut fleet = TestFleet::settled(
        Policy {
            drain_grace_period: grace,
            ..policy()
        },
        5,
        SECOND,
    );
    // Three pods have one slot in use each, without a completion for much longer than the grace
    // period.
    fleet.used = vec![1, 0, 1, 0, 1];
    let seen = changes(&mut fleet, 40, |fleet| fleet.reads(idle()));
    let expected = vec![
        (60, 4, "ScaleDownStabilized"),
        (70, 3, "ScaleDownStabilized"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(outcome(&fleet.reads_next(idle())), (3, "BusyPods"));
    // Short tasks in every pod hold the fleet until a pod is idle. With so few tasks per pod, one
    // soon is.
    let mut fleet = TestFleet::settled(
        Policy {
            drain_grace_period: grace,
            ..policy()
        },
        5,
        SECOND,
    );
    let seen = changes(&mut fleet, 40, |fleet| {
        fleet.used = vec![1; 5];
        fleet.processed += 5;
        fleet.reads(idle())
    });
    assert_eq!(seen, vec![]);
}

#[test]
fn workers_that_never_send_heartbeats_shrink_by_stabilization_but_not_to_zero() {
    let mut fleet = TestFleet::new(policy(), 4);
    fleet.slots_unknown = Some(UnknownReason::NotSupported);
    let old_server = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    let mut fleet = TestFleet::new(policy(), 4);
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    let old_workers = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    assert_eq!(old_server, vec![(155, 1, "SlotsUnknown")]);
    assert_eq!(old_workers, vec![(155, 1, "SlotsUnknown")]);
}

#[test]
fn a_release_that_stops_sending_heartbeats_holds_the_fleet_for_ten_minutes() {
    let mut fleet = TestFleet::settled(policy(), 10, SECOND);
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    let seen = changes(&mut fleet, 240, |fleet| fleet.reads(idle()));
    assert_eq!(seen, vec![(605, 1, "SlotsUnknown")]);
    // A heartbeat, and all is known again.
    fleet.slots_unknown = None;
    fleet.used = vec![10];
    drop(fleet.reads_next(idle()));
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    let seen = changes(&mut fleet, 110, |fleet| fleet.reads(idle()));
    assert_eq!(seen, Vec::new());
}

#[test]
fn a_pod_that_was_ready_and_sends_no_heartbeat_may_be_working() {
    let after_a_while = |phase| {
        let mut fleet = TestFleet::settled(policy(), 1, SECOND);
        let mut last = None;
        for sequence in 9_000..9_040 {
            fleet.wait(5);
            let backlog = Reading::Known {
                value: taskqueue_testkit::test_fleet::activities(sequence, idle()),
                taken_at: fleet.now,
            };
            let mut observation = fleet.observation(backlog);
            observation.replicas.ready = 0;
            observation.replicas.starting = 1;
            let pod = PodSlots {
                phase,
                listed: false,
                fresh: false,
                reported_at: None,
                types: PerType::default(),
                ..taskqueue_testkit::test_fleet::pod("new", 0, fleet.now)
            };
            observation.slots = Reading::Known {
                value: Slots {
                    pods: vec![pod],
                    ..Slots::default()
                },
                taken_at: fleet.now,
            };
            last = Some(outcome(&fleet.step(&observation)));
        }
        last
    };
    assert_eq!(after_a_while(PodPhase::Unready), Some((1, "SlotsInUse")));
    assert_eq!(after_a_while(PodPhase::Starting), Some((0, "NoDemand")));
}

#[test]
fn pods_that_the_watch_does_not_show_are_not_idle() {
    // The watch on pods stalled before these pods were created, so it shows none.
    let mut fleet = TestFleet::settled(policy(), 5, SECOND);
    fleet.unseen = 5;
    let seen = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    assert_eq!(seen, Vec::new());
    let decision = fleet.reads_next(idle());
    assert_eq!(
        (outcome(&decision), decision.sentence().as_str()),
        (
            (5, "SlotsUnknown"),
            "kept at 5: no task waits, none arrives and no slot is in use; kept at 5 because the \
             slots in use are unknown: Kubernetes counts more pods than its watch shows"
        )
    );
    assert!(fleet.history.pods_unseen());
    // The watch shows them again: only now can the queue be proven idle.
    fleet.unseen = 0;
    let seen = changes(&mut fleet, 20, |fleet| fleet.reads(idle()));
    // Their second heartbeats show that they have taken no tasks meanwhile.
    assert_eq!(seen, vec![(10, 1, "CoolingDown"), (65, 0, "NoDemand")]);
}

#[test]
fn a_brief_mismatch_of_two_watches_holds_the_fleet_and_does_not_restart_the_cooldown() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    changes(&mut fleet, 11, |fleet| fleet.reads(idle()));
    fleet.unseen = 1;
    let moment = outcome(&fleet.reads_next(idle()));
    assert_eq!(
        (moment, fleet.history.pods_unseen()),
        ((1, "SlotsUnknown"), false)
    );
    fleet.unseen = 0;
    // The pod looks like a new one, so its next heartbeat counts.
    assert_eq!(outcome(&fleet.reads_next(idle())), (1, "BusyPods"));
    assert_eq!(outcome(&fleet.reads_next(idle())), (0, "NoDemand"));
}

#[test]
fn an_unreadable_worker_list_does_not_count_as_missing_heartbeats() {
    let mut fleet = TestFleet::new(policy(), 4);
    fleet.slots_unknown = Some(UnknownReason::Throttled);
    let unread = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    // The list can be read, but has no heartbeats yet: the silence starts only here.
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    let silent = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    assert_eq!(
        (unread, silent),
        (Vec::new(), vec![(155, 1, "SlotsUnknown")])
    );
}

#[test]
fn workers_with_earlier_heartbeats_keep_their_replicas_when_the_server_stops_listing_workers() {
    let mut fleet = TestFleet::settled(policy(), 10, SECOND);
    // A proxy that answers 404, or a frontend of an older version during a rolling upgrade.
    fleet.slots_unknown = Some(UnknownReason::NotSupported);
    let seen = changes(&mut fleet, 120, |fleet| fleet.reads(idle()));
    assert_eq!(seen, Vec::new());
    assert_eq!(outcome(&fleet.reads_next(idle())), (10, "SlotsUnknown"));
}

#[test]
fn a_temporary_failure_of_the_worker_list_lets_a_fleet_grow_but_not_shrink() {
    let mut fleet = TestFleet::settled(policy(), 4, SECOND);
    fleet.slots_unknown = Some(UnknownReason::Throttled);
    let shrink = changes(&mut fleet, 60, |fleet| fleet.reads(idle()));
    let grow = changes(&mut fleet, 1, |fleet| fleet.reads(waiting(400)));
    assert_eq!((shrink, grow), (Vec::new(), vec![(5, 11, "Drain")]));
}

#[test]
fn rates_after_a_failed_read_count_only_if_the_tasks_account_for_them() {
    let trusted_after = |failures, milli| {
        let mut fleet = busy_fleet();
        for _ in 0..failures {
            fleet.wait(5);
            drop(fleet.fails());
        }
        fleet.reads_next(rate(milli)).inputs.rates_trusted
    };
    // A server that has restarted divides the few tasks since by a fraction of a second.
    assert_eq!(
        [(1, 28_000), (1, 300_000), (2, 28_000)]
            .map(|(failures, milli)| trusted_after(failures, milli)),
        [true, false, false]
    );
}

#[test]
fn rates_are_not_used_until_half_a_minute_after_a_first_or_failed_reading() {
    let mut fleet = TestFleet::new(policy(), 1);
    let garbage = TypeBacklog {
        add_rate_milli: 1_543_000,
        dispatch_rate_milli: 1_543_000,
        ..idle()
    };
    let first = changes(&mut fleet, 6, |fleet| fleet.reads(garbage));
    assert_eq!(first, Vec::new());
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    fleet.wait(5);
    drop(fleet.fails());
    let later = changes(&mut fleet, 6, |fleet| fleet.reads(garbage));
    assert_eq!(later, Vec::new());
    let used = changes(&mut fleet, 1, |fleet| fleet.reads(garbage));
    assert_eq!(used, vec![(5, 20, "MaxReplicas")]);
}

#[test]
fn the_time_to_requeue_follows_from_the_next_change() {
    let fleet = TestFleet::settled(policy(), 0, SECOND);
    let idle = fleet.observation(Reading::Known {
        value: taskqueue_testkit::test_fleet::activities(9000, idle()),
        taken_at: fleet.now,
    });
    let quiet = requeue_after(&fleet.policy, &idle, &fleet.history, fleet.now);
    let mut busy = TestFleet::settled(policy(), 2, SECOND);
    busy.wait(57);
    let observation = idle.clone();
    let soon = requeue_after(&busy.policy, &observation, &busy.history, busy.now);
    assert_eq!(
        (quiet, soon),
        (Duration::from_secs(30), Duration::from_secs(3))
    );
}
