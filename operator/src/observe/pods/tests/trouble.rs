//! A trouble of pods is named once; its message neither flickers nor depends on the order of pods.

use serde_json::{Value, json};

use super::*;

/// A container with a state, a previous state, and a number of restarts.
fn container(name: &str, restarts: u32, state: &Value, last: &Value) -> Value {
    json!({
        "name": name, "image": "shop/fetch:1", "imageID": "", "ready": false,
        "restartCount": restarts, "state": state, "lastState": last,
    })
}

fn with_init(init: &Value) -> Arc<Pod> {
    let waits = json!({"waiting": {"reason": "PodInitializing"}});
    pod(json!({
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "initContainerStatuses": [init],
            "containerStatuses": [container("worker", 0, &waits, &json!({}))]},
    }))
}

fn with_worker(name: &str, ready: bool, worker: &Value) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    pod(json!({
        "metadata": {"name": name},
        "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": status}],
            "containerStatuses": [worker]},
    }))
}

fn message(pods: &[Arc<Pod>]) -> String {
    let trouble = read(pods, WORKER, now()).trouble;
    trouble.map_or_else(String::new, |trouble| trouble.message)
}

fn waits(reason: &str) -> Value {
    json!({"waiting": {"reason": reason}})
}

fn ended(code: i32, reason: &str) -> Value {
    json!({"terminated": {"exitCode": code, "reason": reason}})
}

fn runs_since(time: &str) -> Value {
    json!({"running": {"startedAt": time}})
}

#[test]
fn an_init_container_or_a_sidecar_that_does_not_start_is_named() {
    let of =
        |restarts, state, last| message(&[with_init(&container("fetch", restarts, &state, &last))]);
    assert_eq!(
        of(0, waits("ErrImageNeverPull"), json!({})),
        "the image shop/fetch:1 of init container fetch cannot be pulled (ErrImageNeverPull); \
         correct the image, or give the pods a pull Secret for it"
    );
    let ends = "init container fetch exits with code 1 each time it starts; see kubectl logs \
                --previous of its pod";
    assert_eq!(of(1, waits("CrashLoopBackOff"), ended(1, "Error")), ends);
    // Between two back-offs: a sidecar runs for a while, an init container ends at once.
    let runs = runs_since("2026-01-01T00:59:50Z");
    assert_eq!(of(2, runs, ended(1, "Error")), ends);
    assert_eq!(of(2, ended(1, "Error"), ended(1, "Error")), ends);
    assert_eq!(of(3, ended(0, "Completed"), ended(1, "Error")), "");
    assert_eq!(of(0, runs_since("2026-01-01T00:59:50Z"), json!({})), "");
}

#[test]
fn a_crash_loop_is_one_trouble_whether_it_waits_runs_or_has_just_ended() {
    let failed = ended(2, "Error");
    let ends = message(&[with_worker(
        "p",
        false,
        &container("worker", 1, &waits("CrashLoopBackOff"), &failed),
    )]);
    assert!(
        ends.starts_with("container worker exits with code 2 each time"),
        "{ends}"
    );
    let at = |restarts, ready, since: &str| {
        let worker = container("worker", restarts, &runs_since(since), &failed);
        let facts = read(&[with_worker("p", ready, &worker)], WORKER, now());
        let said = facts.trouble.map(|trouble| trouble.message);
        (said, facts.relapsing)
    };
    let same = Some(ends.clone());
    assert_eq!(at(2, false, "2026-01-01T00:50:01Z"), (same.clone(), 0));
    assert_eq!(at(2, false, "2026-01-01T00:50:00Z"), (None, 0), "it stays");
    // Without a readiness probe, the pod is ready as soon as it runs.
    assert_eq!(at(2, true, "2026-01-01T00:59:01Z"), (same, 1));
    assert_eq!(at(2, true, "2026-01-01T00:59:00Z"), (None, 0), "it stays");
    assert_eq!(
        at(1, false, "2026-01-01T00:59:59Z"),
        (None, 0),
        "once is no loop"
    );
    let between = container("worker", 2, &failed, &failed);
    assert_eq!(message(&[with_worker("p", false, &between)]), ends);
}

#[test]
fn of_several_problems_the_worst_is_reported_whatever_the_order_of_the_pods() {
    let crashes = with_worker(
        "a",
        false,
        &container("worker", 3, &waits("CrashLoopBackOff"), &ended(1, "Error")),
    );
    let killed = with_worker(
        "b",
        false,
        &container(
            "worker",
            3,
            &waits("CrashLoopBackOff"),
            &ended(137, "OOMKilled"),
        ),
    );
    let no_image = with_worker(
        "c",
        false,
        &container("worker", 0, &waits("ErrImagePull"), &json!({})),
    );
    let mut pods = [crashes, killed, no_image];
    let worst = message(&pods);
    assert!(
        worst.starts_with("the image shop/fetch:1 of container worker"),
        "{worst}"
    );
    pods.reverse();
    assert_eq!(message(&pods), worst);
    let [_, killed, crashes] = pods;
    let one = message(&[crashes.clone(), killed.clone()]);
    assert_eq!(message(&[killed.clone(), crashes]), one);
    assert!(message(&[killed]).contains("with code 137 (OOMKilled)"));
}

#[test]
fn messages_of_the_kubelet_are_quoted_without_changing_ids() {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let said = |word: &str, text: &str| {
        let state = json!({"waiting": {"reason": word, "message": text}});
        message(&[with_worker(
            "p",
            false,
            &container("worker", 0, &state, &json!({})),
        )])
    };
    assert_eq!(
        said(
            "CreateContainerError",
            &format!(
                "failed to reserve name \"worker_p_shop_7f3c1a52-0b1d-4c7e-9a55-12d0c0ffee00_3\": \
                 it is reserved for \"{id}\""
            )
        ),
        "container worker cannot be started (CreateContainerError): failed to reserve name (id) \
         it is reserved for (id)"
    );
    assert_eq!(
        said(
            "RunContainerError",
            "exec: \"wroker\": executable file not found in $PATH"
        ),
        "container worker cannot be started (RunContainerError): exec: \"wroker\": executable \
         file not found in $PATH"
    );
    let last = json!({"terminated": {"exitCode": 128, "reason": "StartError",
        "message": "exec: \"wroker\": executable file not found in $PATH"}});
    assert_eq!(
        message(&[with_worker(
            "p",
            false,
            &container("worker", 2, &waits("CrashLoopBackOff"), &last)
        )]),
        "container worker cannot be started (StartError): exec: \"wroker\": executable file not \
         found in $PATH"
    );
}

#[test]
fn a_pod_without_a_replica_set_is_no_rollout() {
    let labelled = |name: &str, labels: Value| {
        pod(json!({"metadata": {"name": name, "labels": labels}, "status": {"phase": "Running"}}))
    };
    let pods = [
        labelled("a", json!({"pod-template-hash": "1"})),
        labelled("by-hand", json!({})),
    ];
    assert_eq!(read(&pods, WORKER, now()).replica_sets, 1);
}

#[test]
fn problems_of_the_newest_template_are_reported_first() {
    let failing = |name: &str, hash: &str, created: &str, reason: &str| {
        pod(json!({
            "metadata": {"name": name, "labels": {"pod-template-hash": hash},
                "creationTimestamp": created},
            "status": {"phase": "Pending", "containerStatuses": [{
                "name": "worker", "image": "shop/worker:2", "imageID": "", "ready": false,
                "restartCount": 3, "state": {"waiting": {"reason": reason}},
            }]},
        }))
    };
    let old = failing("old", "1", "2026-01-01T00:00:00Z", "ImagePullBackOff");
    let new = failing("new", "2", "2026-01-01T00:01:00Z", "CrashLoopBackOff");
    let starting = failing("new", "2", "2026-01-01T00:01:00Z", "ContainerCreating");
    let reason = |pods: &[Arc<Pod>]| read(pods, WORKER, now()).trouble.map(|found| found.reason);
    let table = [
        (&old, &new, Reason::PodsFailing),
        (&old, &starting, Reason::ImagePullFailed),
    ];
    for (old, new, expected) in table {
        for pods in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
            assert_eq!(reason(&pods), Some(expected));
        }
    }
}
