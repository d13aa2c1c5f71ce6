//! Compares whole plans: what is written, and that nothing is written when nothing changed.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use taskqueue_api::fleet::DisruptionBudget;
use taskqueue_api::{FleetKey, Reason};

use super::*;
use crate::applied::Written;
use crate::carry_over;
use crate::connection_check::ConnectionCheck;
use crate::drift;
use crate::fleet_state::Refused;
use crate::not_ready::NotReady;
use crate::observe::drains::{Draining, WorkerEnd};
use crate::owned::{CREATING, REPLICAS_MANAGER};
use crate::plan::ApplyPrecondition;
use crate::testing::{NOW, backlog, existing, fleet, observed, simple, unseen, usable};

mod remember;
mod renderings;
mod shrinking;

fn rendered(fleet: &Fleet) -> Deployment {
    render(fleet, &fleet.queues[0], &usable(fleet).spec)
}

/// One pass without its writes.
fn pass(fleet: &Fleet, observed: &Observed, state: &mut FleetState) -> Plan {
    carry_over::readings(fleet, observed, state, NOW);
    plan(fleet, observed, state, NOW)
}

/// The state after we wrote the Deployment at `version`.
fn left(fleet: &Fleet, replicas: i32, version: &str) -> FleetState {
    let mut state = FleetState::default();
    let written = Written::after_apply(&existing(fleet, replicas, version), &rendered(fleet));
    state.queue(QueueKey::unversioned("a")).written = Some(written);
    state
}

/// The precondition on the Deployment when it is decided on.
fn seen_as(fleet: &Fleet, existing: &Deployment) -> ApplyPrecondition {
    ApplyPrecondition {
        resource_version: existing.metadata.resource_version.clone().unwrap(),
        live: Some(drift::live(existing, &rendered(fleet))),
    }
}

fn seen(fleet: &Fleet, replicas: i32, version: &str) -> ObservedQueue {
    ObservedQueue {
        existing: Some(Arc::new(existing(fleet, replicas, version))),
        ..unseen()
    }
}

#[test]
fn a_new_queue_is_created_with_its_minimum_before_the_first_reading() {
    let fleet = simple();
    let mut state = FleetState::default();
    let observed = observed(&fleet, unseen());
    let plan = pass(&fleet, &observed, &mut state);
    let history = &state.queues[&QueueKey::unversioned("a")].history;
    let observation = Observation {
        replicas: Replicas::default(),
        backlog: unseen().reading.backlog,
        slots: unseen().slots,
        drained: Vec::new(),
    };
    let decision = decide(&fleet.queues[0].policy, &observation, history, NOW);
    assert_eq!(
        plan,
        Plan {
            fleet: fleet.key.clone(),
            queues: vec![QueuePlan {
                queue: "a".to_owned(),
                workload_name: fleet.queues[0].workload_name.clone(),
                target: None,
                step: Step::Create(Box::new(rendered(&fleet))),
                initial_replicas: 1,
                costs: Vec::new(),
                protections: Vec::new(),
                remember: None,
                scale: None,
                decision: Some(decision),
                observation,
                changed_by_others: None,
                vanished: false,
                budget: BudgetStep::Keep,
            }],
            prunes: Vec::new(),
            requeue_after: fleet.queues[0].policy.polling_interval + READING_GRACE,
        }
    );
    assert_eq!(
        rendered(&fleet).spec.unwrap().replicas,
        None,
        "the replicas are not ours to apply"
    );
}

#[test]
fn a_new_queue_with_work_is_created_with_the_replicas_that_the_work_needs() {
    let fleet = simple();
    let mut waiting = unseen();
    waiting.reading.backlog = backlog(10_000, NOW);
    let plan = pass(
        &fleet,
        &observed(&fleet, waiting),
        &mut FleetState::default(),
    );
    assert_eq!(plan.queues[0].initial_replicas, 5);
}

#[test]
fn an_unchanged_deployment_is_kept() {
    let fleet = simple();
    let mut state = left(&fleet, 1, "7");
    let plan = pass(&fleet, &observed(&fleet, seen(&fleet, 1, "9")), &mut state);
    let queue = &plan.queues[0];
    assert_eq!(
        (&queue.step, &queue.scale, &queue.costs),
        (&Step::Keep, &None, &Vec::new())
    );
}

#[test]
fn a_restarted_operator_applies_once() {
    let fleet = simple();
    let observed = observed(&fleet, seen(&fleet, 1, "9"));
    let plan = pass(&fleet, &observed, &mut FleetState::default());
    assert_eq!(
        plan.queues[0].step,
        Step::Apply {
            object: Box::new(rendered(&fleet)),
            uid: "deployment-uid".to_owned(),
            decided_on: seen_as(&fleet, &existing(&fleet, 1, "9")),
            finish_creation: None
        }
    );
}

#[test]
fn a_change_by_somebody_else_is_overwritten_once() {
    let fleet = simple();
    let mut changed = existing(&fleet, 1, "9");
    let template = &mut changed.spec.as_mut().unwrap().template;
    template.spec.as_mut().unwrap().containers[0].image = Some("other:2".to_owned());
    let mut state = left(&fleet, 1, "7");
    let queue = ObservedQueue {
        existing: Some(Arc::new(changed.clone())),
        ..unseen()
    };
    let plan = pass(&fleet, &observed(&fleet, queue.clone()), &mut state);
    assert!(matches!(plan.queues[0].step, Step::Apply { .. }));
    // The server may keep it like this even after our apply (a defaulting webhook); then it counts
    // as ours.
    let written = Written::after_apply(&changed, &rendered(&fleet));
    state.queue(QueueKey::unversioned("a")).written = Some(written);
    let plan = pass(&fleet, &observed(&fleet, queue), &mut state);
    assert_eq!(plan.queues[0].step, Step::Keep);
}

#[test]
fn a_write_that_the_watch_has_not_shown_yet_is_not_repeated() {
    let fleet = simple();
    // We scaled to 4, but the cache still shows 1.
    let mut state = left(&fleet, 4, "12");
    let plan = pass(&fleet, &observed(&fleet, seen(&fleet, 1, "9")), &mut state);
    let queue = &plan.queues[0];
    assert_eq!(queue.step, Step::Keep);
    assert_eq!(queue.observation.replicas.requested, 4);
    assert_eq!(queue.changed_by_others, None);
    assert_eq!(queue.scale, None);
}

#[test]
fn a_change_of_the_replicas_by_hand_is_noticed() {
    let fleet = simple();
    let mut state = left(&fleet, 2, "7");
    let plan = pass(&fleet, &observed(&fleet, seen(&fleet, 4, "9")), &mut state);
    assert_eq!(plan.queues[0].changed_by_others, Some(2));
}

#[test]
fn our_own_write_with_a_lost_answer_is_not_a_change_by_others() {
    let fleet = simple();
    let changed = |managers: &[&str]| {
        let mut queue = seen(&fleet, 4, "9");
        let mut object = existing(&fleet, 4, "9");
        let entry = |manager: &&str| ManagedFieldsEntry {
            manager: Some((*manager).to_owned()),
            ..ManagedFieldsEntry::default()
        };
        object.metadata.managed_fields = Some(managers.iter().map(entry).collect());
        queue.existing = Some(Arc::new(object));
        let plan = pass(&fleet, &observed(&fleet, queue), &mut left(&fleet, 2, "7"));
        plan.queues[0].changed_by_others
    };
    assert_eq!(changed(&["kubectl"]), Some(2));
    assert_eq!(changed(&[REPLICAS_MANAGER]), None);
    assert_eq!(changed(&["kubectl", REPLICAS_MANAGER]), None);
}

#[test]
fn an_expired_pause_does_not_requeue_sooner_while_a_connection_is_checked() {
    let fleet = simple();
    let mut state = FleetState::default();
    let mut observed = observed(&fleet, seen(&fleet, 1, "9"));
    let usable = observed.connection.as_mut().unwrap();
    usable.spec.address = "elsewhere:7233".to_owned();
    state.connection_check =
        ConnectionCheck::after(state.connection_check.take(), &observed, false, NOW);
    let requeue_after = |state: &mut FleetState| {
        let plan = pass(&fleet, &observed, state);
        let step = &plan.queues[0].step;
        let untried = matches!(step, Step::Refused(why) if why.reason == Reason::ConnectionUntried);
        assert!(untried, "{step:?}");
        plan.requeue_after
    };
    let usual = requeue_after(&mut state);
    state.queue(QueueKey::unversioned("a")).refused = Some(Refused {
        rendered: 0,
        at: NOW.minus(Duration::from_mins(2)),
        pause: Duration::from_secs(1),
        before: 0,
        why: NotReady::new(Reason::Throttled, "slow down"),
    });
    assert_eq!(requeue_after(&mut state), usual);
}

#[test]
fn an_interrupted_creation_is_finished_with_the_replicas_it_has() {
    let fleet = simple();
    let mut begun = existing(&fleet, 2, "9");
    begun
        .metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(CREATING.to_owned(), "true".to_owned());
    let queue = ObservedQueue {
        existing: Some(Arc::new(begun.clone())),
        ..unseen()
    };
    let plan = pass(&fleet, &observed(&fleet, queue), &mut FleetState::default());
    assert_eq!(
        plan.queues[0].step,
        Step::Apply {
            object: Box::new(rendered(&fleet)),
            uid: "deployment-uid".to_owned(),
            decided_on: seen_as(&fleet, &begun),
            finish_creation: Some(2)
        }
    );
}

#[test]
fn a_missing_deployment_is_created_again_and_reported() {
    let fleet = simple();
    let mut state = left(&fleet, 2, "7");
    let plan = pass(&fleet, &observed(&fleet, unseen()), &mut state);
    assert!(plan.queues[0].vanished);
    assert!(matches!(plan.queues[0].step, Step::Create(_)));
}

#[test]
fn a_refused_write_is_retried_only_after_a_change_or_a_pause() {
    let fleet = simple();
    let pause = Duration::from_secs(55);
    let why = NotReady::new(Reason::ApplyFailed, "no such volume");
    let refused = |rendered, at| {
        let mut state = FleetState::default();
        state.queue(QueueKey::unversioned("a")).refused = Some(Refused {
            rendered,
            at,
            pause,
            before: 0,
            why: why.clone(),
        });
        let plan = pass(&fleet, &observed(&fleet, unseen()), &mut state);
        (plan.queues[0].step.clone(), plan.requeue_after)
    };
    let same = drift::rendered(&rendered(&fleet));
    let lately = NOW.minus(Duration::from_secs(53));
    let soon = Duration::from_secs(2);
    // The queue is requeued for when the pause is over.
    let step = Step::Refused(why.clone());
    assert_eq!(refused(same, lately), (step, soon));
    let (after, _) = refused(same, NOW.minus(pause));
    assert!(matches!(after, Step::Create(_)), "{after:?}");
    let (changed, _) = refused(same.wrapping_add(1), NOW);
    assert!(matches!(changed, Step::Create(_)), "{changed:?}");
}

#[test]
fn a_deployment_missing_from_the_cache_has_its_last_written_replicas() {
    let fleet = fleet(&json!([{"name": "a", "replicas": {"min": 0, "max": 9}}]));
    let requested = |gone| {
        let mut queue = unseen();
        queue.gone = gone;
        queue.reading.backlog = backlog(0, NOW);
        let mut state = left(&fleet, 5, "7");
        let plan = pass(&fleet, &observed(&fleet, queue), &mut state);
        plan.queues[0].observation.replicas.requested
    };
    assert_eq!((requested(false), requested(true)), (5, 0));
}

#[test]
fn an_idle_queue_is_requeued_late_and_a_busy_one_soon() {
    let fleet = fleet(&json!([{"name": "a", "replicas": {"min": 0, "max": 9}}]));
    let requeue_after = |replicas, waiting: Option<u64>| {
        let mut queue = seen(&fleet, replicas, "9");
        if let Some(waiting) = waiting {
            queue.reading.backlog = backlog(waiting, NOW);
        }
        let mut state = left(&fleet, replicas, "9");
        pass(&fleet, &observed(&fleet, queue), &mut state).requeue_after
    };
    assert_eq!(requeue_after(0, Some(0)), IDLE_REQUEUE);
    assert_eq!(requeue_after(0, None), IDLE_REQUEUE, "news will come");
    for (replicas, waiting) in [(0, Some(3)), (2, Some(0)), (2, None)] {
        let soon = requeue_after(replicas, waiting);
        assert!(
            soon <= Duration::from_secs(31),
            "{replicas} {waiting:?}: {soon:?}"
        );
    }
}

#[test]
fn without_a_connection_or_with_an_older_rival_nothing_is_changed() {
    let fleet = simple();
    let why = NotReady::new(Reason::SecretNotFound, "there is no Secret x");
    let mut without = observed(&fleet, seen(&fleet, 9, "9"));
    without.connection = Err(why.clone());
    let plan_without = pass(&fleet, &without, &mut FleetState::default());
    let queue = &plan_without.queues[0];
    assert_eq!(queue.step, Step::Hold(why));
    assert_eq!((&queue.decision, &queue.scale), (&None, &None));

    let mut rivalled = seen(&fleet, 9, "9");
    rivalled.rival = Some(FleetKey {
        namespace: "other".to_owned(),
        name: "older".to_owned(),
        uid: "u".to_owned(),
    });
    let plan = pass(
        &fleet,
        &observed(&fleet, rivalled),
        &mut FleetState::default(),
    );
    let queue = &plan.queues[0];
    assert!(
        matches!(&queue.step, Step::Hold(why) if why.reason == Reason::QueueConflict),
        "{:?}",
        queue.step
    );
    assert_eq!((&queue.decision, &queue.scale), (&None, &None));
}

#[test]
fn a_removed_queue_is_pruned_with_its_last_known_backlog() {
    let fleet = simple();
    let mut observed = observed(&fleet, seen(&fleet, 1, "9"));
    let mut orphan = existing(&fleet, 1, "3");
    orphan.metadata.name = Some("orders-old-1".to_owned());
    orphan.metadata.uid = Some("old-uid".to_owned());
    let labels = orphan.metadata.labels.as_mut().unwrap();
    labels.insert(well_known::QUEUE_LABEL.to_owned(), "old".to_owned());
    observed.orphans.push(Arc::new(orphan));
    let mut state = FleetState::default();
    state.queue(QueueKey::unversioned("old")).backlog = Some(12);
    let plan = pass(&fleet, &observed, &mut state);
    assert_eq!(
        plan.prunes,
        [Prune {
            deployment_name: "orders-old-1".to_owned(),
            uid: "old-uid".to_owned(),
            queue: "old".to_owned(),
            backlog: Some(12),
            budget: false,
        }]
    );
}

#[test]
fn an_observation_names_the_draining_pods_whose_workers_have_finished() {
    let fleet = simple();
    let pod = |name: &str, succeeded| Draining {
        pod: name.to_owned(),
        grace: Duration::from_mins(1),
        ends: Timestamp::MAX,
        shortened_to: None,
        hooked: false,
        end: Some(WorkerEnd {
            at: Some(Timestamp::UNIX_EPOCH),
            killed: None,
            succeeded,
        }),
    };
    let mut queue = seen(&fleet, 1, "9");
    queue.pods.draining = vec![pod("with-a-sidecar", true), pod("crashed", false)];
    queue.pods.gone = vec![pod("gone", true)];
    let observed = observed(&fleet, queue);
    let plan = pass(&fleet, &observed, &mut FleetState::default());
    let drained = &plan.queues[0].observation.drained;
    assert_eq!(drained, &["with-a-sidecar", "gone"]);
}

#[test]
fn a_disruption_budget_goes_with_its_deployment() {
    let mut fleet = simple();
    let share = IntOrString::String("25%".to_owned());
    fleet.disruption_budget = Some(DisruptionBudget::MaxUnavailable(share));
    let held_with = existing(&fleet, 1, "9");
    let queue = |existing: &Deployment| ObservedQueue {
        existing: Some(Arc::new(existing.clone())),
        ..seen(&simple(), 1, "9")
    };
    let step = |fleet: &Fleet, existing: &Deployment, state: &mut FleetState| {
        pass(fleet, &observed(fleet, queue(existing)), state).queues[0]
            .budget
            .clone()
    };
    let wanted = render::disruption_budget(&fleet, &fleet.queues[0]).unwrap();
    insta::assert_json_snapshot!(wanted);
    let fresh = &mut FleetState::default();
    assert_eq!(
        step(&fleet, &held_with, fresh),
        BudgetStep::Apply(Box::new(wanted))
    );
    let known = &mut left(&fleet, 1, "9");
    assert_eq!(step(&fleet, &held_with, known), BudgetStep::Keep);
    fleet.disruption_budget = None;
    assert_eq!(step(&fleet, &held_with, fresh), BudgetStep::Delete);
    let held_without = existing(&fleet, 1, "9");
    assert_eq!(step(&fleet, &held_without, fresh), BudgetStep::Keep);
}

#[test]
fn a_paused_queue_keeps_the_replicas_that_somebody_set() {
    let fleet = fleet(&json!([
        {"name": "a", "replicas": {"min": 1, "max": 5}, "scaling": {"mode": "Paused"}}
    ]));
    let mut state = left(&fleet, 2, "7");
    let plan = pass(&fleet, &observed(&fleet, seen(&fleet, 9, "9")), &mut state);
    assert_eq!(
        (&plan.queues[0].step, &plan.queues[0].scale),
        (&Step::Keep, &None)
    );
}

#[test]
fn a_deployment_that_is_being_deleted_is_left_alone() {
    let fleet = simple();
    let mut going = existing(&fleet, 1, "9");
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        Timestamp::UNIX_EPOCH,
    ));
    let queue = ObservedQueue {
        existing: Some(Arc::new(going)),
        ..unseen()
    };
    let plan = pass(&fleet, &observed(&fleet, queue), &mut FleetState::default());
    assert_eq!(plan.queues[0].step, Step::Keep);
}
