//! Each warning is given once per generation, and only if it is true.

use serde_json::{Value, json};
use taskqueue_api::{Fleet, TaskQueueWorkerStatus};
use taskqueue_scaling::{Reading, TypeSlots};

use super::*;
use crate::carry_over;
use crate::clock::Moment;
use crate::fleet_state::{FleetState, QueueKey};
use crate::metrics::WorkerFaultNumbers;
use crate::report::fleet_metrics::numbers;
use crate::report::testing::{Passed, healthy};
use crate::testing::{NOW, fleet, heartbeat, simple, unseen};

fn queue(replicas: &Value, scaling: &Value) -> Fleet {
    fleet(&json!([{"name": "a", "replicas": replicas, "scaling": scaling}]))
}

/// The notes of one pass over a fleet whose pods took `start` seconds to become ready. `state`
/// keeps what was reported.
fn advice_given(
    fleet: &Fleet,
    start: Option<u64>,
    cache: Duration,
    state: &mut FleetState,
) -> Vec<String> {
    let mut seen = unseen();
    seen.pods.start = start.map(Duration::from_secs);
    let mut passed = Passed::after(std::mem::take(state), fleet.clone(), seen);
    let thresholds = Thresholds {
        statistics_cache: cache,
        ..Thresholds::default()
    };
    let advice = Advice::of(&passed.facts()[0], &thresholds);
    let queue = passed.state.queue(QueueKey::unversioned("a"));
    let notes = advice.events(queue, fleet.generation);
    advice.remember(queue, fleet.generation);
    *state = passed.state;
    notes.into_iter().map(|event| event.note).collect()
}

const CACHE: Duration = Duration::from_secs(5);

#[test]
fn a_target_that_cannot_be_met_from_zero_is_reported_once_per_generation() {
    let mut fleet = queue(&json!({"max": 5}), &json!({"queueWaitTarget": "6s"}));
    let mut state = FleetState::default();
    let nothing: Vec<String> = Vec::new();
    assert_eq!(
        advice_given(&fleet, None, CACHE, &mut state),
        nothing,
        "nothing is known of its pods yet"
    );
    let note = "queue a: queueWaitTarget is 6s, but a task that wakes the queue from zero \
                replicas waits up to 5s until Temporal's statistics show it, and about 3s for a \
                pod to start; set replicas.min to at least 1, or queueWaitTarget to 8s or more";
    assert_eq!(advice_given(&fleet, Some(3), CACHE, &mut state), [note]);
    assert_eq!(advice_given(&fleet, Some(3), CACHE, &mut state), nothing);
    fleet.generation += 1;
    assert_eq!(advice_given(&fleet, Some(3), CACHE, &mut state), [note]);
}

#[test]
fn a_target_that_can_be_met_needs_no_advice() {
    let none: Vec<String> = Vec::new();
    let cases = [
        (json!({"max": 5}), "8s", CACHE),
        (json!({"min": 1, "max": 5}), "1s", CACHE),
        (json!({"max": 0}), "1s", CACHE),
        (json!({"max": 5}), "4s", Duration::from_secs(1)),
    ];
    for (replicas, target, cache) in cases {
        let fleet = queue(&replicas, &json!({"queueWaitTarget": target}));
        let given = advice_given(&fleet, Some(3), cache, &mut FleetState::default());
        assert_eq!(given, none, "{replicas} {target}");
    }
}

#[test]
fn a_polling_interval_below_the_servers_cache_is_reported_with_its_effect() {
    let fleet = queue(
        &json!({"min": 1, "max": 5}),
        &json!({"pollingInterval": "2s"}),
    );
    assert_eq!(
        advice_given(&fleet, None, CACHE, &mut FleetState::default()),
        [
            "queue a: pollingInterval is 2s, but Temporal caches the statistics for 5s, so the \
             queue is read every 5s; set pollingInterval to that, or, if the server caches for a \
             shorter time, set --temporal-statistics-cache of the operator"
        ]
    );
    let short = Duration::from_secs(1);
    let given = advice_given(&fleet, None, short, &mut FleetState::default());
    assert_eq!(given, Vec::<String>::new());
}

#[test]
fn what_a_worker_does_wrong_is_reported_once_per_generation_and_exposed() {
    let now = Moment {
        monotonic: NOW,
        wall: jiff::Timestamp::from_second(1_767_355_200).unwrap(),
    };
    let busy = TypeSlots {
        used: 1,
        available: Some(9),
        processed_total: Some(4),
    };
    let mut seen = healthy();
    seen.reading.workers = Reading::Known {
        value: vec![heartbeat(0, "mails", busy)],
        taken_at: NOW,
    };
    let mut fleet = simple();
    let mut state = FleetState::default();
    let mut pass = |fleet: &Fleet| {
        let mut passed = Passed::after(std::mem::take(&mut state), fleet.clone(), seen.clone());
        carry_over::workers(&passed.fleet, &passed.observed, &mut passed.state, now);
        let advice = Advice::of(&passed.facts()[0], &Thresholds::default());
        let status = TaskQueueWorkerStatus::default();
        let exposed = numbers(&passed.facts(), &status, now).queues["a"]
            .worker_faults
            .clone();
        let queue = passed.state.queue(QueueKey::unversioned("a"));
        let events = advice.events(queue, fleet.generation);
        advice.remember(queue, fleet.generation);
        state = passed.state;
        let notes = events.into_iter().map(|event| (event.reason, event.note));
        (notes.collect::<Vec<_>>(), exposed)
    };
    let event = (
        "WorksOnOtherQueues".to_owned(),
        "queue a: pod p also works on the task queue mails, so it counts as busy with tasks whose \
         backlog the operator does not read for it; poll only TEMPORAL_TASK_QUEUE, and make every \
         other task queue a queue of a fleet; only tasks that need one certain pod belong on a \
         task queue of that pod"
            .to_owned(),
    );
    let exposed = vec![WorkerFaultNumbers {
        fault: "WorksOnOtherQueues",
        pod: "p".to_owned(),
        since: 1_767_355_200,
    }];
    assert_eq!(pass(&fleet), (vec![event.clone()], exposed.clone()));
    assert_eq!(pass(&fleet), (vec![], exposed.clone()));
    fleet.generation += 1;
    assert_eq!(pass(&fleet), (vec![event], exposed));
}

#[test]
fn a_queue_of_only_nexus_tasks_that_may_go_to_zero_is_reported() {
    let note = "queue a: a Nexus operation that arrives at zero replicas is gone when its caller \
                gives up, and may be before a pod has started; set replicas.min to at least 1, \
                unless every caller tries again";
    let table = [
        (json!(["Nexus"]), 0, 5, vec![note.to_owned()]),
        (json!(["Nexus"]), 1, 5, Vec::new()),
        (json!(["Nexus"]), 0, 0, Vec::new()),
        (json!(["Nexus", "Workflow"]), 0, 5, Vec::new()),
    ];
    for (types, min, max, expected) in table {
        let fleet = fleet(
            &json!([{"name": "a", "replicas": {"min": min, "max": max}, "taskTypes": types}]),
        );
        let given = advice_given(&fleet, None, CACHE, &mut FleetState::default());
        assert_eq!(given, expected, "{types} {min} {max}");
    }
}
