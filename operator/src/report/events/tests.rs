//! Events only on transitions.

use super::*;
use crate::report::notes;
use crate::report::passed::{Passed, status_with};
use crate::testing::{NOW, backlog, unseen};

#[test]
fn events_tell_transitions_and_nothing_else() {
    let none = TaskQueueWorkerStatus::default();
    let available = status_with("Ready", "True", "Available");
    let waiting = status_with("Ready", "False", "WaitingForReplicas");
    let failed = status_with("Ready", "False", "ImagePullFailed");
    let conflict = status_with("Ready", "False", "NameConflict");
    let told = |old: &TaskQueueWorkerStatus, new: &TaskQueueWorkerStatus| {
        let happenings = transitions(old, new, &BTreeMap::new());
        happenings
            .into_iter()
            .map(|h| (h.warning, h.reason))
            .collect::<Vec<_>>()
    };
    let warning = |reason: &str| vec![(true, reason.to_owned())];
    let normal = |reason: &str| vec![(false, reason.to_owned())];
    assert_eq!(told(&none, &available), []);
    assert_eq!(told(&none, &waiting), []);
    assert_eq!(told(&waiting, &available), []);
    assert_eq!(told(&available, &failed), warning("ImagePullFailed"));
    assert_eq!(told(&failed, &failed), []);
    assert_eq!(told(&failed, &conflict), warning("NameConflict"));
    assert_eq!(told(&failed, &available), normal("Available"));
    let limited = status_with("ScalingLimited", "True", "MaxReplicas");
    assert_eq!(told(&none, &limited), normal("MaxReplicas"));
    assert_eq!(
        told(
            &limited,
            &status_with("ScalingLimited", "False", "NotLimited")
        ),
        []
    );
}

#[test]
fn the_event_of_a_reached_maximum_says_what_was_wanted_and_the_condition_has_no_number_that_moves()
{
    let mut busy = unseen();
    busy.reading.backlog = backlog(100_000, NOW);
    let passed = Passed::of(busy);
    let old = TaskQueueWorkerStatus::default();
    let new = passed.status(&old, passed.fleet.generation);
    let lift = "the demand asks for more than replicas.max, which is 5; raise it if the cluster and what the workers call can carry more, or slow what arrives";
    assert_eq!(new.conditions[3].message, format!("queue a: {lift}"));
    let events = transitions(&old, &new, &notes(&passed.verdicts()));
    let notes: Vec<&str> = events
        .iter()
        .filter(|event| event.reason == "MaxReplicas")
        .map(|event| event.note.as_str())
        .collect();
    assert_eq!(
        notes,
        [format!(
            "queue a: 1334 replicas are wanted and 5 are set: 100000 activity tasks wait; a task is assumed to take 5s; 1334 replicas of 100 slots at 75% clear them within the 5s target; replicas.max allows 5 of 1334; {lift}"
        )]
    );
}
