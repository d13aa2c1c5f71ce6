//! Events are sent on transitions only.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::*;
use crate::applied::{Scaled, Written};
use crate::fleet_state::QueueKey;
use crate::report::details;
use crate::report::testing::{Passed, healthy, status_with};
use crate::testing::{NOW, backlog, existing, simple, unseen};

#[test]
fn events_report_only_transitions() {
    let none = TaskQueueWorkerStatus::default();
    let available = status_with("Ready", "True", "Available");
    let waiting = status_with("Ready", "False", "WaitingForReplicas");
    let failed = status_with("Ready", "False", "ImagePullFailed");
    let conflict = status_with("Ready", "False", "NameConflict");
    let reported = |old: &TaskQueueWorkerStatus, new: &TaskQueueWorkerStatus| {
        let events = transitions(old, new, &BTreeMap::new());
        events
            .into_iter()
            .map(|h| (h.warning, h.reason))
            .collect::<Vec<_>>()
    };
    let warning = |reason: &str| vec![(true, reason.to_owned())];
    let normal = |reason: &str| vec![(false, reason.to_owned())];
    assert_eq!(reported(&none, &available), []);
    assert_eq!(reported(&none, &waiting), []);
    assert_eq!(reported(&waiting, &available), []);
    assert_eq!(reported(&available, &failed), warning("ImagePullFailed"));
    assert_eq!(reported(&failed, &failed), []);
    assert_eq!(reported(&failed, &conflict), warning("NameConflict"));
    assert_eq!(reported(&failed, &available), normal("Available"));
    let limited = status_with("ScalingLimited", "True", "MaxReplicas");
    assert_eq!(reported(&none, &limited), normal("MaxReplicas"));
    assert_eq!(
        reported(
            &limited,
            &status_with("ScalingLimited", "False", "NotLimited")
        ),
        []
    );
}

#[test]
fn a_stalled_rollout_is_reported_and_a_cause_of_two_conditions_only_once() {
    let and_stalled = |mut status: TaskQueueWorkerStatus, stalled: TaskQueueWorkerStatus| {
        status.conditions.extend(stalled.conditions);
        status
    };
    let well = and_stalled(
        status_with("Ready", "True", "Available"),
        status_with("Stalled", "False", "NotStalled"),
    );
    let reported = |ready: (&str, &str), stalled: &str| {
        let new = and_stalled(
            status_with("Ready", ready.0, ready.1),
            status_with("Stalled", "True", stalled),
        );
        let events = |old, new| transitions(old, new, &BTreeMap::new());
        let reasons = |all: Vec<EventDraft>| all.into_iter().map(|h| h.reason).collect::<Vec<_>>();
        (reasons(events(&well, &new)), reasons(events(&new, &well)))
    };
    let (turned, back) = reported(("True", "Available"), "RolloutStalled");
    assert_eq!((turned, back), (vec!["RolloutStalled".to_owned()], vec![]));
    let (turned, back) = reported(("False", "ApplyFailed"), "ApplyFailed");
    assert_eq!(turned, ["ApplyFailed"]);
    assert_eq!(back, ["Available"]);
}

#[test]
fn the_field_manager_whose_replicas_are_reset_is_named() {
    let mut queue = healthy();
    let mut existing = existing(&simple(), 4, "9");
    existing.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
        manager: Some("kubectl".to_owned()),
        ..ManagedFieldsEntry::default()
    }]);
    queue.existing = Some(Arc::new(existing));
    let mut passed = Passed::of(queue);
    passed.plan.queues[0].changed_by_others = Some(2);
    passed.applied.queues.get_mut("a").unwrap().scaled = Some(Scaled {
        from: 4,
        to: 2,
        resource_version: None,
    });
    let reported = changes(&passed.facts()[0]);
    assert_eq!(reported[0].reason, "ReplicasReset");
    let deployment = &passed.fleet.queues[0].workload_name;
    let begins = format!(
        "queue a: the field manager kubectl scaled Deployment {deployment} from 2 to 4; the \
         operator set it back to 2"
    );
    assert!(
        reported[0].note.starts_with(&begins),
        "{}",
        reported[0].note
    );
}

#[test]
fn a_deployment_that_was_created_again_is_reported_also_at_zero() {
    let reported = |replicas: u32, created: bool| {
        let mut passed = Passed::of(healthy());
        let plan = &mut passed.plan.queues[0];
        (plan.vanished, plan.initial_replicas) = (true, replicas);
        passed.applied.queues.get_mut("a").unwrap().created = created;
        let reported = changes(&passed.facts()[0]);
        reported
            .into_iter()
            .map(|event| event.note)
            .collect::<Vec<_>>()
    };
    for (replicas, with) in [(0, "0 replicas"), (1, "1 replica"), (3, "3 replicas")] {
        let [note] = &reported(replicas, true)[..] else {
            panic!("not one Event with {with}")
        };
        let again = format!(" was missing and was created again with {with}; to remove it");
        assert!(note.contains(&again), "{note}");
    }
    assert_eq!(reported(3, false), Vec::<String>::new(), "it was refused");
}

#[test]
fn tasks_left_behind_in_a_former_task_queue_are_reported_when_the_workers_move() {
    let reported = |former: Option<FormerTaskQueue>, polled: &str, written: bool| {
        let mut queue = healthy();
        let mut object = existing(&simple(), 1, "9");
        let annotations = object.metadata.annotations.as_mut().unwrap();
        annotations.insert(
            well_known::TASK_QUEUE_ANNOTATION.to_owned(),
            polled.to_owned(),
        );
        queue.existing = Some(Arc::new(object.clone()));
        let mut passed = Passed::of(queue);
        passed
            .state
            .queue(QueueKey::unversioned("a"))
            .former_task_queue = former;
        let done = passed.applied.queues.get_mut("a").unwrap();
        done.written = written.then(|| Written::after_apply(&object, &object));
        let reported = task_queue_moved(&passed.facts()[0]);
        reported
            .into_iter()
            .map(|h| (h.warning, h.note))
            .collect::<Vec<_>>()
    };
    let former = |backlog| {
        Some(FormerTaskQueue {
            task_queue: "old".to_owned(),
            backlog,
        })
    };
    let moved = |rest: &str| {
        format!(
            "queue a: its workers move from task queue old to a; when the former was last read, \
             {rest}"
        )
    };
    let many = moved("7 tasks waited in it, and this fleet no longer works on them");
    assert_eq!(reported(former(Some(7)), "old", true), [(true, many)]);
    let none = moved("no task waited in it");
    assert_eq!(reported(former(Some(0)), "old", true), [(false, none)]);
    let unknown = moved("the number of tasks that waited in it was unknown");
    assert_eq!(
        reported(None, "old", true),
        [(true, unknown)],
        "after a restart"
    );
    assert_eq!(reported(former(Some(7)), "old", false), [], "not yet");
    assert_eq!(reported(None, "a", true), []);
}

#[test]
fn the_event_of_a_reached_maximum_has_the_demand_and_the_condition_no_fluctuating_number() {
    let mut busy = unseen();
    busy.reading.backlog = backlog(100_000, NOW);
    let passed = Passed::of(busy);
    let old = TaskQueueWorkerStatus::default();
    let new = passed.status(&old, passed.fleet.generation);
    let lift = "the demand exceeds replicas.max, which is 5; raise it if the cluster and the \
                services that the workers call can take more load, or send tasks more slowly";
    assert_eq!(new.conditions[3].message, format!("queue a: {lift}"));
    let events = transitions(&old, &new, &details(&passed.drafts(), &passed.fleet));
    let notes: Vec<&str> = events
        .iter()
        .filter(|event| event.reason == "MaxReplicas")
        .map(|event| event.note.as_str())
        .collect();
    assert_eq!(
        notes,
        [format!(
            "queue a: 1000 replicas are wanted and 5 are set: 100000 activity tasks wait; a task \
             is assumed to take 5s; 1000 replicas of 100 slots clear them within the 5s target; \
             replicas.max allows 5 of 1000; {lift}"
        )]
    );
}
