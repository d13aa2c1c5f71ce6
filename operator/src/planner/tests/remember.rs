//! When the recurring load of a queue is kept on its Deployment.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as DeletionTime;
use taskqueue_api::well_known::RECURRING_LOAD_ANNOTATION;

use super::*;
use crate::clock::Moment;
use crate::plan::{Remember, ScalePrecondition};

/// The plan for a queue whose Deployment carries what an earlier forecast has left.
fn plan_of(fleet: &Fleet, deployment: Deployment, state: &mut FleetState) -> QueuePlan {
    let observed = observed(
        fleet,
        ObservedQueue {
            existing: Some(Arc::new(deployment)),
            ..unseen()
        },
    );
    let now = Moment {
        monotonic: NOW,
        wall: Timestamp::UNIX_EPOCH,
    };
    carry_over::readings(fleet, &observed, state, NOW);
    carry_over::recurring_loads(fleet, &observed, state, now);
    plan(fleet, &observed, state, NOW).queues.remove(0)
}

fn obsolete(fleet: &Fleet, replicas: i32) -> Deployment {
    let mut deployment = existing(fleet, replicas, "9");
    let annotations = deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(RECURRING_LOAD_ANNOTATION.to_owned(), "1 …".to_owned());
    deployment
}

#[test]
fn the_recurring_load_is_written_on_the_deployment_that_was_decided_on() {
    let fleet = simple();
    let plan = plan_of(&fleet, obsolete(&fleet, 1), &mut left(&fleet, 1, "9"));
    assert_eq!((&plan.step, &plan.scale), (&Step::Keep, &None));
    let remember = Remember {
        decided_on: ScalePrecondition {
            uid: "deployment-uid".to_owned(),
            resource_version: "9".to_owned(),
            generation: None,
        },
        text: None,
    };
    assert_eq!(plan.remember, Some(remember));
}

#[test]
fn the_recurring_load_waits_for_other_writes_and_for_the_watch() {
    let fleet = simple();
    let kept = |deployment: Deployment, state: &mut FleetState| {
        plan_of(&fleet, deployment, state).remember
    };
    // The Deployment is scaled, or has not been applied by this process.
    assert_eq!(kept(obsolete(&fleet, 9), &mut left(&fleet, 9, "9")), None);
    assert_eq!(kept(obsolete(&fleet, 1), &mut FleetState::default()), None);
    // The watch is behind our last write.
    assert_eq!(kept(obsolete(&fleet, 1), &mut left(&fleet, 1, "12")), None);
    let mut going = obsolete(&fleet, 1);
    going.metadata.deletion_timestamp = Some(DeletionTime(Timestamp::UNIX_EPOCH));
    assert_eq!(kept(going, &mut left(&fleet, 1, "9")), None);
}

#[test]
fn the_recurring_load_is_not_written_while_nothing_is_carried_out() {
    for mode in [Mode::DryRun, Mode::Paused] {
        let mut fleet = simple();
        fleet.queues[0].policy.mode = mode;
        let plan = plan_of(&fleet, obsolete(&fleet, 1), &mut left(&fleet, 1, "9"));
        assert_eq!(plan.remember, None);
    }
}
