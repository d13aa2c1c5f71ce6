//! What the next pass knows about this one.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use taskqueue_kubernetes::kube_error::Call;
use taskqueue_scaling::{Reading, SlotSource, Slots};
use taskqueue_testkit::test_fleet;

use super::*;
use crate::applied::{Scaled, Written};
use crate::planner;
use crate::testing::{self, NOW, backlog, existing, observed, unseen};

#[test]
fn a_scale_up_is_remembered_although_the_template_was_rejected() {
    let fleet = testing::fleet(&json!([{"name": "a", "replicas": {"max": 9}}]));
    let now = Moment {
        monotonic: NOW,
        wall: Timestamp::UNIX_EPOCH,
    };
    let mut state = FleetState::default();
    let pass = |state: &mut FleetState, replicas| {
        let mut queue = unseen();
        queue.existing = Some(Arc::new(existing(&fleet, replicas, "9")));
        queue.reading.backlog = backlog(50, NOW);
        let observed = observed(&fleet, queue);
        readings(&fleet, &observed, state, NOW);
        planner::plan(&fleet, &observed, state, NOW)
    };
    let plan = pass(&mut state, 0);
    let scale = plan.queues[0].scale.clone().unwrap();
    let away = kube::core::Status::failure("etcd is away", "").with_code(503);
    let call = Call::new("apply", "Deployment", "shop", "orders-a");
    let mut applied = Applied::default();
    applied.queues.insert(
        "a".to_owned(),
        QueueApplied {
            scaled: Some(Scaled {
                from: scale.from,
                to: scale.to,
                resource_version: None,
            }),
            error: Some(Error::kube(call, kube::Error::Api(away.boxed()))),
            ..QueueApplied::default()
        },
    );
    writes(&mut state, &fleet, &plan, &mut applied, now);
    let plan = pass(&mut state, i32::try_from(scale.to).unwrap());
    let again = plan.queues[0].decision.as_ref().unwrap();
    assert_eq!((again.reason, again.act), (Reason::AlreadyActedOn, false));
}

#[test]
fn a_decision_about_a_deployment_that_was_out_of_sight_is_not_remembered_as_carried_out() {
    let fleet = testing::fleet(&json!([{"name": "a", "replicas": {"max": 9}}]));
    let object = taskqueue_api::render(&fleet, &fleet.queues[0], &testing::usable(&fleet).spec);
    let found = Written::after_apply(&existing(&fleet, 5, "9"), &object);
    let now = Moment {
        monotonic: NOW,
        wall: Timestamp::UNIX_EPOCH,
    };
    // Whether this process wrote it before or has just started.
    for known in [true, false] {
        let mut state = FleetState::default();
        let left = known.then(|| Written::after_apply(&existing(&fleet, 5, "7"), &object));
        state.queue(QueueKey::unversioned("a")).written = left;
        let mut pass = |replicas: Option<i32>| {
            let mut queue = unseen();
            queue.existing = replicas.map(|replicas| Arc::new(existing(&fleet, replicas, "9")));
            // Between two bursts.
            queue.reading.backlog = backlog(1, NOW);
            let observed = observed(&fleet, queue);
            readings(&fleet, &observed, &mut state, NOW);
            let plan = planner::plan(&fleet, &observed, &state, NOW);
            let mut applied = Applied::default();
            // The writer finds it: it existed all the time.
            let done = applied.queues.entry("a".to_owned()).or_default();
            done.written = Some(found.clone());
            writes(&mut state, &fleet, &plan, &mut applied, now);
            let decision = plan.queues[0].decision.as_ref().unwrap();
            (decision.previous, decision.desired, decision.act)
        };
        pass(None);
        assert_eq!(pass(Some(5)), (5, 5, false), "known: {known}");
    }
}

#[test]
fn replicas_that_somebody_else_sets_count_as_ours_if_they_are_wanted() {
    let fleet = testing::fleet(&json!([{"name": "a", "replicas": {"min": 3, "max": 3}}]));
    let object = taskqueue_api::render(&fleet, &fleet.queues[0], &testing::usable(&fleet).spec);
    let mut state = FleetState::default();
    let written = Written::after_apply(&existing(&fleet, 2, "7"), &object);
    state.queue(QueueKey::unversioned("a")).written = Some(written);
    let mut queue = unseen();
    queue.existing = Some(Arc::new(existing(&fleet, 3, "9")));
    queue.reading.backlog = backlog(0, NOW);
    let observed = observed(&fleet, queue);
    readings(&fleet, &observed, &mut state, NOW);
    let plan = planner::plan(&fleet, &observed, &state, NOW);
    assert_eq!(plan.queues[0].scale, None);
    let mut applied = Applied::default();
    applied.queues.entry("a".to_owned()).or_default();
    let now = Moment {
        monotonic: NOW,
        wall: Timestamp::UNIX_EPOCH,
    };
    writes(&mut state, &fleet, &plan, &mut applied, now);
    let left = &state.queues[&QueueKey::unversioned("a")];
    assert_eq!(left.written.as_ref().unwrap().replicas, 3);
}

#[test]
fn a_queue_that_was_held_back_shrinks_only_after_the_scale_down_window() {
    let fleet = testing::fleet(&json!([{"name": "a", "replicas": {"max": 9}}]));
    let mut state = FleetState::default();
    let mut pass = |second: u64, held_back: bool| {
        let now = Moment {
            monotonic: NOW.plus(Duration::from_secs(second)),
            wall: Timestamp::UNIX_EPOCH,
        };
        let mut queue = unseen();
        queue.existing = Some(Arc::new(existing(&fleet, 3, "9")));
        queue.reading.backlog = backlog(0, now.monotonic);
        queue.rival = held_back.then(|| testing::simple().key);
        let observed = observed(&fleet, queue);
        readings(&fleet, &observed, &mut state, now.monotonic);
        let plan = planner::plan(&fleet, &observed, &state, now.monotonic);
        let mut applied = Applied::default();
        let done = applied.queues.entry("a".to_owned()).or_default();
        // From here on the template is up to date.
        let object = taskqueue_api::render(&fleet, &fleet.queues[0], &testing::usable(&fleet).spec);
        done.written = Some(Written::after_apply(&existing(&fleet, 3, "9"), &object));
        writes(&mut state, &fleet, &plan, &mut applied, now);
        let decision = plan.queues[0].decision.as_ref();
        decision.map(|decision| (decision.desired, decision.reason))
    };
    for second in (0..200).step_by(5) {
        assert_eq!(pass(second, true), None);
    }
    assert_eq!(pass(200, false), Some((3, Reason::ScaleDownStabilized)));
    assert_eq!(pass(255, false), Some((0, Reason::NoDemand)));
}

#[test]
fn a_queue_without_pods_assumes_what_queues_with_the_same_pods_have_shown() {
    let other = json!({"spec": {"containers": [{"name": "worker", "args": ["--fast"]}]}});
    let fleet = testing::fleet(&json!([
        {"name": "a", "replicas": {"max": 9}},
        {"name": "like-a", "replicas": {"max": 9}},
        {"name": "other", "replicas": {"max": 9}, "template": other},
    ]));
    let mut state = FleetState::default();
    let mut a = unseen();
    a.existing = Some(Arc::new(existing(&fleet, 1, "9")));
    a.reading.backlog = backlog(0, NOW);
    a.slots = Reading::Known {
        value: Slots {
            pods: vec![test_fleet::pod("p", 3, NOW)],
            source: SlotSource::Heartbeats,
        },
        taken_at: NOW,
    };
    let mut observed = observed(&fleet, a);
    for queue in ["like-a", "other"] {
        observed.queues.insert(queue.to_owned(), unseen());
    }
    readings(&fleet, &observed, &mut state, NOW);
    let slots = fleet.queues.iter().map(|queue| {
        let history = &state.queues[&QueueKey::unversioned(&queue.name)].history;
        history.slots_per_replica(TaskType::Activity, &queue.policy)
    });
    assert_eq!(slots.collect::<Vec<_>>(), [10, 10, 100]);
}
