//! What is written into running pods at once, and what waits for an answer from Temporal.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskqueue_api::{Fleet, validate};

use super::*;
use crate::fleet_state::{FleetState, QueueKey};
use crate::plan::Step;
use crate::planner::desired::desired;
use crate::testing::{NOW, backlog, existing, observed, resource, unseen};

/// A fleet whose resource `change` has modified.
fn changed(change: impl FnOnce(&mut Value)) -> Fleet {
    let queues = json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]);
    let mut object = serde_json::to_value(resource(&queues)).unwrap();
    object["spec"]["connection"] = json!({
        "address": "temporal:7233", "temporalNamespace": "default",
        "tls": {
            "serverName": "temporal.test",
            "caSecretRef": {"name": "ca", "key": "ca.crt"},
            "clientCertificateSecretRef": {"name": "client"},
        },
        "apiKeySecretRef": {"name": "key", "key": "api-key"},
    });
    change(&mut object);
    validate(&serde_json::from_value(object).unwrap()).unwrap()
}

fn connection(pointer: &str, value: &str) -> Fleet {
    changed(|object| {
        let connection = object.pointer_mut("/spec/connection").unwrap();
        *connection.pointer_mut(pointer).unwrap() = json!(value);
    })
}

/// The Deployment of the unchanged fleet, running with this many replicas.
fn running(replicas: i32) -> ObservedQueue {
    ObservedQueue {
        existing: Some(Arc::new(existing(&changed(|_| ()), replicas, "9"))),
        ..unseen()
    }
}

/// One pass over the fleet, up to the decision what to write.
fn pass(fleet: &Fleet, queue: ObservedQueue, state: &mut FleetState, skip: bool) -> Step {
    let observed = observed(fleet, queue);
    let known = state.connection_check.take();
    state.connection_check = ConnectionCheck::after(known, &observed, skip, NOW);
    let desired = desired(fleet, &fleet.queues[0], &observed, state, NOW);
    desired.unwrap().step
}

fn first_pass(fleet: &Fleet, queue: ObservedQueue) -> Step {
    pass(fleet, queue, &mut FleetState::default(), false)
}

fn is_untried(step: &Step) -> bool {
    matches!(step, Step::Refused(why) if why.reason == Reason::ConnectionUntried)
}

#[test]
fn no_change_of_a_connection_reaches_a_running_pod_unchecked() {
    let table = [
        ("/address", "temporl:7233"),
        ("/temporalNamespace", "defualt"),
        ("/tls/serverName", "temporl.test"),
        ("/tls/caSecretRef/name", "other"),
        ("/tls/caSecretRef/key", "other.crt"),
        ("/tls/clientCertificateSecretRef/name", "other"),
        ("/apiKeySecretRef/name", "other"),
        ("/apiKeySecretRef/key", "other"),
    ];
    for (pointer, value) in table {
        let step = first_pass(&connection(pointer, value), running(3));
        assert!(is_untried(&step), "{pointer}: {step:?}");
    }
    let bundle = changed(|object| {
        object["spec"]["connection"]["tls"] = json!({
            "serverName": "temporal.test",
            "caConfigMapRef": {"name": "ca", "key": "ca.crt"},
            "clientCertificateSecretRef": {"name": "client"},
        });
    });
    assert!(is_untried(&first_pass(&bundle, running(3))));
    for proxy in [
        json!({"address": "proxy:3128"}),
        json!({"address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"}}),
    ] {
        let proxied = changed(|object| object["spec"]["connection"]["proxy"] = proxy);
        assert!(is_untried(&first_pass(&proxied, running(3))));
    }
    let without = [
        changed(|object| {
            let connection = object["spec"]["connection"].as_object_mut();
            connection.unwrap().remove("apiKeySecretRef");
        }),
        changed(|object| object["spec"]["connection"]["tls"] = json!({})),
    ];
    for fleet in without {
        assert!(is_untried(&first_pass(&fleet, running(3))));
    }
    let Step::Refused(why) = first_pass(&connection("/address", "temporl:7233"), running(3)) else {
        panic!("the connection was not tried")
    };
    for part in [
        "temporl:7233",
        "namespace default",
        "taskqueue.dev/skip-connection-check=true",
    ] {
        assert!(why.message.contains(part), "{why}");
    }
}

#[test]
fn a_template_change_outside_the_connection_is_written_while_temporal_is_down() {
    let fleet = changed(|object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("worker:2");
        object["spec"]["drain"] = json!({"gracePeriod": "7m"});
    });
    assert!(matches!(first_pass(&fleet, running(3)), Step::Apply { .. }));
    // Defaults that the API server fills in are no change of the connection.
    let mut defaulted = existing(&changed(|_| ()), 3, "9");
    let pod = defaulted
        .spec
        .as_mut()
        .unwrap()
        .template
        .spec
        .as_mut()
        .unwrap();
    for volume in pod.volumes.iter_mut().flatten() {
        if let Some(projected) = &mut volume.projected {
            projected.default_mode = Some(420);
        }
        if let Some(secret) = &mut volume.secret {
            secret.default_mode = Some(420);
            secret.optional = Some(false);
        }
    }
    let queue = ObservedQueue {
        existing: Some(Arc::new(defaulted)),
        ..unseen()
    };
    assert!(matches!(first_pass(&fleet, queue), Step::Apply { .. }));
}

#[test]
fn only_a_reading_over_the_new_connection_allows_the_write() {
    let fleet = connection("/apiKeySecretRef/name", "other");
    let mut state = FleetState::default();
    let read_at = |taken_at| {
        let mut queue = running(3);
        queue.reading.backlog = backlog(0, taken_at);
        queue
    };
    let second = Duration::from_secs(1);
    for taken_at in [NOW.minus(second), NOW] {
        let step = pass(&fleet, read_at(taken_at), &mut state, false);
        assert!(is_untried(&step), "{taken_at:?}");
    }
    let later = read_at(NOW.plus(second));
    assert!(matches!(
        pass(&fleet, later, &mut state, false),
        Step::Apply { .. }
    ));
    // Once Temporal has answered, the connection stays good, even while Temporal is away again.
    assert!(matches!(
        pass(&fleet, running(3), &mut state, false),
        Step::Apply { .. }
    ));
    let another = connection("/apiKeySecretRef/name", "a-third");
    assert!(is_untried(&pass(&another, running(3), &mut state, false)));
}

#[test]
fn a_connection_without_running_pods_or_with_a_skipped_check_is_written_at_once() {
    let fleet = connection("/address", "temporl:7233");
    let insisted = pass(&fleet, running(3), &mut FleetState::default(), true);
    assert!(matches!(insisted, Step::Apply { .. }));
    assert!(matches!(first_pass(&fleet, running(0)), Step::Apply { .. }));
    assert!(matches!(first_pass(&fleet, unseen()), Step::Create(_)));
}

#[test]
fn the_backlog_of_a_former_task_queue_is_remembered_until_the_workers_have_moved() {
    let mut state = FleetState::default();
    let queue = state.queue(QueueKey::unversioned("a"));
    let former = |task_queue: &str, backlog| {
        Some(crate::fleet_state::FormerTaskQueue {
            task_queue: task_queue.to_owned(),
            backlog,
        })
    };
    queue.reads("orders");
    queue.backlog = Some(7);
    queue.reads("orders");
    assert_eq!(queue.former_task_queue, None);
    queue.reads("payments");
    assert_eq!(
        (queue.former_task_queue.clone(), queue.backlog),
        (former("orders", Some(7)), None)
    );
    // Changed again before the workers have left.
    queue.backlog = Some(3);
    queue.reads("mails");
    assert_eq!(queue.former_task_queue, former("orders", Some(7)));
    queue.reads("orders");
    assert_eq!(queue.former_task_queue, None);
}
