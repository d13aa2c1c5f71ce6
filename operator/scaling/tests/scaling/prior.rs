//! What a queue without pods assumes of them: as other queues of the fleet with the same pods have
//! learned.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, policy, waiting};

const MILLI: Duration = Duration::from_millis(1);

/// The first size of a queue at zero in which 60 tasks wait, beside queues whose pods have 10
/// slots and whose tasks take this long.
fn first_step(others: &[Duration]) -> u32 {
    let mut policy = policy();
    policy.slots_per_replica = 100;
    let others: Vec<TestFleet> = others
        .iter()
        .map(|service| TestFleet::settled(policy.clone(), 1, *service))
        .collect();
    let mut fleet = TestFleet::new(policy, 0);
    let shown = others.iter().map(|other| other.history.shown());
    fleet
        .history
        .assume(shown.fold(Prior::default(), Prior::or_more_cautious));
    fleet.reads(waiting(60)).desired
}

#[test]
fn the_first_step_uses_the_slots_and_the_service_time_of_the_other_queues() {
    // 60 tasks that are assumed to take 5 s, on pods of 100 slots.
    assert_eq!(first_step(&[]), 1);
    // On pods of 10 slots.
    assert_eq!(first_step(&[5000 * MILLI]), 8);
    assert_eq!(first_step(&[500 * MILLI]), 1);
    // The longest of several counts, but not more than is assumed without them.
    assert_eq!(first_step(&[500 * MILLI, 5000 * MILLI]), 8);
    assert_eq!(first_step(&[50_000 * MILLI]), 8);
}

#[test]
fn what_the_queue_shows_itself_replaces_what_it_assumed() {
    let mut other = TestFleet::settled(policy(), 1, 200 * MILLI);
    other.start_up = Some(Duration::from_secs(40));
    drop(other.reads(TypeBacklog::default()));
    let prior = other.history.shown();
    let mut fleet = TestFleet::settled(policy(), 2, 2000 * MILLI);
    let known = |fleet: &TestFleet| {
        let (history, policy) = (&fleet.history, &fleet.policy);
        let slots = history.slots_per_replica(TaskType::Activity, policy);
        (slots, history.service_time(TaskType::Activity, policy))
    };
    let before = known(&fleet);
    assert!(before.1.is_learned());
    fleet.history.assume(prior);
    assert_eq!(known(&fleet), before);
}

#[test]
fn of_several_queues_the_cautious_values_count() {
    let short = TestFleet::settled(policy(), 1, 200 * MILLI);
    let mut long = TestFleet::settled(policy(), 1, 2000 * MILLI);
    long.start_up = Some(Duration::from_secs(40));
    drop(long.reads(TypeBacklog::default()));
    let (short, shown) = (short.history.shown(), long.history.shown());
    let both = short.or_more_cautious(shown);
    assert_eq!(both, shown.or_more_cautious(short));
    let mut fleet = TestFleet::new(policy(), 0);
    fleet.history.assume(both);
    let time = fleet
        .history
        .service_time(TaskType::Activity, &fleet.policy);
    let learned = long.history.service_time(TaskType::Activity, &policy());
    assert!(!time.is_learned());
    assert_eq!(time.mean(), learned.mean());
    assert!(!fleet.history.knows_its_pods());
    assert!(long.history.knows_its_pods());
}
