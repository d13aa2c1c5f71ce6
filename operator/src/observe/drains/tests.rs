//! Draining pods, as the API server returns them.

use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A pod with a drain grace period of one minute, deleted at noon with a grace period of `grace`
/// seconds.
fn deleted(grace: u32, container: &Value, statuses: &Value) -> Pod {
    let noon = at("2026-01-01T12:00:00Z");
    let deadline = noon
        .checked_add(SignedDuration::from_secs(grace.into()))
        .unwrap();
    let mut pod = json!({
        "metadata": {
            "name": "p", "namespace": "shop", "deletionTimestamp": deadline,
            "deletionGracePeriodSeconds": grace,
            "labels": {"taskqueue.dev/worker": "orders", "taskqueue.dev/queue": "mails"},
        },
        "spec": {"terminationGracePeriodSeconds": 75, "containers": [container]},
        "status": {"phase": "Running"},
    });
    pod["status"]["containerStatuses"] = statuses.clone();
    serde_json::from_value(pod).unwrap()
}

/// The statuses of a running sidecar, and of a worker with this state and last state.
fn worker(state: &Value, last: &Value) -> Value {
    json!([
        {"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {}}},
        {"name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": state, "lastState": last},
    ])
}

#[test]
fn a_grace_period_at_deletion_counts_if_it_is_shorter_than_the_drain_grace_period() {
    let table = [
        (75, "2026-01-01T12:01:00Z", 60, None),
        (60, "2026-01-01T12:01:00Z", 60, None),
        (59, "2026-01-01T12:00:59Z", 59, Some(59)),
        (5, "2026-01-01T12:00:05Z", 5, Some(5)),
        (300, "2026-01-01T12:01:00Z", 60, None),
    ];
    for (deletion, ends, grace, shortened_to) in table {
        assert_eq!(
            Draining::of(&deleted(deletion, &json!({"name": "worker"}), &json!([]))),
            Some(Draining {
                pod: "p".to_owned(),
                grace: Duration::from_secs(grace),
                ends: at(ends),
                shortened_to: shortened_to.map(Duration::from_secs),
                hooked: false,
                end: None,
            }),
            "deleted with {deletion} s"
        );
    }
    assert_eq!(Draining::of(&Pod::default()), None);
}

#[test]
fn the_removal_of_an_ended_pod_does_not_shorten_its_grace_period() {
    let ended = json!({"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T12:00:40Z"}});
    let removed = |state: &Value| {
        let statuses = worker(state, &json!({}));
        let pod = deleted(0, &json!({"name": "worker"}), &statuses);
        Draining::of(&pod).map(|pod| (pod.grace.as_secs(), pod.ends, pod.shortened_to))
    };
    assert_eq!(
        removed(&ended),
        Some((60, at("2026-01-01T12:01:00Z"), None))
    );
    // Somebody forced its deletion while it was running.
    assert_eq!(
        removed(&json!({"running": {}})),
        Some((0, at("2026-01-01T12:00:00Z"), Some(Duration::ZERO)))
    );
}

#[test]
fn a_hook_counts_in_the_worker_only() {
    let hook = json!({"preStop": {"sleep": {"seconds": 5}}});
    let hooked = |name: &str| {
        let pod = deleted(75, &json!({"name": name, "lifecycle": hook}), &json!([]));
        Draining::of(&pod).map(|draining| draining.hooked)
    };
    assert_eq!(
        (hooked("worker"), hooked("proxy")),
        (Some(true), Some(false))
    );
}

#[test]
fn the_container_status_shows_how_the_worker_ended() {
    let time = "2026-01-01T12:00:09Z";
    let end = |killed, succeeded| {
        Some(WorkerEnd {
            at: Some(at(time)),
            killed,
            succeeded,
        })
    };
    let terminated = |code: i32, reason: &str| {
        json!({
            "terminated": {"exitCode": code, "reason": reason, "finishedAt": time},
        })
    };
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let nothing = Value::Null;
    let table = [
        (
            json!({"running": {}}),
            terminated(1, "Error"),
            None,
            "restarted",
        ),
        (
            terminated(0, "Completed"),
            nothing.clone(),
            end(None, true),
            "by itself",
        ),
        (
            terminated(1, "Error"),
            nothing.clone(),
            end(None, false),
            "with an error",
        ),
        (
            terminated(137, "Error"),
            nothing.clone(),
            end(Some(Killed::Other), false),
            "killed",
        ),
        (
            terminated(137, "OOMKilled"),
            nothing.clone(),
            end(Some(Killed::OutOfMemory), false),
            "memory",
        ),
        (
            waiting.clone(),
            terminated(0, "Completed"),
            end(None, false),
            "between two starts",
        ),
        (waiting, nothing, None, "never started"),
    ];
    for (state, last, expected, what) in table {
        let pod = deleted(75, &json!({"name": "worker"}), &worker(&state, &last));
        assert_eq!(WorkerEnd::of(&pod), expected, "{what}");
    }
}

#[test]
fn only_a_worker_that_exited_in_time_and_without_an_error_has_drained() {
    let ended = |code: i32, second: u32| {
        let finished = format!("2026-01-01T12:00:{second:02}Z");
        json!({"terminated": {"exitCode": code, "finishedAt": finished}})
    };
    let table = [
        (75, ended(0, 9), true, "in time"),
        (75, ended(1, 9), false, "with an error"),
        (75, ended(137, 9), false, "killed"),
        (
            5,
            ended(0, 5),
            false,
            "at the end of a shortened grace period",
        ),
        (5, ended(0, 4), true, "within a shortened grace period"),
        (
            75,
            json!({"terminated": {"exitCode": 0}}),
            false,
            "at an unknown time",
        ),
        (75, json!({"running": {}}), false, "still runs"),
    ];
    for (grace, state, expected, what) in table {
        let statuses = worker(&state, &Value::Null);
        let pod = Draining::of(&deleted(grace, &json!({"name": "worker"}), &statuses)).unwrap();
        assert_eq!(pod.has_drained(), expected, "{what}");
    }
}
