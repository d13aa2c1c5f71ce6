//! Whole passes with a webhook that hangs, and with Deployments that are not as the caches show.

use tokio::time::Instant;

use jiff::Timestamp;
use taskqueue_api::validate;

use super::*;
use crate::fleet_state::Accepted;
use crate::testing::slow_api;

/// How long the API server waits for a webhook by default.
const HANGS: Duration = Duration::from_secs(10);

/// A fleet of 20 queues; `last` is the minimum of the last one.
fn twenty(image: &str, last: u32) -> Value {
    let queue = |number: u32| {
        let min = if number == 19 { last } else { 1 };
        json!({"name": format!("q{number}"), "replicas": {"min": min, "max": 9}})
    };
    let queues: Vec<Value> = (0..20).map(queue).collect();
    let mut object = serde_json::to_value(resource(&json!(queues))).unwrap();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    object["metadata"]["generation"] = json!(4 + last);
    object
}

/// The Deployments of such a fleet, running.
fn running(object: &Value) -> Vec<Deployment> {
    let fleet = validate(&serde_json::from_value(object.clone()).unwrap()).unwrap();
    let spec = testing::usable(&fleet).spec;
    let made = |queue| {
        let mut made = taskqueue_api::render(&fleet, queue, &spec);
        made.metadata.uid = Some("deployment-uid".to_owned());
        made.metadata.resource_version = Some("9".to_owned());
        made.spec.as_mut().unwrap().replicas = Some(1);
        made
    };
    fleet.queues.iter().map(made).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hanging_webhook_keeps_no_queue_from_scaling_up() {
    let mut operator = Operator::over(slow_api(|request| {
        let template = request.line.contains("/deployments/") && !request.line.contains("/scale?");
        if template {
            let why = "failed calling webhook \"pods.example.com\"";
            return (HANGS, (500, failure(500, "InternalError", why)));
        }
        (Duration::ZERO, (200, accepted(request)))
    }));
    for deployment in running(&twenty("worker:1", 1)) {
        let event = Event::Apply(deployment);
        operator.caches.deployments.apply_watcher_event(&event);
    }
    let began = Instant::now();
    let (_, lines) = operator.pass(&twenty("worker:2", 1)).await;
    assert!(
        lines.iter().any(|line| line.contains("force=true")),
        "{lines:?}"
    );
    // While they hang, one queue is to get three replicas.
    let (_, lines) = operator.pass(&twenty("worker:2", 3)).await;
    let scaled = |line: &String| line.contains("q19") && line.contains("/scale?");
    assert!(lines.iter().any(scaled), "{lines:?}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );

    // Each end leads to a pass that returns the error; the same write is not sent again at once.
    assert!(operator.requeued.recv().await.is_some());
    let (result, lines) = operator.pass(&twenty("worker:2", 3)).await;
    assert_eq!(result.unwrap_err().class(), Class::Unavailable);
    let again = |line: &&String| line.contains("q0-") && line.contains("force=true");
    assert_eq!(lines.iter().find(again), None);
}

#[tokio::test(start_paused = true)]
async fn a_write_counts_as_not_applied_while_it_is_in_flight_or_waits_for_a_retry() {
    let mut operator = Operator::over(slow_api(|request| {
        if request.line.contains("/deployments/") && request.line.contains("force=true") {
            let why = "Internal error occurred: failed calling webhook \"x.test\": refused";
            return (HANGS, (500, failure(500, "InternalError", why)));
        }
        (Duration::ZERO, (200, accepted(request)))
    }));
    let event = Event::Apply(shown(1, "9"));
    operator.caches.deployments.apply_watcher_event(&event);
    let mut changed = object();
    changed["metadata"]["generation"] = json!(9);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("worker:2");
    let key = QueueKey::unversioned("a");
    let ready_reason = async |operator: &Operator| {
        let state = operator.context.shared.fleets.state(&metadata(&object()));
        let state = state.lock().await;
        let unapplied = state.queues[&key].unapplied.clone().unwrap();
        assert!(unapplied.transient, "{unapplied:?}");
        let status = state.status.clone().unwrap().status;
        let mut conditions = status.conditions.iter();
        let found = conditions.find(|found| found.type_ == "Reconciling");
        assert_eq!(found.unwrap().status, "True");
        unapplied.why.reason.as_str()
    };
    for _ in ["it is sent", "it is under way"] {
        operator.pass(&changed).await.0.unwrap();
        assert_eq!(ready_reason(&operator).await, "ApiServerUnavailable");
    }
    assert!(operator.requeued.recv().await.is_some());
    assert!(operator.pass(&changed).await.0.is_err());
    assert_eq!(ready_reason(&operator).await, "WebhookUnavailable");
    let (result, lines) = operator.pass(&changed).await;
    assert!(result.is_ok(), "{result:?}");
    assert!(!short(&lines).contains(&"apply"), "{lines:?}");
    assert_eq!(ready_reason(&operator).await, "WebhookUnavailable");
}

#[tokio::test]
async fn a_deployment_that_is_read_directly_also_shows_who_set_its_replicas() {
    let mut present = serde_json::to_value(shown(3, "12")).unwrap();
    present["metadata"]["managedFields"] = json!([
        {"manager": "kubectl", "time": "2026-01-01T00:00:00Z",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "kube-controller-manager", "time": "2026-01-01T00:00:09Z",
            "fieldsV1": {"f:status": {}}},
    ]);
    let operator = Operator::new(move |_| (200, present.clone()));
    let fleet = testing::simple();
    let mut state = FleetState::default();
    let left = Written::after_apply(&shown(2, "9"), &shown(2, "9"));
    state.queue(QueueKey::unversioned("a")).written = Some(left);
    let mut observed = observed(&fleet, unseen());
    let writer = &operator.context.shared.writer;
    writes::look_for_unseen(writer, &fleet, &mut observed, &state).await;
    let existing = observed.queues["a"].existing.as_deref().unwrap();
    assert_eq!(crate::owned::replicas_set_by(existing), Some("kubectl"));
}

#[tokio::test]
async fn a_transient_error_is_retried_after_its_pause_and_not_at_every_reconcile() {
    let mut operator = Operator::new(|request| {
        if request.line.contains("/deployments/") {
            return (503, failure(503, "ServiceUnavailable", "etcd is away"));
        }
        (200, accepted(request))
    });
    assert!(operator.pass(&object()).await.0.is_err());
    let (_, lines) = operator.pass(&object()).await;
    let touched = lines.iter().filter(|line| line.contains("/deployments/"));
    assert_eq!(touched.count(), 0, "{lines:?}");
}

/// The running Deployment of the queue, with these replicas and this version.
fn shown(replicas: i32, version: &str) -> Deployment {
    let mut existing = existing(&testing::simple(), replicas, version);
    existing.metadata.generation = Some(i64::from(replicas));
    existing
}

#[tokio::test]
async fn a_scale_up_that_meets_other_replicas_is_decided_again_in_the_same_reconcile() {
    // The watch shows 1 replica, somebody has set 2, and the minimum is 4.
    let present = serde_json::to_value(shown(2, "12")).unwrap();
    let mut operator = Operator::new(move |request| {
        if request.line.starts_with("GET") && request.line.contains("/deployments/") {
            return (200, present.clone());
        }
        let named = request.body["metadata"]["resourceVersion"] == "12";
        if request.line.contains("/scale?") && !named {
            return (
                409,
                failure(409, "Conflict", "the object has been modified"),
            );
        }
        (200, accepted(request))
    });
    let event = Event::Apply(shown(1, "9"));
    operator.caches.deployments.apply_watcher_event(&event);
    let mut object = object();
    object["spec"]["queues"][0]["replicas"]["min"] = json!(4);
    operator.pass(&object).await.0.unwrap();
    let state = operator.context.shared.fleets.state(&metadata(&object));
    let state = state.lock().await;
    let decided = state.queues[&QueueKey::unversioned("a")].decided.clone();
    let decided = decided.unwrap();
    assert_eq!((decided.previous, decided.desired), (2, 4));
}

#[tokio::test]
async fn a_deployment_missing_from_the_watch_is_read_before_anything_is_decided() {
    let present = serde_json::to_value(shown(3, "12")).unwrap();
    let mut operator = Operator::new(move |request| {
        if request.line.starts_with("GET") && request.line.contains("/deployments/") {
            return (200, present.clone());
        }
        (200, accepted(request))
    });
    let event = Event::Apply(shown(3, "9"));
    operator.caches.deployments.apply_watcher_event(&event);
    operator.pass(&object()).await.0.unwrap();
    let event = Event::Delete(shown(3, "10"));
    operator.caches.deployments.apply_watcher_event(&event);
    let (_, lines) = operator.pass(&object()).await;
    let lines = short(&lines);
    let writes = lines
        .iter()
        .filter(|line| ["create", "apply"].contains(line));
    assert_eq!((lines[0], writes.count()), ("look", 0), "{lines:?}");
    let state = operator.context.shared.fleets.state(&metadata(&object()));
    let state = state.lock().await;
    let queue = &state.queues[&QueueKey::unversioned("a")];
    assert_eq!(queue.decided.as_ref().unwrap().previous, 3);
}

#[tokio::test]
async fn a_fleet_whose_spec_became_invalid_keeps_its_task_queues_over_a_restart() {
    let mut operator = Operator::new(empty_cluster);
    let mut older = object();
    older["metadata"]["name"] = json!("older");
    older["metadata"]["uid"] = json!("older-uid");
    older["metadata"]["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
    let fleet = validate(&serde_json::from_value(older.clone()).unwrap()).unwrap();
    let runs = existing(&fleet, 1, "9");
    operator
        .caches
        .deployments
        .apply_watcher_event(&Event::Apply(runs));
    older["spec"]["queues"] = json!("not a list");
    let older: GuardedFleet = serde_json::from_value(older).unwrap();
    operator
        .caches
        .fleets
        .apply_watcher_event(&Event::Apply(older));
    operator.pass(&object()).await.0.unwrap();
    assert_eq!(operator.ready(&object()).await.0, "QueueConflict");
}

#[tokio::test]
async fn a_spec_is_parsed_evaluated_and_rendered_once_per_generation() {
    let mut operator = Operator::new(empty_cluster);
    let mut scheduled = object();
    scheduled["spec"]["scaling"] = json!({"schedule": [
        {"start": "0 0 1 1 *", "end": "0 0 2 1 *", "timeZone": "UTC", "minReplicas": 1},
    ]});
    let made = |operator: &Operator| {
        let state = operator.context.shared.fleets.state(&metadata(&object()));
        let state = state.try_lock().unwrap();
        let queue = &state.queues[&QueueKey::unversioned("a")];
        (
            Arc::clone(&state.accepted.as_ref().unwrap().fleet),
            Arc::clone(&queue.rendered.as_ref().unwrap().object),
        )
    };
    operator.pass(&scheduled).await.0.unwrap();
    let first = made(&operator);
    let same = |operator: &Operator| {
        let now = made(operator);
        (Arc::ptr_eq(&first.0, &now.0), Arc::ptr_eq(&first.1, &now.1))
    };
    operator.pass(&scheduled).await.0.unwrap();
    assert_eq!(same(&operator), (true, true));
    scheduled["metadata"]["generation"] = json!(5);
    operator.pass(&scheduled).await.0.unwrap();
    assert_eq!(same(&operator), (false, false));
}

#[test]
fn a_schedule_applies_until_its_next_edge() {
    let mut scheduled = object();
    scheduled["spec"]["scaling"] = json!({"schedule": [
        {"start": "0 8 * * *", "end": "0 18 * * *", "timeZone": "UTC", "minReplicas": 3},
    ]});
    let fleet = validate(&serde_json::from_value(scheduled).unwrap()).unwrap();
    let generation = Some(fleet.generation);
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let accepted = Accepted::at(fleet, at("2026-11-20T09:00:00Z"));
    assert_eq!(accepted.fleet.queues[0].policy.scheduled_min, 3);
    assert!(accepted.holds(generation, false, at("2026-11-20T17:59:59Z")));
    assert!(!accepted.holds(generation, false, at("2026-11-20T18:00:00Z")));
    // A clock that was set back, a pause, and another generation.
    assert!(!accepted.holds(generation, false, at("2026-11-20T08:59:59Z")));
    assert!(!accepted.holds(generation, true, at("2026-11-20T09:00:00Z")));
    assert!(!accepted.holds(Some(99), false, at("2026-11-20T09:00:00Z")));
}
