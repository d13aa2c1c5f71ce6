//! The list from plain data, and a whole one against a scripted API server.

use k8s_openapi::api::events::v1::Event;
use serde_json::{Value, json};
use taskqueue_api::worker_fault::remedy;
use taskqueue_api::{Reason, TaskQueueWorker};
use taskqueue_testkit::api_server::{api, failure};

use super::list::Issue;
use super::*;
use crate::figures::parse;
use crate::top::{
    self,
    tests::{METRICS, busy, now},
};

/// The Event about the heartbeats of the queue `payments`.
fn event() -> Value {
    let remedy = remedy(Reason::HeartbeatsTooRare).unwrap();
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": "orders.1", "namespace": "shop"},
        "eventTime": "2026-01-02T11:58:00.000000Z",
        "type": "Warning", "reason": "HeartbeatsTooRare", "action": "Advise",
        "note": format!("queue payments: the worker of pod x7k2p sends a heartbeat only every 1m; \
                         {remedy}"),
        "reportingController": "taskqueue-operator", "reportingInstance": "pod",
        "regarding": {
            "kind": "TaskQueueWorker", "name": "orders", "namespace": "shop", "uid": "fleet-uid",
        },
        "related": {"kind": "Deployment", "name": "orders-payments-1a2b3c4d"},
    })
}

fn listed(metrics: &str, events: &[Value]) -> List {
    let events: Vec<Event> = events
        .iter()
        .map(|event| serde_json::from_value(event.clone()).unwrap())
        .collect();
    let scrape = parse(metrics).unwrap();
    List::of(&busy(), &events, Some(&scrape), Vec::new()).unwrap()
}

#[test]
fn the_list_says_what_is_wrong_since_when_and_what_to_do() {
    let lists = [
        listed(METRICS, &[event()]),
        listed(&METRICS.replace("NotPolling", "Other"), &[]),
    ];
    let shown: Vec<String> = lists.iter().map(|list| list.render(now())).collect();
    let shown = shown.join("\n---\n\n");
    insta::assert_snapshot!(shown);
}

fn fault(events: &[Value]) -> Issue {
    let mut issues = listed(METRICS, events).issues.into_iter();
    issues
        .find(|issue| issue.reason == "HeartbeatsTooRare")
        .unwrap()
}

#[test]
fn a_fault_is_listed_with_its_event_while_the_cluster_keeps_that() {
    let expected = Issue {
        queue: Some("payments".to_owned()),
        reason: "HeartbeatsTooRare".to_owned(),
        since: Some("2026-01-02T11:58:00Z".parse().unwrap()),
        conditions: Vec::new(),
        pod: Some("orders-payments-1a2b3c4d-x7k2p".to_owned()),
        message: "pod orders-payments-1a2b3c4d-x7k2p: the workers of this queue send heartbeats \
                  so rarely that the operator learns late which of their slots are free"
            .to_owned(),
        event: event()["note"].as_str().map(str::to_owned),
        remedy: remedy(Reason::HeartbeatsTooRare).map(str::to_owned),
    };
    assert_eq!(fault(&[event()]), expected);
    assert_eq!(
        fault(&[]),
        Issue {
            event: None,
            ..expected
        }
    );
}

#[test]
fn a_finding_is_listed_for_each_queue_that_has_it() {
    let fleet = serde_json::to_string(&busy()).unwrap();
    let fleet = fleet
        .replace("\"payments\"", "\"orders\"")
        .replace("\"mails\"", "\"orders-eu\"")
        .replace("queue mails:", "queue orders-eu:");
    let fleet: TaskQueueWorker = serde_json::from_str(&fleet).unwrap();
    let finding = |queue: &str| {
        format!(
            "taskqueue_operator_finding{{namespace=\"shop\",name=\"orders\",queue=\"{queue}\",\
             task_queue=\"{queue}\",finding=\"ReadyButNotPolling\"}} 1\n"
        )
    };
    let findings = ["orders", "orders-eu"].map(finding).concat();
    let scrape = parse(&format!("taskqueue_operator_leader 1\n{findings}")).unwrap();
    let list = List::of(&fleet, &[], Some(&scrape), Vec::new()).unwrap();
    let found: Vec<(Option<&str>, &str, &str, usize)> = list
        .issues
        .iter()
        .map(|issue| {
            (
                issue.queue.as_deref(),
                &*issue.reason,
                &*issue.message,
                issue.conditions.len(),
            )
        })
        .collect();
    let not_polling = "ready pods of this queue do not poll it";
    assert_eq!(
        found,
        [
            (Some("orders"), "NotPolling", not_polling, 1),
            (Some("orders-eu"), "NotPolling", not_polling, 1),
        ],
        "the condition about them is no third issue"
    );
    let alone = finding("orders-eu");
    let scrape = parse(&format!("taskqueue_operator_leader 1\n{alone}")).unwrap();
    let list = List::of(&fleet, &[], Some(&scrape), Vec::new()).unwrap();
    let [issue] = list.issues.as_slice() else {
        panic!("{:?}", list.issues)
    };
    assert_eq!(
        (issue.queue.as_deref(), issue.reason.as_str()),
        (Some("orders-eu"), "NotPolling")
    );
    assert_eq!(
        issue.message, "queue orders-eu: pods are Ready, but nobody polls",
        "the condition is about this queue alone"
    );
}

#[test]
fn an_event_about_another_queue_or_none_is_no_evidence_about_this_one() {
    let mut others = event();
    others["note"] = json!("queue mails: the worker of pod abcde sends a heartbeat rarely");
    others["eventTime"] = json!("2026-01-02T11:59:00.000000Z");
    let own = fault(&[event()]);
    for related in [
        Value::Null,
        json!({"kind": "Deployment", "name": "orders-mails-5e6f7a8b"}),
    ] {
        others["related"] = related;
        assert_eq!(fault(&[event(), others.clone()]), own);
    }
}

/// The busy fleet with these conditions instead, each by type, status, reason, message and age.
fn with_conditions(conditions: &[[&str; 5]]) -> TaskQueueWorker {
    let mut fleet = serde_json::to_value(busy()).unwrap();
    let condition = |[kind, status, reason, message, time]: &[&str; 5]| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": format!("2026-01-02T{time}Z"),
        })
    };
    fleet["status"]["conditions"] = conditions.iter().map(condition).collect();
    serde_json::from_value(fleet).unwrap()
}

#[test]
fn each_fact_is_listed_once_and_the_cause_first() {
    let pull = "queue payments: the image worker:2 cannot be pulled";
    let fleet = with_conditions(&[
        ["Ready", "False", "ImagePullFailed", pull, "11:59:43"],
        ["Progressing", "False", "ImagePullFailed", pull, "11:58:51"],
        [
            "ScalingActive",
            "Unknown",
            "TemporalUnavailable",
            "queue payments: Temporal does not answer",
            "11:57:00",
        ],
        ["Stalled", "True", "ImagePullFailed", pull, "11:59:43"],
    ]);
    let list = List::of(&fleet, &[], None, Vec::new()).unwrap();
    assert_eq!(
        list.render(now()),
        "shop/orders: 2 issues\n\nthe fleet\n\
         \x20 TemporalUnavailable (ScalingActive has been Unknown for 3m)\n\
         \x20   queue payments: Temporal does not answer\n\
         \x20 ImagePullFailed (Ready has been False for 17s, Progressing False for 69s)\n\
         \x20   queue payments: the image worker:2 cannot be pulled\n"
    );
    let issues = serde_json::to_value(&list.issues).unwrap();
    assert_eq!(
        issues[1],
        json!({
            "reason": "ImagePullFailed", "message": pull,
            "conditions": [
                {"type": "Ready", "status": "False", "since": "2026-01-02T11:59:43Z"},
                {"type": "Progressing", "status": "False", "since": "2026-01-02T11:58:51Z"},
            ],
        })
    );
}

#[test]
fn a_mode_that_somebody_has_set_is_no_issue() {
    for (reason, message) in [
        (
            "DryRun",
            "queue payments: mode is DryRun: decisions are reported but not carried out",
        ),
        (
            "Paused",
            "mode is Paused: the operator decides nothing, and you set the replicas",
        ),
    ] {
        let fleet = with_conditions(&[["ScalingActive", "False", reason, message, "11:57:00"]]);
        let list = List::of(&fleet, &[], None, Vec::new()).unwrap();
        assert_eq!(
            list.render(now()),
            format!("shop/orders: nothing is seen to be wrong\n\nAs set: {message}\n")
        );
        assert_eq!(Outcome::of(&list), Outcome::Fine);
        assert_eq!(
            serde_json::to_value(&list).unwrap()["asSet"],
            json!([message])
        );
    }
}

fn arguments(output: Output) -> Arguments {
    Arguments {
        fleet: "orders".to_owned(),
        cluster: top::tests::arguments(&[]).cluster,
        output,
    }
}

/// What `check` says of the fleet with these conditions and metrics; `None` = the metrics cannot be
/// read.
async fn checked(conditions: bool, metrics: Option<&str>) -> (Value, Outcome) {
    let metrics = metrics.map(str::to_owned);
    let (client, _) = api(move |request| match &request.line {
        line if line.contains("/proxy/") => match &metrics {
            Some(metrics) => (200, json!(metrics)),
            None => (403, failure(403, "Forbidden", "no")),
        },
        line if line.contains("/leases/") => (403, failure(403, "Forbidden", "no")),
        line if line.contains("/events") => (
            200,
            json!({
                "apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": [],
            }),
        ),
        _ => {
            let mut fleet = serde_json::to_value(busy()).unwrap();
            if !conditions {
                fleet["status"]["conditions"] = json!([]);
            }
            (200, fleet)
        }
    });
    let arguments = arguments(Output::Json);
    let cluster = Cluster::new(client, "shop".to_owned(), &arguments.cluster).unwrap();
    let (text, outcome) = check(&cluster, &arguments).await.unwrap();
    (serde_json::from_str(&text).unwrap(), outcome)
}

#[tokio::test]
async fn the_outcome_says_whether_anything_is_wrong_or_unknown() {
    let queues = ["payments", "mails", "new"].map(|queue| {
        format!(
            "taskqueue_operator_max_replicas{{namespace=\"shop\",name=\"orders\",queue=\"{queue}\",task_queue=\"{queue}\"}} 5\n"
        )
    });
    let fine = format!("taskqueue_operator_leader 1\n{}", queues.concat());
    let early = format!("taskqueue_operator_leader 1\n{}", queues[0]);
    let table = [
        (true, Some(METRICS), Outcome::Wrong),
        (true, None, Outcome::Wrong),
        (false, Some(METRICS), Outcome::Wrong),
        (false, Some(fine.as_str()), Outcome::Fine),
        (false, Some(early.as_str()), Outcome::Unknown),
        (false, None, Outcome::Unknown),
    ];
    for (conditions, metrics, expected) in table {
        let (list, outcome) = checked(conditions, metrics).await;
        assert_eq!(outcome, expected, "{list}");
    }
    let (list, _) = checked(false, None).await;
    assert_eq!(
        list["notes"],
        json!([
            "what workers do wrong is unknown: you have no permission to get services/proxy in \
             namespace taskqueue-system; a port-forward to the leader instead failed: you have no \
             permission to get leases in namespace taskqueue-system; ask for one of the two \
             permissions, or give --metrics URL"
        ])
    );
}
