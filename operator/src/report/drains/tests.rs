//! Drains that cause an Event, and each only once.

use std::time::Duration;

use jiff::SignedDuration;
use taskqueue_scaling::{PerType, PodPhase, Reading, Slots, TypeSlots};

use super::*;
use crate::fleet_state::{FleetState, QueueKey};
use crate::report::testing::Passed;
use crate::testing::{NOW, simple, unseen};

/// A time of the API server's clock, in seconds. Our clock is far ahead of it, which must not
/// matter.
fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

/// A pod that began to drain at second 0 and has 60 seconds to finish.
fn stopping(end: Option<WorkerEnd>) -> Draining {
    Draining {
        pod: "slow".to_owned(),
        grace: Duration::from_mins(1),
        ends: at(60),
        shortened_to: None,
        hooked: false,
        end,
    }
}

fn ended(second: i64, killed: Option<Killed>) -> WorkerEnd {
    WorkerEnd {
        at: Some(at(second)),
        killed,
        succeeded: killed.is_none(),
    }
}

/// A queue with a draining pod that has `used` slots in use.
fn draining(pod: Draining, used: Option<u32>) -> ObservedQueue {
    let mut queue = unseen();
    queue.pods.draining = vec![pod];
    let activity = used.map(|used| TypeSlots {
        used,
        available: Some(1),
        processed_total: Some(0),
    });
    let pod = PodSlots {
        pod: "slow".to_owned(),
        phase: PodPhase::Terminating,
        listed: true,
        fresh: used.is_some(),
        reported_at: Some(NOW),
        reported_after: Some(NOW),
        types: PerType {
            activity,
            ..PerType::default()
        },
        elsewhere: None,
    };
    queue.slots = Reading::Known {
        value: Slots {
            pods: vec![pod],
            ..Slots::default()
        },
        taken_at: NOW,
    };
    queue
}

/// A queue whose pod is gone and ended like this.
fn gone(pod: Draining) -> ObservedQueue {
    let mut queue = unseen();
    queue.pods.gone = vec![pod];
    queue
}

/// The Events of a pass at `second` of our clock. `state` is carried over.
fn pass(state: &mut FleetState, queue: ObservedQueue, second: u64) -> Vec<(String, String)> {
    let now = NOW.plus(Duration::from_secs(second));
    let mut passed = Passed::after(std::mem::take(state), simple(), queue);
    let reported = events(&passed.facts()[0], now);
    remember(
        passed.state.queue(QueueKey::unversioned("a")),
        &passed.observed.queues["a"],
        now,
    );
    *state = passed.state;
    let reported = reported.into_iter();
    reported.map(|event| (event.reason, event.note)).collect()
}

fn exceeded(text: &str) -> Vec<(String, String)> {
    vec![(
        "DrainExceeded".to_owned(),
        format!("queue a: pod slow {text}"),
    )]
}

const RAISE: &str =
    "cancelled and will be attempted again; raise drain.gracePeriod if tasks take longer";

const THREE: &str = "3 running tasks were cancelled and will be attempted again";

/// Checks the Events about a pod that has ended, and had `used` slots in use when it last reported.
fn check_events(what: &str, pod: &Draining, used: Option<u32>, expected: &[(String, String)]) {
    // Its end is known from the event of its deletion, or from its status while it still exists.
    for there in [false, true] {
        let mut state = FleetState::default();
        let before = Draining {
            end: None,
            ..pod.clone()
        };
        let reported = pass(&mut state, draining(before, used), 1);
        assert_eq!(reported, [], "{what}: while it drains");
        let ended = if there {
            draining(pod.clone(), None)
        } else {
            gone(pod.clone())
        };
        assert_eq!(pass(&mut state, ended, 2), expected, "{what}");
        if there {
            let again = pass(&mut state, gone(pod.clone()), 3);
            assert_eq!(again, [], "{what}: reported twice");
        }
    }
}

#[test]
fn only_a_worker_that_used_up_its_grace_period_with_work_is_reported() {
    let used_up = |had: &str| exceeded(&format!("used up its drain grace period: {had} {RAISE}"));
    let one = "1 running task was";
    let unknown = "any running tasks were";
    let table = [
        ("a sidecar outlives the worker by far", 2, Some(3), vec![]),
        ("in time, if only just", 59, Some(3), vec![]),
        ("known idle, and slow to end", 61, Some(0), vec![]),
        ("with its grace period", 60, Some(1), used_up(one)),
        ("nothing was ever heard of it", 61, None, used_up(unknown)),
    ];
    for (what, second, used, expected) in table {
        let pod = stopping(Some(ended(second, None)));
        check_events(what, &pod, used, &expected);
    }
}

#[test]
fn a_killed_worker_is_reported_with_the_cause() {
    let killed = |second, killed| stopping(Some(ended(second, Some(killed))));
    let idle = killed(75, Killed::Other);
    check_events("idle, and ignores SIGTERM", &idle, Some(0), &[]);
    let table = [
        (
            killed(75, Killed::Other),
            format!(
                "was killed after its drain grace period, because it had not stopped: {THREE}; \
                 its worker must cancel its running tasks and exit by itself after \
                 TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS, here 60"
            ),
        ),
        (
            killed(20, Killed::Other),
            format!(
                "was killed before its drain grace period was over: {THREE}; the Events of its \
                 node and the log of its kubelet say who killed it"
            ),
        ),
        (
            killed(20, Killed::OutOfMemory),
            format!(
                "was killed while it drained, because its worker used more memory than its limit: \
                 {THREE}; raise resources.limits.memory, or give the worker fewer slots"
            ),
        ),
    ];
    for (pod, text) in table {
        check_events(&text, &pod, Some(3), &exceeded(&text));
    }
}

#[test]
fn a_shorter_grace_period_at_deletion_is_reported() {
    let shortened = |end: WorkerEnd| Draining {
        grace: Duration::from_secs(5),
        ends: at(5),
        shortened_to: Some(Duration::from_secs(5)),
        ..stopping(Some(end))
    };
    let reported = exceeded(&format!(
        "was deleted with a grace period of only 5s: {THREE}; kubectl delete --grace-period, or \
         an eviction with a grace period of its own, overrides the drain grace period: leave it out"
    ));
    let table = [
        ("killed", ended(5, Some(Killed::Other)), reported.clone()),
        ("in the last moment", ended(5, None), reported),
        ("in time", ended(4, None), vec![]),
    ];
    for (what, end, expected) in table {
        check_events(what, &shortened(end), Some(3), &expected);
    }
}

#[test]
fn a_grace_period_that_was_shortened_stays_so_when_the_pod_is_removed() {
    let mut state = FleetState::default();
    let shortened = Draining {
        grace: Duration::from_secs(5),
        ends: at(5),
        shortened_to: Some(Duration::from_secs(5)),
        ..stopping(None)
    };
    assert_eq!(pass(&mut state, draining(shortened, Some(3)), 1), []);
    let removed = stopping(Some(ended(5, Some(Killed::Other))));
    let reported = pass(&mut state, gone(removed), 6);
    let [(reason, note)] = reported.as_slice() else {
        panic!("{reported:?}");
    };
    assert_eq!(reason, "DrainExceeded");
    assert!(note.contains("grace period of only 5s"), "{note}");
}

#[test]
fn a_pod_past_its_grace_period_is_reported_only_after_its_node_should_have_reported() {
    let mut state = FleetState::default();
    let reported = exceeded(
        "is long past its drain grace period, and its node does not report how its worker ended: \
         3 running tasks were cancelled and will be attempted again; check whether the node is \
         alive",
    );
    for (second, used, expected) in [
        (0, Some(3), vec![]),
        (76, None, vec![]),
        (179, None, vec![]),
        (180, None, reported),
        (300, None, vec![]),
    ] {
        let reported = pass(&mut state, draining(stopping(None), used), second);
        assert_eq!(reported, expected, "at {second}");
    }
    assert_eq!(pass(&mut state, unseen(), 310), []);
}

#[test]
fn a_pod_with_an_unseen_end_is_reported_if_it_drained_for_its_grace_period() {
    let table = [
        (59, Some(1), vec![]),
        (
            60,
            Some(1),
            exceeded(&format!(
                "used up its drain grace period: 1 running task was {RAISE}"
            )),
        ),
        (60, Some(0), vec![]),
    ];
    for (second, used, expected) in table {
        let mut state = FleetState::default();
        pass(&mut state, draining(stopping(None), used), 0);
        assert_eq!(pass(&mut state, unseen(), second), expected, "{second}");
    }
}

/// The same queue, with a heartbeat of a worker on the pod that has taken `taken` tasks.
fn heard(pod: Draining, status: WorkerStatus, sent_after: u64, taken: u64) -> ObservedQueue {
    let used = 2;
    let mut queue = draining(pod, Some(used));
    let sent_after = NOW.plus(Duration::from_secs(sent_after));
    let report = WorkerReport {
        instance_key: "slow".to_owned(),
        identity: String::new(),
        host_name: "slow".to_owned(),
        process: None,
        task_queue: "a".to_owned(),
        status,
        sdk: String::new(),
        heartbeat_changed_at: Some(sent_after.plus(Duration::from_secs(1))),
        heartbeat_sent_after: Some(sent_after),
        heartbeat_interval: Some(Duration::from_secs(5)),
        sent_at: None,
        started_at: None,
        slots: PerType {
            activity: Some(TypeSlots {
                used,
                available: Some(1),
                processed_total: Some(taken - u64::from(used)),
            }),
            ..PerType::default()
        },
    };
    queue.reading.workers = Reading::Known {
        value: vec![report],
        taken_at: NOW,
    };
    queue
}

#[test]
fn a_worker_that_takes_tasks_while_draining_is_reported_once() {
    use WorkerStatus::{Running, ShuttingDown};
    let polls = vec![(
        "PollsAfterStop".to_owned(),
        "queue a: pod slow is draining but has taken 3 tasks since it began to drain: its worker \
         ignores SIGTERM; make the worker stop on SIGTERM and run it as process 1 of its \
         container: use an entrypoint in exec form, or exec in the shell that starts it"
            .to_owned(),
    )];
    let hooked = Draining {
        hooked: true,
        ..stopping(None)
    };
    // The tasks taken in total, in heartbeats sent after the seconds 0, 4 and 9. The pod drains
    // from second 1.
    let table = [
        ("stops", stopping(None), Running, [10, 12, 12], vec![]),
        (
            "goes on",
            stopping(None),
            Running,
            [10, 12, 15],
            polls.clone(),
        ),
        (
            "has stopped, and counts what it works off",
            stopping(None),
            ShuttingDown,
            [10, 12, 15],
            vec![],
        ),
        ("a preStop hook runs", hooked, Running, [10, 12, 15], vec![]),
    ];
    for (what, pod, status, taken, expected) in table {
        let mut state = FleetState::default();
        for ((second, sent_after), taken) in [(1, 0), (6, 4), (11, 9)].into_iter().zip(taken) {
            let reported = pass(
                &mut state,
                heard(pod.clone(), status, sent_after, taken),
                second,
            );
            let now = if second == 11 { &expected[..] } else { &[] };
            assert_eq!(reported, now, "{what}, at {second}");
        }
        let again = pass(
            &mut state,
            heard(
                pod.clone(),
                status,
                14,
                taken[2] + u64::from(!expected.is_empty()),
            ),
            16,
        );
        assert_eq!(again, [], "{what}: again");
    }
    let mut state = FleetState::default();
    for (second, taken) in [(1, 10), (6, 12), (11, 15)] {
        pass(
            &mut state,
            heard(stopping(None), Running, second, taken),
            second,
        );
    }
    let end = ended(75, Some(Killed::Other));
    assert_eq!(
        pass(&mut state, gone(stopping(Some(end))), 76),
        exceeded(
            "was killed after its drain grace period, because it had not stopped: 2 running tasks \
             were cancelled and will be attempted again; its worker ignores SIGTERM, see the \
             Event PollsAfterStop"
        ),
        "the advice is not to raise the grace period"
    );
}
