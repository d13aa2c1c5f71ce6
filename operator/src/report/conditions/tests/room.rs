//! The conditions of a rollout that finds no room for its new pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use serde_json::Value;
use taskqueue_api::Fleet;
use taskqueue_temporal::LivePod;

use super::*;
use crate::observe::ObservedQueue;

/// A fleet whose Deployments have these settings.
fn with_deployment(deployment: &Value) -> Fleet {
    fleet(&json!([
        {"name": "a", "replicas": {"min": 1, "max": 5}, "deployment": deployment},
    ]))
}

/// A rollout of a Deployment of the fleet, of 2 replicas, with a ready pod of the old template.
fn rolling(fleet: &Fleet, refused: bool) -> ObservedQueue {
    let mut queue = healthy();
    let mut deployment = existing(fleet, 2, "9");
    let mut conditions = vec![DeploymentCondition {
        type_: "Progressing".to_owned(),
        status: "True".to_owned(),
        reason: Some("ReplicaSetUpdated".to_owned()),
        ..DeploymentCondition::default()
    }];
    if refused {
        conditions.push(DeploymentCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            message: Some("pods \"d-1-x\" is forbidden: exceeded quota: pods".to_owned()),
            ..DeploymentCondition::default()
        });
    }
    deployment.status = Some(DeploymentStatus {
        replicas: Some(1),
        updated_replicas: Some(0),
        conditions: Some(conditions),
        ..DeploymentStatus::default()
    });
    queue.existing = Some(Arc::new(deployment));
    queue
}

fn draining(mut queue: ObservedQueue) -> ObservedQueue {
    queue.pods.live.push(LivePod {
        name: "old".to_owned(),
        phase: PodPhase::Terminating,
    });
    queue
}

fn status(fleet: Fleet, queue: ObservedQueue) -> TaskQueueWorkerStatus {
    Passed::over(fleet, queue).status(&well(), 2)
}

const WAY_OUT: &str = "set deployment.strategy.rollingUpdate to maxSurge 0 and maxUnavailable 1, \
                       or deployment.strategy.type to Recreate";

#[test]
fn a_surge_without_room_is_stalled_and_the_message_names_the_way_out() {
    let status = |queue| status(simple(), queue);
    let mut unschedulable = rolling(&simple(), false);
    unschedulable.pods.trouble = Some(NotReady::new(
        Reason::PodsUnschedulable,
        "pods cannot be scheduled on any node: didn't match pod anti-affinity rules",
    ));
    for (queue, what) in [
        (
            rolling(&simple(), true),
            "exceeded quota: pods; raise the quota",
        ),
        (unschedulable, "didn't match pod anti-affinity rules"),
    ] {
        let status = status(queue);
        assert_eq!(
            condition(&status, "Progressing"),
            is("False", "RolloutStalled", 2)
        );
        assert_eq!(condition(&status, "Stalled").0, "True");
        let message = &find(&status, "Progressing").message;
        assert!(message.contains(what), "{message}");
        assert!(message.contains(WAY_OUT), "{message}");
    }
    let mut failing = rolling(&simple(), false);
    failing.pods.trouble = Some(NotReady::new(Reason::ImagePullFailed, "no such image"));
    let message = &find(&status(failing), "Progressing").message.clone();
    assert!(!message.contains(WAY_OUT), "room would not help: {message}");
}

#[test]
fn a_rollout_without_a_surge_waits_for_draining_pods_and_is_not_stalled() {
    let settings = json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}});
    let fleet = with_deployment(&settings);
    let waiting = status(fleet.clone(), draining(rolling(&fleet, true)));
    assert_eq!(
        condition(&waiting, "Progressing"),
        is("True", "RollingOut", 2)
    );
    assert_eq!(condition(&waiting, "Stalled").0, "False");
    let message = &find(&waiting, "Progressing").message;
    assert!(
        message.ends_with("new ones start when the draining ones have made room"),
        "{message}"
    );
    // Once nothing drains, nothing will make room.
    let stuck = status(fleet.clone(), rolling(&fleet, true));
    assert_eq!(
        condition(&stuck, "Progressing"),
        is("False", "RolloutStalled", 2)
    );
    let message = &find(&stuck, "Progressing").message;
    assert!(!message.contains(WAY_OUT), "it is taken: {message}");
}

#[test]
fn a_recreation_is_a_rollout_while_its_old_pods_drain() {
    let fleet = with_deployment(&json!({"strategy": {"type": "Recreate"}}));
    let alone = |mut queue: ObservedQueue| {
        queue.pods.live.clear();
        let mut deployment = Deployment::clone(queue.existing.as_deref().unwrap());
        deployment.status.as_mut().unwrap().replicas = Some(0);
        queue.existing = Some(Arc::new(deployment));
        queue
    };
    let drains = status(fleet.clone(), draining(alone(rolling(&fleet, false))));
    assert_eq!(
        condition(&drains, "Progressing"),
        is("True", "RollingOut", 2)
    );
    assert_eq!(
        condition(&drains, "Reconciling"),
        is("True", "RollingOut", 2)
    );
    assert_eq!(
        condition(&drains, "Ready"),
        is("False", "WaitingForReplicas", 2),
        "nobody serves the queue"
    );
    let replicas = |queue: &ObservedQueue| {
        let existing = queue.existing.as_deref();
        crate::observe::deployment::replicas(2, existing, &queue.pods, false)
    };
    assert!(replicas(&draining(alone(rolling(&fleet, false)))).rollout_in_progress);
    assert!(!replicas(&alone(rolling(&fleet, false))).rollout_in_progress);
    // Under the default strategy, pods that drain after a scale-in are no rollout.
    assert!(!replicas(&draining(alone(rolling(&simple(), false)))).rollout_in_progress);
}
