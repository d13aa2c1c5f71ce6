//! Writing the status: only if it changes, and what follows if the write fails.

use serde_json::{Value, json};
use taskqueue_temporal::CallErrorKind;

use super::testing::{Passed, healthy, unread};
use super::*;
use crate::carry_over;
use crate::clock::Clock;
use crate::testing::{Log, accepted, api, failure, fleet, guarded, resource, willing_api};

fn reports(client: Client) -> Reports {
    Reports::new(
        client,
        Metrics::new(Clock::start()).unwrap(),
        "test".to_owned(),
        Thresholds::default(),
    )
}

fn one_queue() -> TaskQueueWorker {
    resource(&json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]))
}

/// The body of the status written, and the lines of all requests.
fn written(log: &Log) -> (Option<Value>, Vec<String>) {
    let requests = log.take();
    let status = requests
        .iter()
        .find(|request| request.line.contains("/status"))
        .map(|request| request.body.clone());
    (
        status,
        requests.into_iter().map(|request| request.line).collect(),
    )
}

const STATUS: &str = "PATCH \
                      /apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers/orders/status?&force=true&fieldManager=taskqueue-operator";
const EVENT: &str = "POST /apis/events.k8s.io/v1/namespaces/shop/events?";

#[tokio::test]
async fn a_status_is_written_again_only_if_it_changed() {
    let (client, log) = willing_api();
    let reports = reports(client);
    let mut object = one_queue();
    let mut pass = Passed::of(healthy());
    let shown = guarded(&object);
    pass.report(&reports, &Subject::of(&shown)).await.unwrap();
    let (body, lines) = written(&log);
    assert_eq!(lines, [STATUS]);
    insta::assert_json_snapshot!(body.clone().unwrap());

    // First the watch has not shown the status yet; then it has.
    pass.report(&reports, &Subject::of(&shown)).await.unwrap();
    object.status = Some(serde_json::from_value(body.unwrap()["status"].clone()).unwrap());
    object.metadata.resource_version = Some("200".to_owned());
    let shown = guarded(&object);
    pass.state.status = None;
    pass.report(&reports, &Subject::of(&shown)).await.unwrap();
    assert_eq!(written(&log).1, Vec::<String>::new());

    let mut changed = Passed::of(unread(CallErrorKind::Unavailable));
    changed
        .report(&reports, &Subject::of(&shown))
        .await
        .unwrap();
    let (_, lines) = written(&log);
    assert_eq!(lines, [STATUS, EVENT], "a status and an Event");
}

#[tokio::test]
async fn advice_is_reported_once_as_an_event() {
    let (client, log) = willing_api();
    let reports = reports(client);
    let queues = json!([
        {"name": "a", "replicas": {"min": 1, "max": 5}, "scaling": {"pollingInterval": "2s"}}
    ]);
    let shown = guarded(&resource(&queues));
    let mut pass = Passed::over(fleet(&queues), healthy());
    pass.report(&reports, &Subject::of(&shown)).await.unwrap();
    assert_eq!(written(&log).1, [STATUS, EVENT]);
    pass.report(&reports, &Subject::of(&shown)).await.unwrap();
    assert_eq!(written(&log).1, Vec::<String>::new());
}

#[tokio::test]
async fn a_malformed_fleet_keeps_the_known_status_of_its_queues() {
    let mut known = serde_json::to_value(one_queue()).unwrap();
    known["status"] = json!({
        "queueCount": 1, "desiredReplicas": 3,
        "queues": [{"name": "a", "deploymentName": "orders-a", "desired": 3}],
    });
    known["spec"]["scaling"] = json!({"mode": "Predictive"});
    let unreadable: GuardedFleet = serde_json::from_value(known.clone()).unwrap();
    let (client, log) = api(move |request| {
        let answer = request.line.starts_with("GET").then(|| known.clone());
        (200, answer.unwrap_or_else(|| accepted(request)))
    });
    let reports = reports(client);
    let subject = Subject::of(&unreadable);
    // The process has just started, so it has no state.
    let mut state = FleetState::default();
    let now = Clock::start().now();
    let reported = reports.refused(&subject, "no such mode", &state, now).await;
    carry_over::status(&mut state, reported).unwrap();
    let (body, lines) = written(&log);
    let status = &body.unwrap()["status"];
    assert_eq!(status["queues"][0]["desired"], 3);
    assert_eq!(status["desiredReplicas"], 3);
    assert_eq!(status["conditions"][0]["reason"], "InvalidSpec");
    assert_eq!(lines[1..], [STATUS, EVENT]);
    let again = reports.refused(&subject, "no such mode", &state, now).await;
    assert_eq!(again.unwrap(), None);
    assert_eq!(log.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn nothing_is_reported_about_a_deleted_fleet() {
    for code in [404, 409] {
        let (client, _) = api(move |_| (code, failure(code, "", "gone")));
        let shown = guarded(&one_queue());
        let result = Passed::of(healthy())
            .report(&reports(client), &Subject::of(&shown))
            .await;
        assert!(result.is_ok(), "{code}");
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_an_error() {
    let (client, _) = api(|_| (500, failure(500, "", "etcd is away")));
    let shown = guarded(&one_queue());
    let result = Passed::of(healthy())
        .report(&reports(client), &Subject::of(&shown))
        .await;
    assert!(result.is_err());
}
