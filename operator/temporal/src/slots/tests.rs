//! Workers joined with pods: what each pod reports.

use std::time::Duration;

use super::*;

const NOW: Time = Time::from_secs(1_000);
const SECOND: i128 = 1_000_000_000;

fn worker(host: &str, used: u32, available: Option<u32>) -> WorkerReport {
    WorkerReport {
        instance_key: format!("{host}-{used}"),
        identity: host.to_owned(),
        host_name: host.to_owned(),
        process: None,
        task_queue: "orders".to_owned(),
        status: WorkerStatus::Running,
        sdk: "temporal-rust 1".to_owned(),
        heartbeat_changed_at: Some(NOW.minus(Duration::from_secs(3))),
        heartbeat_sent_after: Some(NOW.minus(Duration::from_secs(8))),
        heartbeat_interval: Some(Duration::from_secs(5)),
        sent_at: Some(100 * SECOND),
        started_at: Some(0),
        slots: PerType {
            activity: Some(TypeSlots {
                used,
                available,
                processed_total: Some(10),
            }),
            ..PerType::default()
        },
    }
}

fn pod(name: &str) -> LivePod {
    LivePod {
        name: name.to_owned(),
        phase: PodPhase::Ready,
    }
}

fn join(workers: Vec<WorkerReport>, pods: &[LivePod]) -> Reading<Slots> {
    let workers = Reading::Known {
        value: workers,
        taken_at: NOW,
    };
    slots(&workers, pods, "orders", NOW)
}

fn joined(name: &str, fresh: bool, activity: Option<TypeSlots>) -> PodSlots {
    PodSlots {
        pod: name.to_owned(),
        phase: PodPhase::Ready,
        listed: true,
        fresh,
        reported_at: Some(NOW.minus(Duration::from_secs(3))),
        reported_after: fresh.then(|| NOW.minus(Duration::from_secs(8))),
        types: PerType {
            activity,
            ..PerType::default()
        },
        elsewhere: None,
    }
}

fn known(pods: Vec<PodSlots>) -> Reading<Slots> {
    Reading::Known {
        value: Slots {
            pods,
            ..Slots::default()
        },
        taken_at: NOW,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "matches the field's type")]
fn activity(used: u32, available: Option<u32>, processed_total: u64) -> Option<TypeSlots> {
    Some(TypeSlots {
        used,
        available,
        processed_total: Some(processed_total),
    })
}

#[test]
fn a_pod_gets_only_the_slots_of_its_own_worker() {
    let mut elsewhere = worker("a", 50, Some(50));
    elsewhere.task_queue = "payments".to_owned();
    let dead = worker("gone", 7, Some(0));
    assert_eq!(
        join(
            vec![
                worker("a", 3, Some(97)),
                elsewhere,
                dead,
                worker("b", 0, Some(100))
            ],
            &[pod("a"), pod("b")]
        ),
        known(vec![
            PodSlots {
                elsewhere: activity(50, None, 10),
                ..joined("a", true, activity(3, Some(97), 10))
            },
            joined("b", true, activity(0, Some(100), 10))
        ])
    );
}

#[test]
fn several_workers_of_a_pod_are_summed_and_an_unknown_bound_stays_unknown() {
    assert_eq!(
        join(
            vec![worker("a", 3, Some(97)), worker("a", 5, Some(95))],
            &[pod("a")]
        ),
        known(vec![joined("a", true, activity(8, Some(192), 20))])
    );
    assert_eq!(
        join(
            vec![worker("a", 3, Some(97)), worker("a", 5, None)],
            &[pod("a")]
        ),
        known(vec![joined("a", true, activity(8, None, 20))])
    );
}

#[test]
fn a_sum_is_as_old_as_its_oldest_heartbeat() {
    let at = |seconds| Some(NOW.minus(Duration::from_secs(seconds)));
    let sent_after = |seconds, used| WorkerReport {
        heartbeat_sent_after: at(seconds),
        ..worker("a", used, Some(1))
    };
    let workers = vec![sent_after(4, 1), sent_after(9, 2), sent_after(5, 3)];
    let joined = join(workers, &[pod("a")]);
    let after = joined.known().map(|slots| slots.pods[0].reported_after);
    assert_eq!(after, Some(at(9)));
}

#[test]
fn a_heartbeat_does_not_become_stale_between_two_reads_of_the_list() {
    // The list is read every 40 s, because the budget is short or the list is long.
    let mut beats = worker("a", 3, Some(97));
    beats.heartbeat_changed_at = Some(NOW);
    let list = Reading::Known {
        value: vec![beats],
        taken_at: NOW,
    };
    let later = NOW.plus(Duration::from_secs(39));
    let joined = slots(&list, &[pod("a")], "orders", later);
    assert_eq!(joined.known().map(|slots| slots.pods[0].fresh), Some(true));
}

#[test]
fn a_stale_heartbeat_does_not_count() {
    let at = NOW.minus(Duration::from_mins(1));
    let stale = WorkerReport {
        heartbeat_changed_at: Some(at),
        ..worker("a", 9, Some(1))
    };
    let never = WorkerReport {
        heartbeat_changed_at: None,
        ..worker("b", 9, Some(1))
    };
    assert_eq!(
        join(vec![stale.clone(), never], &[pod("a"), pod("b"), pod("c")]),
        known(vec![
            PodSlots {
                reported_at: Some(at),
                ..joined("a", false, None)
            },
            PodSlots {
                reported_at: None,
                ..joined("b", false, None)
            },
            PodSlots {
                reported_at: None,
                listed: false,
                ..joined("c", false, None)
            },
        ])
    );
    // The container was restarted: the entry that it left behind does not count.
    assert_eq!(
        join(vec![stale, worker("a", 2, Some(98))], &[pod("a")]),
        known(vec![joined("a", true, activity(2, Some(98), 10))])
    );
}

#[test]
fn a_worker_of_unknown_interval_gets_the_longest_one() {
    let at = NOW.minus(Duration::from_secs(140));
    let slow = WorkerReport {
        heartbeat_changed_at: Some(at),
        heartbeat_interval: None,
        ..worker("a", 1, None)
    };
    assert!(slow.is_fresh(NOW));
    assert!(!slow.is_fresh(NOW.plus(Duration::from_secs(20))));
}

#[test]
fn without_pods_no_slot_is_in_use_even_if_the_list_is_unknown() {
    let unknown = Reading::Unknown {
        reason: UnknownReason::TemporalUnavailable,
        since: NOW,
        failures: 3,
    };
    assert_eq!(slots(&unknown, &[], "orders", NOW), known(Vec::new()));
    assert_eq!(
        slots(&unknown, &[pod("a")], "orders", NOW),
        Reading::Unknown {
            reason: UnknownReason::TemporalUnavailable,
            since: NOW,
            failures: 3
        }
    );
}

#[test]
fn pods_that_never_sent_a_heartbeat_are_unknown_and_not_idle() {
    let nothing = Reading::Unknown {
        reason: UnknownReason::NoHeartbeats,
        since: NOW,
        failures: 0,
    };
    assert_eq!(join(Vec::new(), &[pod("a")]), nothing);
    assert_eq!(join(vec![worker("other", 1, None)], &[pod("a")]), nothing);
}

#[test]
fn a_pod_that_was_ready_and_never_sent_a_heartbeat_is_not_idle() {
    let unready = LivePod {
        phase: PodPhase::Unready,
        ..pod("a")
    };
    let joined = join(vec![worker("other", 1, None)], &[unready]);
    assert_eq!(joined.unknown(), Some(UnknownReason::NoHeartbeats));
}

#[test]
fn a_missing_heartbeat_of_a_starting_pod_is_not_unknown() {
    let starting = LivePod {
        phase: PodPhase::Starting,
        ..pod("a")
    };
    assert_eq!(
        join(vec![worker("other", 1, None)], &[starting]),
        known(vec![PodSlots {
            phase: PodPhase::Starting,
            listed: false,
            reported_at: None,
            ..joined("a", false, None)
        }])
    );
}

#[test]
fn a_worker_that_has_ended_does_not_keep_its_pod_fresh() {
    let ended = WorkerReport {
        status: WorkerStatus::Shutdown,
        ..worker("a", 0, Some(9))
    };
    let draining = WorkerReport {
        status: WorkerStatus::ShuttingDown,
        ..worker("b", 4, Some(96))
    };
    assert_eq!(
        join(vec![ended, draining], &[pod("a"), pod("b")]),
        known(vec![
            PodSlots {
                listed: false,
                reported_at: None,
                ..joined("a", false, None)
            },
            // Its used slots count. It no longer polls, so its free slots do not.
            joined("b", true, activity(4, None, 10))
        ])
    );
}

#[test]
fn work_on_other_task_queues_makes_a_pod_busy_and_uses_no_slot_of_this_one() {
    let on = |task_queue: &str, used| WorkerReport {
        task_queue: task_queue.to_owned(),
        ..worker("a", used, None)
    };
    let stale = WorkerReport {
        heartbeat_changed_at: Some(NOW.minus(Duration::from_mins(10))),
        ..on("a-old", 50)
    };
    let mut late = on("a-files", 2);
    late.heartbeat_sent_after = Some(NOW.minus(Duration::from_secs(11)));
    let workers = vec![on("orders", 0), late, on("a-mails", 1), stale];
    let expected = PodSlots {
        // A sum is as old as its oldest part, and so is the proof that nothing runs.
        reported_after: Some(NOW.minus(Duration::from_secs(11))),
        elsewhere: activity(3, None, 20),
        ..joined("a", true, activity(0, None, 10))
    };
    assert_eq!(expected.used(), Some(3));
    assert_eq!(join(workers, &[pod("a")]), known(vec![expected]));
}

/// A worker that started at one second and sent its last heartbeat at another, on its host's clock.
fn lives(started: i128, sent: i128, used: u32) -> WorkerReport {
    WorkerReport {
        started_at: Some(started * SECOND),
        sent_at: Some(sent * SECOND),
        ..worker("a", used, Some(10 - used))
    }
}

fn slots_of(workers: Vec<WorkerReport>) -> Option<TypeSlots> {
    let joined = join(workers, &[pod("a")]);
    joined
        .known()
        .and_then(|slots| slots.pods[0].types.activity)
}

#[test]
fn a_container_that_restarts_in_place_counts_as_one_worker() {
    let full = lives(0, 100, 10);
    // The new worker is full again. The old entry may still be a worker that is being replaced, so
    // its tasks keep the pod, but they are no demand, and the pod does not have twenty slots.
    assert_eq!(
        join(vec![full.clone(), lives(101, 101, 10)], &[pod("a")]),
        known(vec![PodSlots {
            elsewhere: Some(TypeSlots {
                used: 10,
                ..TypeSlots::default()
            }),
            ..joined("a", true, activity(10, Some(0), 20))
        }])
    );
    // The old worker has missed a heartbeat since.
    assert_eq!(
        join(vec![full, lives(101, 111, 2)], &[pod("a")]),
        known(vec![joined("a", true, activity(2, Some(8), 10))])
    );
}

#[test]
fn two_workers_of_one_process_are_both_alive_however_far_apart_they_started() {
    let of = |process: &str, report: WorkerReport| WorkerReport {
        process: Some(process.to_owned()),
        ..report
    };
    // The second worker started after the first one's last heartbeat.
    assert_eq!(
        slots_of(vec![of("x", lives(0, 100, 3)), of("x", lives(101, 101, 2))]),
        activity(5, Some(15), 20)
    );
    assert_eq!(
        slots_of(vec![of("x", lives(0, 100, 3)), of("y", lives(101, 101, 2))]),
        activity(2, Some(8), 20)
    );
}

#[test]
fn a_worker_counts_beside_the_one_that_it_replaces_in_the_same_process() {
    // The replaced worker finishes its tasks and reports this with every heartbeat.
    let replaced = WorkerReport {
        status: WorkerStatus::ShuttingDown,
        ..lives(0, 111, 3)
    };
    assert_eq!(
        slots_of(vec![replaced, lives(101, 111, 2)]),
        activity(5, Some(8), 20)
    );
    // Two workers that both poll count as two.
    assert_eq!(
        slots_of(vec![lives(0, 111, 3), lives(101, 111, 2)]),
        activity(5, Some(15), 20)
    );
}
