//! What is rendered and hashed once, and used again.

use super::*;

#[test]
fn a_template_is_rendered_once_per_generation() {
    let fleet = simple();
    let mut state = left(&fleet, 1, "9");
    let first = observed(&fleet, seen(&fleet, 1, "9"));
    carry_over::renderings(&fleet, &first, &mut state);
    let key = QueueKey::unversioned("a");
    let object = |state: &FleetState| {
        let rendered = state.queues[&key].rendered.as_ref().unwrap();
        Arc::clone(&rendered.object)
    };
    let before = object(&state);
    carry_over::renderings(&fleet, &observed(&fleet, seen(&fleet, 3, "10")), &mut state);
    assert!(Arc::ptr_eq(&before, &object(&state)));
    // The cached rendering equals a fresh one.
    let queue = &fleet.queues[0];
    let kept = desired::desired(&fleet, queue, &first, &state, NOW);
    let fresh = desired::desired(&fleet, queue, &first, &left(&fleet, 1, "9"), NOW);
    assert_eq!(kept, fresh);
    let changed = Fleet {
        generation: fleet.generation + 1,
        ..fleet.clone()
    };
    carry_over::renderings(&changed, &first, &mut state);
    assert!(!Arc::ptr_eq(&before, &object(&state)));
}

#[test]
fn the_kept_rendering_is_the_one_that_is_written() {
    let fleet = simple();
    let mut state = FleetState::default();
    let observed = observed(&fleet, unseen());
    carry_over::renderings(&fleet, &observed, &mut state);
    let rendered = &mut state.queue(QueueKey::unversioned("a")).rendered;
    let kept = Arc::make_mut(&mut rendered.as_mut().unwrap().object);
    let labels = kept.metadata.labels.as_mut().unwrap();
    labels.insert("kept".to_owned(), "yes".to_owned());
    let kept = kept.clone();
    let plan = pass(&fleet, &observed, &mut state);
    assert_eq!(plan.queues[0].step, Step::Create(Box::new(kept)));
}

#[test]
fn a_deployment_is_hashed_once_per_version() {
    let fleet = simple();
    let mut state = left(&fleet, 1, "9");
    let step = |state: &mut FleetState, version: &str, image: &str| {
        let mut existing = existing(&fleet, 1, version);
        let template = &mut existing.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
        let queue = ObservedQueue {
            existing: Some(Arc::new(existing)),
            ..unseen()
        };
        let observed = observed(&fleet, queue);
        carry_over::renderings(&fleet, &observed, state);
        let step = pass(&fleet, &observed, state).queues[0].step.clone();
        matches!(step, Step::Apply { .. })
    };
    // No server changes an object and not its version; here it shows which hash is used.
    let found = [("9", "worker:1"), ("9", "other:2"), ("10", "other:2")];
    let found = found.map(|(version, image)| step(&mut state, version, image));
    assert_eq!(found, [false, false, true]);
}
