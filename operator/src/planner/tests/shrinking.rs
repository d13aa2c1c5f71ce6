//! Scaling in: which pods are removed, and when it waits.

use taskqueue_scaling::{PodPhase, Slots, TypeSlots};
use taskqueue_temporal::LivePod;

use super::*;
use crate::plan::ScalePrecondition;

fn pod(name: &str, used: u32) -> PodSlots {
    let activity = Some(TypeSlots {
        used,
        available: Some(10),
        processed_total: Some(5),
    });
    PodSlots {
        pod: name.to_owned(),
        phase: PodPhase::Ready,
        listed: true,
        fresh: true,
        reported_at: Some(NOW),
        reported_after: Some(NOW),
        types: scaling::PerType {
            activity,
            ..scaling::PerType::default()
        },
        elsewhere: None,
    }
}

/// Five pods with work, and a maximum lowered to three.
fn too_many() -> (Fleet, ObservedQueue) {
    let fleet = fleet(&json!([{"name": "a", "replicas": {"min": 1, "max": 3}}]));
    let slots = vec![
        pod("p1", 5),
        pod("p2", 0),
        pod("p3", 2),
        pod("p4", 9),
        pod("p5", 7),
    ];
    let live = |slots: &PodSlots| LivePod {
        name: slots.pod.clone(),
        phase: slots.phase,
    };
    let pods = Pods {
        live: slots.iter().map(live).collect(),
        replica_sets: 1,
        // Marked by an earlier attempt that was refused; busy now.
        costs: vec![("p4".to_owned(), "-999990".to_owned())],
        ..Pods::default()
    };
    let mut queue = seen(&fleet, 5, "9");
    queue.pods = pods;
    queue.slots = scaling::Reading::Known {
        value: Slots {
            pods: slots,
            ..Slots::default()
        },
        taken_at: NOW,
    };
    queue.reading.backlog = backlog(0, NOW);
    (fleet, queue)
}

#[test]
fn a_scale_down_carries_the_resource_version_and_marks_the_least_loaded_pods() {
    let (fleet, queue) = too_many();
    let mut state = left(&fleet, 5, "7");
    let plan = pass(&fleet, &observed(&fleet, queue), &mut state);
    let queue = &plan.queues[0];
    assert_eq!(
        queue.scale,
        Some(Scale {
            from: 5,
            to: 3,
            decided_on: ScalePrecondition {
                uid: "deployment-uid".to_owned(),
                resource_version: "9".to_owned(),
                generation: None,
            },
        })
    );
    let cost = |pod: &str, cost| DeletionCost {
        pod: pod.to_owned(),
        cost,
    };
    assert_eq!(
        queue.costs,
        [cost("p2", -1_000_000), cost("p3", -999_999), cost("p4", 0)],
        "the two least loaded go; a mark on one that stays is taken back"
    );
}

#[test]
fn a_scale_down_waits_while_the_deployment_changes() {
    let (fleet, queue) = too_many();
    let plan = pass(&fleet, &observed(&fleet, queue), &mut FleetState::default());
    let queue = &plan.queues[0];
    assert!(matches!(queue.step, Step::Apply { .. }));
    assert_eq!((&queue.scale, queue.carries_out()), (&None, false));
    assert_eq!(plan.requeue_after, DEFERRED);
}

#[test]
fn a_scale_down_does_not_wait_for_a_template_that_cannot_be_written() {
    let (fleet, queue) = too_many();
    let mut state = FleetState::default();
    state.queue(QueueKey::unversioned("a")).refused = Some(Refused {
        rendered: drift::rendered(&rendered(&fleet)),
        at: NOW,
        pause: Duration::from_secs(1),
        before: 0,
        why: NotReady::new(Reason::ApplyFailed, "no webhook answers"),
    });
    let plan = pass(&fleet, &observed(&fleet, queue), &mut state);
    let scale = plan.queues[0].scale.as_ref();
    assert_eq!(scale.map(|scale| (scale.from, scale.to)), Some((5, 3)));
}
