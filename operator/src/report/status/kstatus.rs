//! A fleet as seen by Flux, by the waiting of Argo CD and Helm, and by other users of kstatus.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use serde_json::{Value, json};
use taskqueue_api::{Fleet, Reason, TaskQueueWorkerStatus, validate, well_known};
use taskqueue_kubernetes::kube_error::Call;
use taskqueue_scaling::PodPhase;
use taskqueue_temporal::CallErrorKind;

use crate::error::Error;
use crate::fleet_state::QueueKey;
use crate::not_ready::NotReady;
use crate::observe::ObservedQueue;
use crate::plan::Step;
use crate::report::conditions;
use crate::report::status::refused;
use crate::report::testing::{Passed, healthy, unread};
use crate::testing::{NOW, existing, resource, simple, unseen};

/// The rules of kstatus for resources without rules of their own, in order.
fn kstatus(generation: i64, status: &TaskQueueWorkerStatus) -> &'static str {
    if status
        .observed_generation
        .is_some_and(|seen| seen != generation)
    {
        return "InProgress";
    }
    for condition in &status.conditions {
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Reconciling", "True") => return "InProgress",
            ("Stalled", "True") => return "Failed",
            _ => {}
        }
    }
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    match ready.map(|ready| ready.status.as_str()) {
        Some("False" | "Unknown") => "InProgress",
        _ => "Current",
    }
}

/// The status of generation 2 after a pass, when generation 1 was healthy.
fn then(passed: &Passed) -> TaskQueueWorkerStatus {
    let before = Passed::of(healthy()).status(&TaskQueueWorkerStatus::default(), 1);
    passed.status(&before, 2)
}

fn with(change: impl FnOnce(&mut ObservedQueue)) -> ObservedQueue {
    let mut queue = healthy();
    change(&mut queue);
    queue
}

fn answered(code: u16, message: &str) -> Error {
    let status = kube::core::Status::failure(message, "").with_code(code);
    let call = Call::new("apply", "Deployment", "shop", "d");
    Error::kube(call, kube::Error::Api(status.boxed()))
}

fn paused(queue: &mut ObservedQueue) {
    let mut deployment = existing(&simple(), 1, "9");
    deployment.spec.as_mut().unwrap().paused = Some(true);
    deployment.status = Some(DeploymentStatus {
        replicas: Some(1),
        updated_replicas: Some(0),
        ..DeploymentStatus::default()
    });
    queue.existing = Some(Arc::new(deployment));
}

/// A queue whose pods are starting, and what is known to be wrong with them.
fn starting(reason: Option<Reason>) -> ObservedQueue {
    with(|queue| {
        queue.pods.live[0].phase = PodPhase::Starting;
        queue.pods.trouble = reason.map(|reason| NotReady::new(reason, "it is so"));
    })
}

#[test]
fn kstatus_reports_the_actual_state_of_a_fleet() {
    let held_back = |reason| {
        let mut passed = Passed::of(healthy());
        passed.plan.queues[0].step = Step::Hold(NotReady::new(reason, "it is so"));
        passed
    };
    let mut waking = Passed::of(starting(None));
    let at = NOW.minus(Duration::from_secs(2));
    waking.state.queue(QueueKey::unversioned("a")).at_zero = Some(at);
    let denied = answered(400, "admission webhook \"x\" denied the request: no");
    let table = vec![
        ("all is well", Passed::of(healthy()), "Current"),
        (
            "the fleet is paused",
            Passed::over(paused_by_annotation(), healthy()),
            "Current",
        ),
        (
            "Temporal is away",
            Passed::of(unread(CallErrorKind::Unavailable)),
            "Current",
        ),
        ("a queue wakes from zero", waking, "Current"),
        ("nothing is there", Passed::of(unseen()), "InProgress"),
        (
            "the first pods start",
            Passed::of(starting(None)),
            "InProgress",
        ),
        (
            "pods are replaced",
            Passed::of(with(|queue| queue.pods.replica_sets = 2)),
            "InProgress",
        ),
        (
            "the API server is away",
            Passed::of(healthy()).failed(answered(503, "")),
            "InProgress",
        ),
        (
            "the API server is busy",
            Passed::of(healthy()).failed(answered(429, "")),
            "InProgress",
        ),
        (
            "no node has room",
            Passed::of(starting(Some(Reason::PodsUnschedulable))),
            "InProgress",
        ),
        (
            "a webhook denies",
            Passed::of(healthy()).failed(denied),
            "Failed",
        ),
        (
            "a Secret is missing",
            held_back(Reason::SecretNotFound),
            "Failed",
        ),
        (
            "a rival is older",
            held_back(Reason::QueueConflict),
            "Failed",
        ),
        (
            "the image is not there",
            Passed::of(starting(Some(Reason::ImagePullFailed))),
            "Failed",
        ),
        (
            "the image of a rollout is not there",
            Passed::of(with(|queue| {
                queue.pods.replica_sets = 2;
                let problem = NotReady::new(Reason::ImagePullFailed, "it is so");
                queue.pods.trouble = Some(problem);
            })),
            "Failed",
        ),
        ("a rollout is paused", Passed::of(with(paused)), "Failed"),
    ];
    let mut statuses = Vec::new();
    for (what, passed, expected) in table {
        let status = then(&passed);
        statuses.push(case(what, &status));
        assert_eq!(kstatus(2, &status), expected, "{what}: {status:#?}");
        assert_eq!(kstatus(3, &status), "InProgress", "{what}, changed again");
    }
    let before = then(&Passed::of(healthy()));
    let now = "2026-02-03T04:05:06Z".parse().unwrap();
    let invalid = refused(&before, 3, &conditions::invalid("no such mode"), now);
    assert_eq!(kstatus(3, &invalid), "Failed", "the spec is refused");
    let invalid = refused(&before, 2, &conditions::invalid("no such mode"), now);
    statuses.push(case("the spec is refused", &invalid));
    // The test of the health check for Argo CD reads these.
    insta::assert_yaml_snapshot!("statuses", statuses);
}

/// What tools read of a status.
fn case(what: &str, status: &TaskQueueWorkerStatus) -> Value {
    let conditions = status.conditions.iter().map(|condition| {
        json!({
            "type": condition.type_, "status": condition.status,
            "reason": condition.reason, "message": condition.message,
        })
    });
    let conditions: Vec<Value> = conditions.collect();
    let generation = status.observed_generation;
    json!({
        "case": what,
        "status": {"observedGeneration": generation, "conditions": conditions},
    })
}

fn paused_by_annotation() -> Fleet {
    let mut resource = resource(&json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]));
    let paused = (well_known::PAUSED_ANNOTATION.to_owned(), "true".to_owned());
    resource.metadata.annotations = Some(BTreeMap::from([paused]));
    validate(&resource).unwrap()
}
