//! How many slots stay free: the wait target's own rule, and a fixed share.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::world::{World, policy};

/// The in-flight term of four pods of 10 slots that have had 7 in use for twenty minutes.
fn in_flight(utilization: Option<u32>, target: u64) -> u64 {
    let policy = Policy {
        target_utilization: utilization,
        queue_wait_target: Duration::from_secs(target),
        ..policy()
    };
    let mut world = World::settled(policy, 4, Duration::from_secs(1));
    let mut decision = None;
    for _ in 0..240 {
        world.wait(5);
        world.used = vec![7; 4];
        decision = Some(world.reads(TypeBacklog::default()));
    }
    let demand = decision.and_then(|decision| decision.demand);
    let activity = demand.and_then(|demand| demand.types.activity);
    activity.map_or(0, |activity| activity.terms.in_flight_milli)
}

#[test]
fn the_longer_tasks_may_wait_the_fewer_slots_stay_free() {
    let by_target = [5, 30, 600].map(|target| in_flight(None, target));
    // 28 slots, and 16 %, 2.7 % and 0.14 % of them.
    assert_eq!(by_target, [3248, 2875, 2804]);
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
        let mut world = World::settled(policy, 4, Duration::from_secs(1));
        world.wait(5);
        world.used = vec![10; 4];
        let waiting = TypeBacklog {
            count: 300,
            ..TypeBacklog::default()
        };
        world.reads(waiting).sentence()
    };
    assert!(said(Some(75)).contains("slots at 75% clear them within the 5s target"));
    assert!(said(None).contains("slots clear them within the 5s target"));
}

#[test]
fn no_pod_is_requested_for_tasks_that_are_gone_before_it_is_ready() {
    // Every slot is taken and 300 tasks wait, but almost 40 tasks end per second and 10 arrive.
    let asks = |start_up| {
        let policy = Policy {
            target_utilization: None,
            max: 100,
            ..policy()
        };
        let mut world = World::settled(policy, 4, Duration::from_secs(1));
        world.start_up = start_up;
        world.wait(5);
        world.used = vec![10; 4];
        let waiting = TypeBacklog {
            count: 300,
            add_rate_milli: 10_000,
            dispatch_rate_milli: 10_000,
            ..TypeBacklog::default()
        };
        world.reads(waiting).desired
    };
    assert!(asks(None) > 4);
    assert!(asks(Some(Duration::from_secs(1))) > 4);
    assert_eq!(asks(Some(Duration::from_mins(1))), 4);
}

#[test]
fn a_limit_of_fairness_keys_feeds_no_more_replicas() {
    let mut world = World::settled(policy(), 4, Duration::from_secs(1));
    world.wait(5);
    world.used = vec![5; 4];
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
    let decision = world.reads(limited);
    assert_eq!(
        (decision.desired, decision.reason),
        (4, Reason::RateLimited)
    );
}
