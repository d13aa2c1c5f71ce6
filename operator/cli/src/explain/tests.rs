//! The explanation from plain data, and a whole one against a scripted API server.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use taskqueue_testkit::api_server::{api, failure};
use taskqueue_testkit::resource::resource;

use super::*;
use crate::figures::parse;
use crate::top::{
    self,
    tests::{METRICS, busy, now},
};

/// An Event about the fleet; `queue` is the name of the Deployment that it is about.
fn event(time: &str, reason: &str, note: &str, queue: Option<&str>) -> Value {
    let mut event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": format!("orders.{reason}"), "namespace": "shop"},
        "eventTime": format!("2026-01-02T{time}.000000Z"),
        "type": "Normal", "reason": reason, "note": note, "action": "Scale",
        "reportingController": "taskqueue-operator", "reportingInstance": "pod",
        "regarding": {
            "kind": "TaskQueueWorker", "name": "orders", "namespace": "shop", "uid": "fleet-uid",
        },
    });
    if let Some(name) = queue {
        event["related"] = json!({"kind": "Deployment", "name": name});
    }
    event
}

fn events() -> Vec<Value> {
    let payments = Some("orders-payments-1a2b3c4d");
    let mut repeated = event(
        "11:50:00",
        "NotPolling",
        "queue mails: pods are Ready, but nobody polls",
        Some("orders-mails-5e6f7a8b"),
    );
    repeated["type"] = json!("Warning");
    let mut outage = event(
        "11:40:00",
        "TemporalUnavailable",
        "Temporal does not answer",
        None,
    );
    outage["type"] = json!("Warning");
    outage["series"] = json!({"count": 3, "lastObservedTime": "2026-01-02T11:55:00.000000Z"});
    let mut others = event("11:58:00", "ScaledUp", "by somebody else", None);
    others["reportingController"] = json!("another");
    let mut before = event(
        "11:30:00",
        "ScaledUp",
        "of the fleet of this name before",
        payments,
    );
    before["regarding"]["uid"] = json!("earlier");
    vec![
        event(
            "11:59:48",
            "ScaledUp",
            "queue payments: scaled 1 to 5: 74 activity tasks wait",
            payments,
        ),
        event(
            "11:45:00",
            "ScaledUp",
            "queue payments: scaled 0 to 1: 1 activity task waits",
            payments,
        ),
        event(
            "11:46:00",
            "ScaledUp",
            "queue mails: scaled 0 to 1",
            Some("orders-mails-5e6f7a8b"),
        ),
        repeated,
        outage,
        others,
        before,
    ]
}

fn typed(events: &[Value]) -> Vec<Event> {
    let one = |event: &Value| serde_json::from_value(event.clone()).unwrap();
    events.iter().map(one).collect()
}

/// A queue of the busy fleet, with everything that can be known about it.
fn full(queue: &str) -> Explanation {
    let scrape = parse(METRICS).unwrap();
    let events = typed(&events());
    Explanation::of(&busy(), Some(queue), &events, Some(&scrape), Vec::new()).unwrap()
}

#[test]
fn a_queue_is_explained_from_its_current_state_back_to_its_history() {
    let notes = vec!["no current metrics: you may not".to_owned()];
    let bare = Explanation::of(&busy(), Some("new"), &[], None, notes).unwrap();
    let shown: String = [full("payments"), bare, full("mails")]
        .iter()
        .map(|explanation| explanation.render(now(), Ink::PLAIN) + "\n---\n\n")
        .collect();
    insta::assert_snapshot!(shown);
}

#[test]
fn colors_mark_the_titles_and_what_holds_the_fleet_back() {
    let mut explanation = full("payments");
    let held = "\x1b[38;5;11mWHAT HOLDS THE FLEET BACK\x1b[39m\n";
    let ink = Ink::colored();
    let text = explanation.render(now(), ink);
    assert!(text.contains("\n\x1b[1mNOW\x1b[0m\n"), "{text}");
    assert!(text.contains(held), "{text}");
    explanation.conditions.clear();
    let text = explanation.render(now(), ink);
    assert!(!text.contains(held), "{text}");
    assert!(
        text.contains("WHAT HOLDS THE FLEET BACK\x1b[0m\n  nothing\n"),
        "{text}"
    );
}

#[test]
fn the_workload_of_a_target_is_named_and_unknown_replicas_are_not_zero() {
    let mut fleet = resource(&json!([{
        "name": "a", "replicas": {"min": 1, "max": 9},
        "scaleTargetRef": {"kind": "StatefulSet", "name": "worker"},
    }]));
    fleet.status = Some(
        serde_json::from_value(json!({
            "queues": [{"name": "a", "taskQueue": "a", "deploymentName": "worker"}],
        }))
        .unwrap(),
    );
    let explanation = Explanation::of(&fleet, None, &[], None, Vec::new()).unwrap();
    let text = explanation.render(now(), Ink::PLAIN);
    assert!(
        text.contains("(task queue a, StatefulSet worker)"),
        "{text}"
    );
    assert!(text.contains("unknown, from 1 to 9 allowed"), "{text}");
    let queue = serde_json::to_value(&explanation.queue).unwrap();
    assert_eq!(
        queue["target"],
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "worker"})
    );
    assert_eq!(queue["deployment"], "");
}

#[test]
fn an_unknown_queue_is_refused_with_the_known_ones() {
    let refused = |queue| {
        let explanation = Explanation::of(&busy(), queue, &[], None, Vec::new());
        explanation.unwrap_err().to_string()
    };
    assert_eq!(
        refused(Some("paymets")),
        "the fleet orders has no such queue: name one of payments, mails, new"
    );
    assert_eq!(
        refused(None),
        "the fleet orders has several queues: name one of payments, mails, new"
    );
}

#[test]
fn lines_are_wrapped_at_the_width_of_a_terminal() {
    let wide: Vec<String> = full("payments")
        .render(now(), Ink::PLAIN)
        .lines()
        .filter(|line| line.chars().count() > 102)
        .map(str::to_owned)
        .collect();
    assert_eq!(wide, Vec::<String>::new());
}

fn arguments(output: Output) -> Arguments {
    Arguments {
        fleet: "orders".to_owned(),
        queue: Some("payments".to_owned()),
        cluster: top::tests::arguments(&[]).cluster,
        output,
        watch: false,
        interval: DurationString::from_secs(2),
        color: Color::Never,
    }
}

/// A read of a watched queue: how often it was held for each reason, who raised it last, and
/// whether a condition holds the fleet back.
fn look(held: &[(&str, f64)], raised_by: &str, problem: &str) -> Explanation {
    let mut look = full("payments");
    let figures = look.queue.figures.as_mut().unwrap();
    let held = held.iter().copied();
    figures.decisions = held
        .map(|(reason, count)| (format!("hold: {reason}"), count))
        .collect();
    look.queue.last_decision.as_mut().unwrap().reason = raised_by.to_owned();
    look.conditions.retain(|held| held.type_ == problem);
    look
}

#[test]
fn another_decision_or_another_problem_is_news_and_numbers_are_not() {
    let before = look(&[("AtDemand", 1.0)], "Drain", "");
    let mut same = look(&[("AtDemand", 2.0)], "Drain", "");
    same.events.clear();
    same.notes.clear();
    same.queue.compare(&before.queue);
    assert_eq!(same.queue.deciding.as_deref(), Some("hold: AtDemand"));
    let mut held = look(&[("AtDemand", 2.0), ("CoolingDown", 1.0)], "Drain", "");
    held.queue.compare(&same.queue);
    let table = [
        // That the current decision becomes known is no change.
        (&same, &before, false),
        (&held, &same, true),
        (&look(&[], "Drain", ""), &same, false),
        (&look(&[], "Age", ""), &same, true),
        (&look(&[], "Drain", "ScalingLimited"), &same, true),
    ];
    for (now, before, expected) in table {
        assert_eq!(now.is_news(before), expected, "{now:?}");
    }
    assert!(
        held.render(now(), Ink::PLAIN)
            .contains("\n  deciding      hold: CoolingDown (not yet proven idle for")
    );
}

#[tokio::test(start_paused = true)]
async fn watching_explains_again_only_after_a_change() {
    let reads = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&reads);
    let (client, _) = api(move |request| match &request.line {
        line if line.contains("/taskqueueworkers/") => {
            let mut fleet = serde_json::to_value(busy()).unwrap();
            let decision = &mut fleet["status"]["queues"][0]["lastDecision"];
            match count.fetch_add(1, Ordering::Relaxed) {
                0..3 => {}
                3..5 => return (500, failure(500, "InternalError", "etcd is away")),
                5 => return (500, failure(500, "InternalError", "etcd is gone")),
                6..9 => decision["message"] = json!("scaled 5 to 4"),
                _ => decision["message"] = json!("scaled 4 to 3"),
            }
            (200, fleet)
        }
        _ => (403, failure(403, "Forbidden", "no")),
    });
    let arguments = arguments(Output::Table);
    let cluster = Cluster::new(client, "shop".to_owned(), &arguments.cluster).unwrap();
    let mut shown = Vec::new();
    let mut warnings = String::new();
    let mut screen = Screen {
        show: |text: &str| {
            shown.push(text.to_owned());
            anyhow::ensure!(shown.len() < 3, "that is enough");
            Ok(())
        },
        warn: |text: &str| warnings.push_str(text),
    };
    let ended = follow(&cluster, &arguments, &mut screen).await;
    assert_eq!(ended.unwrap_err().to_string(), "that is enough");
    assert_eq!(reads.load(Ordering::Relaxed), 10);
    let sentences: Vec<bool> = [
        (&shown[0], "scaled 1 to 5"),
        (&shown[1], "scaled 5 to 4"),
        (&shown[2], "scaled 4 to 3"),
    ]
    .map(|(text, sentence)| text.contains(sentence))
    .to_vec();
    assert_eq!(sentences, [true, true, true], "{shown:?}");
    assert!(shown[0].starts_with("shop/orders, queue payments"));
    assert!(shown[1].starts_with("\n--- "));
    assert_eq!(
        warnings,
        "Note: the last read failed: cannot read the fleet orders in namespace shop: etcd is away\n\
         Note: the last read failed: cannot read the fleet orders in namespace shop: etcd is gone\n"
    );
}

#[tokio::test]
async fn explain_reads_the_fleet_its_events_and_the_metrics_and_nothing_else() {
    let (client, log) = api(|request| match &request.line {
        line if line.contains("/proxy/") || line.contains("/leases/") => {
            (403, failure(403, "Forbidden", "no"))
        }
        line if line.contains("/events") => (
            200,
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {},
                "items": events(),
            }),
        ),
        _ => (200, serde_json::to_value(busy()).unwrap()),
    });
    let arguments = arguments(Output::Json);
    let cluster = Cluster::new(client, "shop".to_owned(), &arguments.cluster).unwrap();
    let text = explain(&cluster, &arguments).await.unwrap();
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "GET \
             /api/v1/namespaces/taskqueue-system/services/taskqueue-operator-metrics:metrics/proxy/metrics",
            "GET \
             /apis/coordination.k8s.io/v1/namespaces/taskqueue-system/leases/taskqueue-operator-leader",
            "GET \
             /apis/events.k8s.io/v1/namespaces/shop/events?&fieldSelector=regarding.kind%3DTaskQueueWorker%2Cregarding.name%3Dorders%2CreportingController%3Dtaskqueue-operator",
            "GET /apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers/orders",
        ]
    );
    let explained: Value = serde_json::from_str(&text).unwrap();
    let times: Vec<&str> = explained["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["time"].as_str())
        .collect();
    assert_eq!(
        times,
        [
            "2026-01-02T11:45:00Z",
            "2026-01-02T11:55:00Z",
            "2026-01-02T11:59:48Z"
        ]
    );
}

#[tokio::test]
async fn without_permission_to_list_events_the_rest_is_explained() {
    let (client, _) = api(|request| match &request.line {
        line if line.contains("/taskqueueworkers/") => (200, serde_json::to_value(busy()).unwrap()),
        _ => (403, failure(403, "Forbidden", "you may not list events")),
    });
    let arguments = arguments(Output::Table);
    let cluster = Cluster::new(client, "shop".to_owned(), &arguments.cluster).unwrap();
    let text = explain(&cluster, &arguments).await.unwrap();
    assert!(
        text.ends_with("Note: cannot list the Events of namespace shop: you may not list events\n"),
        "{text}"
    );
}
