//! The conditions of a rollout that finds no room for its new pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition};
use serde_json::Value;
use taskqueue_api::Fleet;

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
    queue.pods.draining = vec![drains("old")];
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

/// A Deployment without a pod that runs, as the Deployment controller reports it.
fn emptied(fleet: &Fleet, status: &Value) -> ObservedQueue {
    let mut queue = rolling(fleet, false);
    queue.pods.live.clear();
    let mut deployment = Deployment::clone(queue.existing.as_deref().unwrap());
    deployment.metadata.generation = Some(4);
    deployment.status = Some(serde_json::from_value(status.clone()).unwrap());
    queue.existing = Some(Arc::new(deployment));
    queue
}

/// The last rollout has ended, and the controller asks for no pod: by the strategy Recreate it
/// waits until the old ones are gone, and says nothing of that.
fn waiting_to_recreate() -> Value {
    json!({
        "observedGeneration": 4,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ],
    })
}

/// The new pod is asked for, and refused.
fn refused() -> Value {
    json!({
        "observedGeneration": 4, "unavailableReplicas": 1,
        "conditions": [
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetCreated"},
            {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"},
        ],
    })
}

#[test]
fn a_rollout_without_a_surge_lasts_while_its_old_pods_drain() {
    let recreate = with_deployment(&json!({"strategy": {"type": "Recreate"}}));
    let update = json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}});
    let update = with_deployment(&update);
    for (fleet, of_deployment) in [(recreate, waiting_to_recreate()), (update, refused())] {
        let queue = draining(emptied(&fleet, &of_deployment));
        let replicas =
            crate::observe::deployment::replicas(2, queue.existing.as_deref(), &queue.pods, false);
        assert!(replicas.rollout_in_progress, "{of_deployment}");
        let status = status(fleet, queue);
        for kind in ["Progressing", "Reconciling"] {
            let found = condition(&status, kind);
            assert_eq!(
                found,
                is("True", "RollingOut", 2),
                "{kind}: {of_deployment}"
            );
        }
        assert_eq!(condition(&status, "Stalled").0, "False", "{of_deployment}");
        // Nobody serves the queue.
        assert_eq!(condition(&status, "Ready").0, "False", "{of_deployment}");
    }
}

#[test]
fn pods_that_drain_after_a_scale_in_are_no_rollout() {
    let recreate = with_deployment(&json!({"strategy": {"type": "Recreate"}}));
    let mut unseen = waiting_to_recreate();
    unseen["observedGeneration"] = json!(3);
    let mut asked = waiting_to_recreate();
    asked["unavailableReplicas"] = json!(1);
    for (fleet, of_deployment, requested, when) in [
        (&recreate, waiting_to_recreate(), 0, "scaled to zero"),
        (&recreate, unseen, 2, "scaled up from zero a moment ago"),
        (
            &recreate,
            asked,
            2,
            "scaled up from zero, and new pods are asked for",
        ),
        (
            &simple(),
            waiting_to_recreate(),
            2,
            "under the default strategy",
        ),
    ] {
        let mut queue = draining(emptied(fleet, &of_deployment));
        let mut deployment = Deployment::clone(queue.existing.as_deref().unwrap());
        deployment.spec.as_mut().unwrap().replicas = Some(requested);
        queue.existing = Some(Arc::new(deployment));
        let status = status(fleet.clone(), queue);
        let found = condition(&status, "Progressing");
        assert_eq!(found, is("False", "RolledOut", 2), "{when}");
    }
    let ended = status(recreate.clone(), emptied(&recreate, &waiting_to_recreate()));
    let found = condition(&ended, "Progressing");
    assert_eq!(found, is("False", "RolledOut", 2), "nothing drains");
}
