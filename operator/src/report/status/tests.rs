//! What is kept of the old status, and what is unknown.

use serde_json::json;
use taskqueue_api::{Reason, TaskQueueWorkerStatus};

use crate::fleet_state::{FleetState, QueueKey};
use crate::not_ready::NotReady;
use crate::report::testing::{Passed, healthy, status_with};
use crate::testing::{fleet, unseen};

#[test]
fn a_restarted_operator_keeps_the_former_conditions() {
    let known = status_with("ScalingActive", "False", "NotPolling");
    let mut starting = healthy();
    starting.reading.backlog = unseen().reading.backlog;
    let passed = Passed::of(starting);
    let at = |generation| passed.status(&known, generation);
    assert_eq!(at(1).conditions[2], known.conditions[0]);
    assert_eq!(
        at(2).conditions[2].reason,
        "Starting",
        "that was about another spec"
    );
}

#[test]
fn the_replicas_of_a_target_that_cannot_be_read_are_unknown() {
    let fleet = fleet(&json!([{
        "name": "a", "replicas": {"min": 1, "max": 9},
        "scaleTargetRef": {"kind": "StatefulSet", "name": "worker"},
    }]));
    let mut unread = unseen();
    let why = NotReady::new(Reason::TargetNotFound, "there is no StatefulSet worker");
    unread.target = Some(Err(why));
    let mut state = FleetState::default();
    state.queue(QueueKey::unversioned("a"));
    let passed = Passed::after(state, fleet, unread);
    let status = passed.status(&TaskQueueWorkerStatus::default(), 1);
    let written = serde_json::to_value(&status).unwrap();
    assert_eq!(written["replicas"], "unknown");
    let queue = json!([{"name": "a", "taskQueue": "a", "deploymentName": "worker"}]);
    assert_eq!(written["queues"], queue);
    for field in ["desiredReplicas", "currentReplicas", "readyReplicas"] {
        assert_eq!(written.get(field), None, "{field}");
    }
    assert_eq!(passed.numbers().queues["a"].replicas, None);
}
