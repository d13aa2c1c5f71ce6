//! Pods, as the API server returns them.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use taskqueue_api::Reason;
use taskqueue_scaling::Replicas;

use super::*;
use crate::observe::deployment::{self, replicas};

fn pod(value: serde_json::Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(value).unwrap())
}

const WORKER: &str = "worker";

mod trouble;

/// The time at which all pods are read.
fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn waiting(reason: &str) -> Arc<Pod> {
    pod(json!({
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "containerStatuses": [{
            "name": "worker", "image": "shop/worker:2", "imageID": "", "ready": false,
            "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": "secret \"x\" not found"}},
            "lastState": {"terminated": {"exitCode": 2}},
        }]},
    }))
}

#[test]
fn pods_are_counted_by_phase() {
    let pods = [
        pod(json!({
            "metadata": {"name": "ready", "labels": {"pod-template-hash": "1"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}},
            "status": {"phase": "Running", "podIP": "10.0.0.7",
                "conditions": [{"type": "Ready", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:03Z"}]},
        })),
        pod(json!({
            "metadata": {"name": "new", "labels": {"pod-template-hash": "2"}},
            "status": {"phase": "Pending"},
        })),
        pod(json!({
            "metadata": {"name": "draining", "labels": {"pod-template-hash": "0"},
                "deletionTimestamp": "2026-01-01T00:11:00Z"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        })),
        pod(json!({
            "metadata": {"name": "stuck", "deletionTimestamp": "2026-01-01T00:10:15Z"},
            "status": {"phase": "Running"},
        })),
        pod(json!({"metadata": {"name": "done"}, "status": {"phase": "Succeeded"}})),
    ];
    let facts = read(&pods, WORKER, now());
    let ends = |name: &str, at: &str| Draining {
        pod: name.to_owned(),
        grace: Duration::ZERO,
        ends: at.parse().unwrap(),
        shortened_to: None,
        hooked: false,
        end: None,
    };
    let live = |name: &str, phase| LivePod {
        name: name.to_owned(),
        phase,
    };
    assert_eq!(
        facts,
        Pods {
            live: vec![
                live("draining", PodPhase::Terminating),
                live("new", PodPhase::Pending),
                live("ready", PodPhase::Ready),
                live("stuck", PodPhase::Terminating),
            ],
            replica_sets: 2,
            draining: vec![
                ends("draining", "2026-01-01T00:10:45Z"),
                ends("stuck", "2026-01-01T00:10:00Z")
            ],
            gone: Vec::new(),
            trouble: None,
            relapsing: 0,
            costs: vec![("ready".to_owned(), "-1".to_owned())],
            protected: BTreeSet::new(),
            spared_by_others: BTreeSet::new(),
            addresses: BTreeMap::from([("ready".to_owned(), [10, 0, 0, 7].into())]),
            template: Some("1".to_owned()),
            replaced: ["draining", "new", "stuck"].map(str::to_owned).into(),
            start: Some(Duration::from_secs(3)),
        }
    );
    assert_eq!(
        replicas(4, None, &facts, false),
        Replicas {
            requested: 4,
            ready: 1,
            starting: 3,
            terminating: 2,
            unseen: 0,
            rollout_in_progress: true,
            by_ordinal: false,
            start_up: Some(Duration::from_secs(3)),
        }
    );
}

#[test]
fn a_pod_in_which_only_a_sidecar_is_left_works_on_nothing() {
    let deleted = |worker: serde_json::Value| {
        read(
            &[pod(json!({
                "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:11:00Z"},
                "status": {"phase": "Running", "containerStatuses": [
                    {"name": "proxy", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                        "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}},
                    {"name": "worker", "image": "", "imageID": "", "ready": false,
                        "restartCount": 0, "state": worker},
                ]},
            }))],
            WORKER,
            now(),
        )
    };
    let running = deleted(json!({"running": {"startedAt": "2026-01-01T00:00:01Z"}}));
    let ended = deleted(json!({"terminated": {"exitCode": 0}}));
    assert_eq!(
        (running.live.len(), running.draining.len()),
        (1, 1),
        "its worker runs"
    );
    assert_eq!((ended.live.len(), ended.draining.len()), (0, 1));
    assert!(running.drains() && ended.drains(), "it keeps its room");
}

#[test]
fn a_pod_that_was_ready_since_its_worker_started_is_not_starting() {
    let not_ready_since = |second: u8, state: serde_json::Value| {
        read(
            &[pod(json!({
                "metadata": {"name": "p"},
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "False",
                        "lastTransitionTime": format!("2026-01-01T00:00:{second:02}Z")}],
                    "containerStatuses": [
                        {"name": "beside", "image": "", "imageID": "", "ready": false,
                            "restartCount": 0,
                            "state": {"running": {"startedAt": "2026-01-01T00:00:01Z"}}},
                        {"name": "worker", "image": "", "imageID": "", "ready": false,
                            "restartCount": 0, "state": state},
                    ],
                },
            }))],
            WORKER,
            now(),
        )
        .live[0]
            .phase
    };
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:05Z"}});
    let ended = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let table = [
        (0, &running, PodPhase::Starting, "never ready"),
        (5, &running, PodPhase::Starting, "started within a second"),
        (4, &running, PodPhase::Starting, "ready before a restart"),
        (6, &running, PodPhase::Unready, "ready until then"),
        (6, &ended, PodPhase::Pending, "no process, no tasks"),
    ];
    for (second, state, phase, what) in table {
        assert_eq!(not_ready_since(second, state.clone()), phase, "{what}");
    }
}

#[test]
fn pods_that_the_deployment_counts_and_the_watch_does_not_show_are_unseen() {
    let live = |ready: u32, starting: u32| {
        let pod = |name: String, phase| LivePod { name, phase };
        let ready = (0..ready).map(|index| pod(format!("r{index}"), PodPhase::Ready));
        let starting = (0..starting).map(|index| pod(format!("s{index}"), PodPhase::Starting));
        let leaving = pod("gone".to_owned(), PodPhase::Terminating);
        Pods {
            live: ready.chain(starting).chain([leaving]).collect(),
            ..Pods::default()
        }
    };
    // Columns: seen ready, seen starting, counted in all, counted as ready, unseen.
    let table = [
        (0, 0, 0, 0, 0),
        (0, 0, 5, 5, 5),
        (0, 0, 5, 0, 5),
        (2, 0, 5, 5, 3),
        (2, 1, 3, 2, 0),
        (2, 1, 3, 3, 1),
        (3, 1, 2, 2, 0),
    ];
    for (ready, starting, replicas_counted, ready_counted, unseen) in table {
        let deployment: Deployment = serde_json::from_value(json!({
            "spec": {"selector": {}, "template": {}},
            "status": {"replicas": replicas_counted, "readyReplicas": ready_counted},
        }))
        .unwrap();
        let found = replicas(5, Some(&deployment), &live(ready, starting), false);
        assert_eq!(
            found.unseen, unseen,
            "{ready} {starting} {replicas_counted}"
        );
    }
}

#[test]
fn pods_that_cannot_start_are_reported_with_the_remedy() {
    let table = [
        ("ImagePullBackOff", Some(Reason::ImagePullFailed)),
        ("ErrImagePull", Some(Reason::ImagePullFailed)),
        ("ErrImageNeverPull", Some(Reason::ImagePullFailed)),
        ("InvalidImageName", Some(Reason::ImagePullFailed)),
        ("CrashLoopBackOff", Some(Reason::PodsFailing)),
        ("CreateContainerConfigError", Some(Reason::PodsFailing)),
        ("ContainerCreating", None),
        ("PodInitializing", None),
    ];
    for (word, reason) in table {
        let found = read(&[waiting(word)], WORKER, now()).trouble;
        assert_eq!(found.map(|trouble| trouble.reason), reason, "{word}");
    }
    let message = |word| {
        read(&[waiting(word)], WORKER, now())
            .trouble
            .unwrap()
            .message
    };
    assert_eq!(
        message("ErrImagePull"),
        message("ImagePullBackOff"),
        "the two take turns and must not cause a write each time"
    );
    assert_eq!(
        message("CrashLoopBackOff"),
        "container worker exits with code 2 each time it starts; see kubectl logs --previous of \
         its pod"
    );
    assert_eq!(
        message("CreateContainerConfigError"),
        "container worker cannot be started (CreateContainerConfigError): secret \"x\" not found"
    );
}

#[test]
fn a_pod_without_a_node_is_reported() {
    let pending = pod(json!({
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/9 nodes are available: 1 Insufficient cpu, 8 node(s) had untolerated \
                        taint(s). no new claims to deallocate, preemption: 0/9 nodes are \
                        available: 9 Preemption is not helpful for scheduling.",
        }]},
    }));
    let trouble = read(&[pending], WORKER, now()).trouble.unwrap();
    assert_eq!(trouble.reason, Reason::PodsUnschedulable);
    assert_eq!(
        trouble.message,
        "pods cannot be scheduled on any node: Insufficient cpu, no new claims to deallocate, \
         node(s) had untolerated taint(s); add nodes, or change resources, nodeSelector or \
         tolerations"
    );
}

#[test]
fn a_deployment_that_may_not_create_pods_is_reported() {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "d"},
        "spec": {"selector": {}, "template": {}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True",
            "reason": "FailedCreate", "message": "exceeded quota: pods"}]},
    }))
    .unwrap();
    let trouble = deployment::trouble(&deployment, false).unwrap();
    assert_eq!(trouble.reason, Reason::PodsRefused);
    assert!(trouble.message.contains("exceeded quota"), "{trouble}");
}
