//! Fleets that no number of replicas would help: what is found, since when, and when it is over.

use std::time::Duration;

use taskqueue_scaling::*;
use taskqueue_testkit::test_fleet::{TestFleet, policy, waiting};

const SECOND: Duration = Duration::from_secs(1);

/// What is found after a minute and a half in which the backlog of ten pods only grew: one of them
/// does not report, each of the others has `used` of its ten slots in use.
fn found_beside_a_silent_pod(used: u32) -> Vec<Stuck> {
    let mut fleet = TestFleet::settled(policy(), 10, SECOND);
    fleet.used = vec![used; 10];
    fleet.blind = 1;
    for count in 1..=18 {
        fleet.wait(5);
        drop(fleet.reads(waiting(count)));
    }
    let findings = fleet.history.findings(fleet.now);
    findings.into_iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_silent_pod_hides_no_free_slots_of_the_others() {
    assert_eq!(
        found_beside_a_silent_pod(5),
        [Stuck::BacklogGrowsWithFreeSlots]
    );
    assert_eq!(found_beside_a_silent_pod(10), []);
}

#[test]
fn stuck_fleets_are_reported_with_their_start_time() {
    let mut fleet = TestFleet::settled(policy(), 2, SECOND);
    let start = fleet.now;
    // Slots are free, and the backlog only grows.
    for count in 1..=14 {
        fleet.wait(5);
        drop(fleet.reads(TypeBacklog {
            pollers: Some(0),
            ..waiting(count)
        }));
    }
    let kinds: Vec<(Stuck, u64)> = fleet
        .history
        .findings(fleet.now)
        .into_iter()
        .map(|finding| (finding.kind, finding.since.since(start).as_secs()))
        .collect();
    assert_eq!(kinds, vec![(Stuck::BacklogGrowsWithFreeSlots, 5)]);
    fleet.wait(60);
    drop(fleet.reads(TypeBacklog {
        pollers: Some(0),
        ..waiting(15)
    }));
    let kinds: Vec<Stuck> = fleet
        .history
        .findings(fleet.now)
        .into_iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(
        kinds,
        vec![Stuck::BacklogGrowsWithFreeSlots, Stuck::QueueNotPolled]
    );
    // Without heartbeats the pods themselves are the problem.
    fleet.slots_unknown = Some(UnknownReason::NoHeartbeats);
    for _ in 0..25 {
        fleet.wait(5);
        drop(fleet.reads(TypeBacklog {
            pollers: Some(0),
            ..waiting(15)
        }));
    }
    let kinds: Vec<Stuck> = fleet
        .history
        .findings(fleet.now)
        .into_iter()
        .map(|finding| finding.kind)
        .collect();
    assert_eq!(kinds, vec![Stuck::ReadyButNotPolling]);
}

#[test]
fn a_backlog_that_grows_while_replicas_become_ready_is_not_reported_yet() {
    let mut fleet = TestFleet::settled(policy(), 1, SECOND);
    for count in 1..=30 {
        if count == 10 || count == 20 {
            fleet.requested += 1;
            fleet.policy.min = fleet.requested;
        }
        drop(fleet.reads_next(waiting(count)));
        assert_eq!(fleet.history.findings(fleet.now), vec![], "{count}");
    }
}

#[test]
fn workers_whose_version_gets_no_tasks_are_reported_until_it_gets_some() {
    let mut fleet = TestFleet::settled(policy(), 2, SECOND);
    let mut kinds_with = |routed, readings| {
        for _ in 0..readings {
            fleet.wait(5);
            drop(fleet.reads(TypeBacklog {
                pollers: Some(2),
                routed,
                ..waiting(3)
            }));
        }
        let found = fleet.history.findings(fleet.now);
        found.into_iter().map(|f| f.kind).collect::<Vec<Stuck>>()
    };
    assert_eq!(kinds_with(Some(false), 24), vec![]);
    assert_eq!(kinds_with(Some(false), 1), vec![Stuck::VersionNotCurrent]);
    assert_eq!(kinds_with(Some(true), 1), vec![]);
    // A server that does not report versions accuses nobody.
    assert_eq!(kinds_with(None, 30), vec![]);
}
