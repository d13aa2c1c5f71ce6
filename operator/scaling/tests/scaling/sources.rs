//! Slots from the pods' own metrics instead of heartbeats, and stale readings.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, activities, outcome, policy, waiting};

/// A fleet whose slots are scraped.
fn scraped(requested: u32, counts: bool) -> TestFleet {
    let mut fleet = TestFleet::new(policy(), requested);
    fleet.source = SlotSource::Scraped;
    fleet.counts = counts;
    fleet
}

/// A policy that keeps exactly one replica.
fn one() -> Policy {
    Policy {
        min: 1,
        max: 1,
        ..policy()
    }
}

/// Takes readings 5 s apart in which nothing waits, and returns the last decision.
fn after_readings(fleet: &mut TestFleet, readings: usize) -> Decision {
    let decisions = (0..readings).map(|_| fleet.reads_next(TypeBacklog::default()));
    decisions.last().unwrap()
}

#[test]
fn scraped_slots_bring_an_idle_fleet_to_zero_and_keep_a_busy_one() {
    for counts in [true, false] {
        let mut idle = scraped(3, counts);
        assert_eq!(outcome(&after_readings(&mut idle, 40)), (0, "NoDemand"));
        let mut busy = scraped(1, counts);
        busy.used = vec![1];
        assert_eq!(outcome(&after_readings(&mut busy, 40)), (1, "SlotsInUse"));
    }
}

#[test]
fn without_a_count_of_processed_tasks_nothing_is_learned_and_no_busy_pod_is_removed() {
    let mut fleet = scraped(4, false);
    fleet.used = vec![1, 1, 1];
    assert_eq!(outcome(&after_readings(&mut fleet, 40)), (3, "BusyPods"));
    let learned = fleet
        .history
        .service_time(TaskType::Activity, &fleet.policy);
    let assumed = ServiceTime::Assumed {
        mean: Duration::from_secs(5),
    };
    let longest = fleet.history.longest_service_time(TaskType::Activity);
    assert_eq!((learned, longest), (assumed, None));
}

#[test]
fn a_count_that_appears_late_is_not_counted_as_the_work_of_one_interval() {
    // The histogram appears only when the first task ends: 10 tasks of 300 s each.
    let mut fleet = scraped(1, false);
    fleet.policy = one();
    fleet.used = vec![10];
    drop(after_readings(&mut fleet, 60));
    fleet.counts = true;
    for round in 1..=20_u64 {
        fleet.processed = 10 * round;
        drop(after_readings(&mut fleet, 60));
    }
    let learned = fleet
        .history
        .service_time(TaskType::Activity, &fleet.policy);
    assert!(learned.is_learned());
    let off = learned.mean().abs_diff(Duration::from_mins(5));
    assert!(off < Duration::from_secs(20), "{learned:?}");
}

#[test]
fn metrics_that_were_never_read_are_treated_like_missing_heartbeats() {
    let mut fleet = scraped(3, true);
    fleet.slots_unknown = Some(UnknownReason::ScrapeFailed);
    assert_eq!(
        outcome(&after_readings(&mut fleet, 20)),
        (3, "SlotsUnknown"),
        "for a while they may only be late"
    );
    assert_eq!(
        outcome(&after_readings(&mut fleet, 40)),
        (1, "SlotsUnknown"),
        "then the fleet shrinks, and never to zero"
    );
}

#[test]
fn a_fleet_keeps_its_size_when_its_metrics_become_unreadable() {
    let mut fleet = scraped(3, true);
    drop(after_readings(&mut fleet, 1));
    fleet.slots_unknown = Some(UnknownReason::ScrapeFailed);
    assert_eq!(
        outcome(&after_readings(&mut fleet, 100)),
        (3, "SlotsUnknown")
    );
}

#[test]
fn idle_pods_that_serve_metrics_and_never_poll_are_stuck() {
    let found = |source, used: u32| {
        let mut fleet = TestFleet::new(one(), 1);
        fleet.source = source;
        fleet.used = vec![used];
        for _ in 0..30 {
            drop(fleet.reads_next(TypeBacklog {
                pollers: Some(0),
                ..TypeBacklog::default()
            }));
        }
        let findings = fleet.history.findings(fleet.now);
        findings.first().map(|finding| finding.kind)
    };
    let stuck = Some(Stuck::ReadyButNotPolling);
    assert_eq!(found(SlotSource::Scraped, 0), stuck);
    assert_eq!(found(SlotSource::Scraped, 1), None, "it has got a task");
    assert_eq!(
        found(SlotSource::Heartbeats, 0),
        None,
        "it sends heartbeats"
    );
}

#[test]
fn a_heartbeat_from_before_the_queue_was_idle_proves_nothing() {
    // Heartbeats are a minute apart, the worker list is read every 5 s, the queue every second.
    let policy = Policy {
        polling_interval: Duration::from_secs(1),
        cooldown_period: Duration::from_secs(10),
        ..policy()
    };
    let mut fleet = TestFleet::settled(policy, 1, Duration::from_secs(1));
    fleet.wait(1);
    drop(fleet.reads(TypeBacklog {
        add_rate_milli: 100,
        ..TypeBacklog::default()
    }));
    let silence = fleet.now.plus(Duration::from_secs(1));
    let zero = |fleet: &mut TestFleet, sent_after: Time| {
        let mut zero = false;
        for sequence in 0..60 {
            fleet.wait(1);
            let backlog = Reading::Known {
                value: activities(
                    9_000 + sequence + sent_after.as_millis(),
                    TypeBacklog::default(),
                ),
                taken_at: fleet.now,
            };
            let mut observation = fleet.observation(backlog);
            let Reading::Known { value, .. } = &mut observation.slots else {
                panic!("the slots are known");
            };
            for pod in &mut value.pods {
                pod.reported_at = Some(sent_after.plus(Duration::from_secs(5)));
                pod.reported_after = Some(sent_after);
            }
            zero |= fleet.step(&observation).desired == 0;
        }
        zero
    };
    let before = silence.minus(Duration::from_secs(3));
    assert!(!zero(&mut fleet, before), "a task may have come since");
    let after = fleet.now;
    assert!(zero(&mut fleet, after), "it would show in this one");
}

#[test]
fn a_reading_becomes_unknown_when_it_is_too_old() {
    let at = Time::from_secs;
    let policy = policy();
    assert_eq!(policy.longest_gap(), Duration::from_mins(1));
    let reading = Reading::Known {
        value: activities(1, waiting(3)),
        taken_at: at(100),
    };
    let aged = |seconds| {
        let reading = reading.clone();
        reading.unless_older_than(policy.longest_gap(), at(seconds))
    };
    assert_eq!(aged(160), reading);
    let stale = Reading::Unknown {
        reason: UnknownReason::Stale,
        since: at(160),
        failures: 0,
    };
    assert_eq!((aged(161), aged(900)), (stale.clone(), stale));
}

#[test]
fn replicas_that_somebody_removed_are_restored_while_no_reading_succeeds() {
    let mut fleet = TestFleet::settled(policy(), 5, Duration::from_secs(1));
    drop(fleet.fails());
    fleet.requested = 0;
    assert_eq!(outcome(&fleet.fails()), (5, "BacklogUnknown"));
    fleet.requested = 8;
    assert_eq!(
        outcome(&fleet.fails()),
        (8, "BacklogUnknown"),
        "unknown takes none away"
    );
}

#[test]
fn a_stale_reading_holds_the_fleet_regardless_of_its_slots() {
    let mut fleet = TestFleet::settled(policy(), 5, Duration::from_secs(1));
    let old = Reading::Known {
        value: activities(1_000, TypeBacklog::default()),
        taken_at: fleet.now,
    };
    fleet.wait(300);
    let backlog = old.unless_older_than(fleet.policy.longest_gap(), fleet.now);
    let observation = fleet.observation(backlog);
    assert_eq!(outcome(&fleet.step(&observation)), (5, "BacklogUnknown"));
}
