//! The table from plain data, and whole runs against a scripted API server.

use std::collections::BTreeMap;

use clap::Parser;
use serde_json::{Value, json};
use taskqueue_api::{GuardedFleet, TaskQueueWorker};
use taskqueue_testkit::api_server::{ApiRequest, api, failure};
use taskqueue_testkit::resource::{guarded, resource};

use super::*;
use crate::figures::{Figures, QueueName, Scrape, TypeFigures, Unreadable, parse};
use crate::view::{age, compare, seconds, snapshot};

/// What an operator serves about the fleet below. Shared with the tests of `explain`.
pub(crate) const METRICS: &str = concat!(
    r#"# HELP taskqueue_operator_leader 1 if this process reconciles.
# TYPE taskqueue_operator_leader gauge
taskqueue_operator_leader 1
taskqueue_operator_backlog_tasks{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 70
taskqueue_operator_backlog_tasks{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 4
taskqueue_operator_backlog_age_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 6.14
taskqueue_operator_backlog_age_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 0.5
taskqueue_operator_tasks_add_rate{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 4.2
taskqueue_operator_tasks_dispatch_rate{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 3.85
taskqueue_operator_slots_used{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 30
taskqueue_operator_slots_available{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 20
taskqueue_operator_slots_used{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 0
taskqueue_operator_slots_available{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 5000
taskqueue_operator_terminating_replicas{namespace="shop",name="orders",queue="payments",task_queue="payments"} 1
taskqueue_operator_service_time_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 1.25
taskqueue_operator_service_time_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 0.5
taskqueue_operator_service_time_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="nexus"} 5
taskqueue_operator_service_time_learned{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 1
taskqueue_operator_service_time_learned{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 0
taskqueue_operator_service_time_learned{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="nexus"} 0
taskqueue_operator_rate_limited{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="activity"} 1
taskqueue_operator_rate_limited{namespace="shop",name="orders",queue="payments",task_queue="payments",task_type="workflow"} 0
taskqueue_operator_demand_replicas{namespace="shop",name="orders",queue="payments",task_queue="payments",term="drain"} 6
taskqueue_operator_demand_replicas{namespace="shop",name="orders",queue="payments",task_queue="payments",term="in_flight"} 4
taskqueue_operator_reading_age_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",source="backlog"} 3
taskqueue_operator_reading_unknown{namespace="shop",name="orders",queue="mails",task_queue="mails",source="slots",reason="NoHeartbeats"} 1
taskqueue_operator_held_pod{namespace="shop",name="orders",queue="payments",task_queue="payments",pod="orders-payments-1a2b3c4d-x7k2p",why="LongestYet"} 1
taskqueue_operator_held_pod{namespace="shop",name="orders",queue="payments",task_queue="payments",pod="orders-payments-1a2b3c4d-zq9f4",why="OfANewerOperator"} 1
taskqueue_operator_finding{namespace="shop",name="orders",queue="payments",task_queue="payments",finding="QueueNotPolled"} 0
taskqueue_operator_finding{namespace="shop",name="orders",queue="mails",task_queue="mails",finding="ReadyButNotPolling"} 1
taskqueue_operator_worker_fault_since_timestamp_seconds{namespace="shop",name="orders",queue="payments",task_queue="payments",fault="HeartbeatsTooRare",pod="orders-payments-1a2b3c4d-x7k2p"} 1767355080
taskqueue_operator_decisions_total{namespace="shop",name="orders",queue="payments",task_queue="payments",direction="up",reason="Drain"} 2
taskqueue_operator_decisions_total{namespace="shop",name="orders",queue="payments",task_queue="payments",direction="hold",reason="MaxReplicas"} 9
taskqueue_operator_backlog_tasks{namespace="shop",name="orders",queue="mails",task_queue="mails",task_type="activity"} 0
taskqueue_operator_backlog_age_seconds{namespace="shop",name="orders",queue="mails",task_queue="mails",task_type="activity"} 0
"#,
    "taskqueue_operator_slots_used{namespace=\"bill\",name=\"monthly\",queue=\"all\",\
     task_queue=\"a \\\"b\\\\c\\\"\\nd\",task_type=\"activity\"} 3\n"
);

/// The time at which the tests run.
pub(crate) fn now() -> jiff::Timestamp {
    "2026-01-02T12:00:00Z".parse().unwrap()
}

/// A fleet that is busy. Shared with the tests of `explain`.
pub(crate) fn busy() -> TaskQueueWorker {
    let mut fleet = resource(&json!([
        {
            "name": "payments", "replicas": {"min": 0, "max": 5},
            "scaling": {"queueWaitTarget": "10s"},
        },
        {"name": "mails", "replicas": {"min": 1, "max": 4}},
        {"name": "new", "replicas": {"min": 0, "max": 1000}},
    ]));
    fleet.status = Some(serde_json::from_value(json!({
        "observedGeneration": 4,
        "conditions": [
            condition("Ready", "True", "Available", "everything is applied"),
            condition(
                "ScalingActive", "False", "NotPolling",
                "queue mails: pods are Ready, but nobody polls",
            ),
            condition(
                "ScalingLimited", "True", "MaxReplicas",
                "queue payments: its demand asks for more than replicas.max; raise it if the \
                 cluster and what the workers call can take it",
            ),
        ],
        "queues": [
            {
                "name": "payments", "taskQueue": "payments",
                "deploymentName": "orders-payments-1a2b3c4d",
                "desired": 5, "current": 5, "ready": 3,
                "lastDecision": {
                    "reason": "MaxReplicas",
                    "message": "scaled 1 to 5: 74 activity tasks wait; a task is assumed to take \
                                5s; 6 replicas of 10 slots at 75% clear them within the 10s \
                                target; replicas.max is 5",
                    "time": "2026-01-02T11:59:48Z", "from": 1, "to": 5,
                    "inputs": {
                        "backlog": 74, "backlogAgeMilliseconds": 4100,
                        "tasksAddedPer1000Seconds": 4200, "slotsUsed": 10, "slotsPerReplica": 10,
                        "serviceTimeMilliseconds": 5000, "ready": 1,
                    },
                    "terms": {"inFlight": 2, "drain": 6},
                    "limits": [{"name": "MaxReplicas", "from": 6, "to": 5}],
                },
            },
            {
                "name": "mails", "taskQueue": "mails", "deploymentName": "orders-mails-5e6f7a8b",
                "desired": 1, "current": 1, "ready": 1,
            },
        ],
    })).unwrap());
    fleet
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "observedGeneration": 4, "lastTransitionTime": "2026-01-02T11:57:00Z",
    })
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

pub(crate) fn arguments(line: &[&str]) -> Arguments {
    let line = std::iter::once("top").chain(line.iter().copied());
    Line::try_parse_from(line).unwrap().arguments
}

fn cluster(client: kube::Client, line: &[&str]) -> Cluster {
    Cluster::new(client, "shop".to_owned(), &arguments(line).cluster).unwrap()
}

#[test]
fn the_metrics_of_each_queue_are_parsed() {
    let scrape = parse(METRICS).unwrap();
    assert!(scrape.leads);
    let queues: Vec<String> = scrape
        .queues
        .keys()
        .map(|queue| format!("{}/{} {}", queue.namespace, queue.fleet, queue.queue))
        .collect();
    assert_eq!(
        queues,
        [
            "bill/monthly all",
            "shop/orders mails",
            "shop/orders payments"
        ]
    );
    let mails = QueueName {
        namespace: "shop".to_owned(),
        fleet: "orders".to_owned(),
        queue: "mails".to_owned(),
    };
    assert_eq!(
        scrape.queues[&mails],
        Figures {
            backlog_tasks: Some(0.0),
            oldest_wait_seconds: Some(0.0),
            task_types: BTreeMap::from([(
                "activity".to_owned(),
                TypeFigures {
                    backlog_tasks: Some(0.0),
                    ..TypeFigures::default()
                },
            )]),
            unknown: BTreeMap::from([("slots".to_owned(), "NoHeartbeats".to_owned())]),
            findings: ["ReadyButNotPolling".to_owned()].into(),
            ..Figures::default()
        }
    );
}

#[test]
fn priorities_are_summed_over_the_task_types() {
    let labels = r#"namespace="shop",name="orders",queue="all",task_queue="all""#;
    let sample = |task_type: &str, priority: u8, tasks: u32| {
        format!(
            "taskqueue_operator_backlog_tasks_by_priority{{{labels},\
             task_type=\"{task_type}\",priority=\"{priority}\"}} {tasks}\n"
        )
    };
    let text = [
        "taskqueue_operator_leader 1\n".to_owned(),
        sample("activity", 1, 20),
        sample("activity", 5, 4_000),
        sample("workflow", 5, 900),
    ]
    .concat();
    let queues = parse(&text).unwrap().queues;
    let by_priority: Vec<_> = queues
        .into_values()
        .map(|figures| figures.backlog_tasks_by_priority)
        .collect();
    let expected = [("1".to_owned(), 20.0), ("5".to_owned(), 4_900.0)];
    assert_eq!(by_priority, [expected.into()]);
}

#[test]
fn text_that_is_not_the_operators_metrics_is_refused() {
    assert_eq!(parse("up 1\n"), Err(Unreadable::NotOurs));
    let broken = "taskqueue_operator_leader 1\n<html>nothing</html>\n";
    assert_eq!(
        parse(broken),
        Err(Unreadable::Line {
            line: 2,
            text: "<html>nothing</html>".to_owned()
        })
    );
    assert!(parse("a{b=\"c} 1\n").is_err());
    // The operator's samples have no timestamps, those of other exporters may.
    assert_eq!(
        parse("taskqueue_operator_leader 0 1700000000000\n"),
        Ok(Scrape::default())
    );
}

#[test]
fn the_table_shows_the_backlog_the_replicas_and_the_reasons() {
    let scrape = parse(METRICS).unwrap();
    let mut first = snapshot(&[guarded(&busy())], Some(&scrape), Vec::new());
    let mut later = first.clone();
    let queue = &mut later.fleets[0].queues[0];
    let decisions = &mut queue.figures.as_mut().unwrap().decisions;
    decisions.insert("hold: MaxReplicas".to_owned(), 10.0);
    compare(&mut later, &first);
    let blind = snapshot(
        &[guarded(&busy())],
        None,
        vec!["no current metrics: you may not".to_owned()],
    );
    first.fleets[0].conditions.clear();
    let shown = [
        ("all namespaces, second look", &later, true, Sort::Name),
        ("by wait, all well", &first, false, Sort::Wait),
        ("without metrics", &blind, false, Sort::Backlog),
    ];
    let shown = shown.map(|(what, snapshot, namespaces, sort)| {
        let style = Style {
            namespaces,
            sort,
            ink: Ink::PLAIN,
        };
        (what, table(snapshot, style, now()).text())
    });
    let shown: Vec<String> = shown
        .iter()
        .map(|(what, text)| format!("--- {what}\n{text}\n"))
        .collect();
    insta::assert_snapshot!(shown.concat());
}

#[test]
fn a_decision_that_was_only_reported_is_no_change_of_the_replicas() {
    let mut fleet = busy();
    let queues = &mut fleet.status.as_mut().unwrap().queues;
    let last = queues[0].last_decision.as_mut().unwrap();
    last.message = last.message.replace("scaled 1 to 5", "would scale 1 to 5");
    let snapshot = snapshot(&[guarded(&fleet)], None, Vec::new());
    let style = Style {
        namespaces: false,
        sort: Sort::Name,
        ink: Ink::PLAIN,
    };
    let text = table(&snapshot, style, now()).text();
    assert!(
        text.contains("  12s ago 1 to 5 (dry run): MaxReplicas\n"),
        "{text}"
    );
}

#[test]
fn the_current_decision_is_shown_until_another_one_is_made() {
    let scrape = parse(METRICS).unwrap();
    let first = snapshot(&[guarded(&busy())], Some(&scrape), Vec::new());
    let deciding = |look: &Snapshot| look.fleets[0].queues[0].deciding.clone();
    assert_eq!(deciding(&first), None);
    let mut second = first.clone();
    let figures = second.fleets[0].queues[0].figures.as_mut().unwrap();
    figures
        .decisions
        .insert("hold: CoolingDown".to_owned(), 1.0);
    let mut third = second.clone();
    compare(&mut second, &first);
    assert_eq!(deciding(&second).as_deref(), Some("hold: CoolingDown"));
    compare(&mut third, &second);
    assert_eq!(deciding(&third).as_deref(), Some("hold: CoolingDown"));
}

#[test]
fn a_malformed_object_is_named_and_the_others_are_shown() {
    let mut broken = serde_json::to_value(busy()).unwrap();
    broken["metadata"]["name"] = json!("broken");
    broken["spec"]["queues"] = json!("none");
    let broken: GuardedFleet = serde_json::from_value(broken).unwrap();
    let look = snapshot(&[guarded(&busy()), broken], None, Vec::new());
    let names: Vec<(&str, usize)> = look
        .fleets
        .iter()
        .map(|fleet| (fleet.name.as_str(), fleet.queues.len()))
        .collect();
    assert_eq!(names, [("broken", 0), ("orders", 3)]);
    assert!(
        look.notes[0].starts_with("the fleet broken cannot be read: "),
        "{:?}",
        look.notes
    );
}

#[test]
fn spans_are_short_and_ages_never_below_zero() {
    let texts = [
        0.0, 0.04, 0.5, 6.14, 9.0, 9.96, 42.7, 119.9, 120.0, 7199.0, 7200.0, 172_800.0,
    ];
    assert_eq!(
        texts.map(seconds),
        [
            "0s", "0s", "0.5s", "6.1s", "9s", "9s", "42s", "119s", "2m", "119m", "2h", "2d"
        ]
    );
    let later: jiff::Timestamp = "2026-01-02T12:00:05Z".parse().unwrap();
    assert_eq!(
        (age(now(), later), age(later, now())),
        ("5s".into(), "0s".into())
    );
}

#[test]
fn colors_mark_the_head_waits_over_their_target_and_what_holds_back() {
    let metrics = METRICS.replace("} 6.14\n", "} 61.4\n");
    let scrape = parse(&metrics).unwrap();
    let notes = vec!["no current metrics".to_owned()];
    let snapshot = snapshot(&[guarded(&busy())], Some(&scrape), notes);
    let style = Style {
        namespaces: false,
        sort: Sort::Name,
        ink: Ink::colored(),
    };
    let colored = table(&snapshot, style, now()).text();
    insta::assert_snapshot!(colored.replace('\x1b', "^"));
    let plain = Style {
        ink: Ink::PLAIN,
        ..style
    };
    let mut without = String::new();
    let mut rest = colored.as_str();
    while let Some((before, code)) = rest.split_once("\x1b[") {
        without.push_str(before);
        rest = code.split_once('m').unwrap().1;
    }
    without.push_str(rest);
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    assert_eq!(
        lines(&without),
        lines(&table(&snapshot, plain, now()).text())
    );
}

#[tokio::test]
async fn invalid_flags_are_refused() {
    for line in [["--interval", "0.1s"], ["--interval", "6m"], ["-o", "yaml"]] {
        let line = std::iter::once("top").chain(line);
        assert!(Line::try_parse_from(line).is_err());
    }
    let (client, _) = api(|_| (200, Value::Null));
    for line in [
        ["--metrics", "127.0.0.1:8080"],
        ["--metrics", "ftp://a"],
        ["--service", "metrics"],
    ] {
        let args = arguments(&line).cluster;
        assert!(
            Cluster::new(client.clone(), "shop".to_owned(), &args).is_err(),
            "{line:?}"
        );
    }
}

/// A server with the fleet above that shows nobody its Leases; `proxied` is its answer to a request
/// for the operator's metrics.
fn server(request: &ApiRequest, proxied: (u16, Value)) -> (u16, Value) {
    if request.line.contains("/proxy/metrics") {
        return proxied;
    }
    if request.line.contains("/leases/") {
        return (403, failure(403, "Forbidden", "leases \"x\" is forbidden"));
    }
    let list = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorkerList", "metadata": {},
        "items": [busy()],
    });
    (200, list)
}

#[tokio::test]
async fn top_lists_the_fleets_and_reads_the_metrics_and_nothing_else() {
    let (client, log) = api(|request| {
        server(
            request,
            (
                403,
                failure(403, "Forbidden", "services \"x\" is forbidden"),
            ),
        )
    });
    let cluster = cluster(client, &[]);
    let text = once(&cluster, &arguments(&["-o", "json"]), Ink::PLAIN)
        .await
        .unwrap();
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            "GET \
             /api/v1/namespaces/taskqueue-system/services/taskqueue-operator-metrics:metrics/proxy/metrics",
            "GET \
             /apis/coordination.k8s.io/v1/namespaces/taskqueue-system/leases/taskqueue-operator-leader",
            "GET /apis/taskqueue.dev/v1alpha1/namespaces/shop/taskqueueworkers?&limit=250",
        ]
    );
    let look: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        look["notes"],
        json!([
            "no current metrics: you have no permission to get services/proxy in namespace \
             taskqueue-system; a port-forward to the leader instead failed: you have no permission \
             to get leases in namespace taskqueue-system; ask for one of the two permissions, or \
             give --metrics URL"
        ])
    );
    assert_eq!(look["fleets"][0]["queues"][0]["lastDecision"]["to"], 5);
    assert_eq!(look["fleets"][0]["queues"][0]["waitTargetSeconds"], 10.0);
    assert_eq!(look["fleets"][0]["queues"][0].get("figures"), None);
}

#[tokio::test]
async fn unavailable_metrics_are_reported_in_one_line_with_the_remedy() {
    const NO_LEASE: &str = "a port-forward to the leader instead failed: you have no permission to \
                            get leases in namespace taskqueue-system; ask for that permission, ";
    let cases = [
        (
            404,
            format!(
                "there is no Service taskqueue-operator-metrics in namespace taskqueue-system; \
                 {NO_LEASE}name the Service with --service, or give --metrics URL"
            ),
        ),
        (
            503,
            format!(
                "no replica of the operator answers behind Service \
                 taskqueue-system/taskqueue-operator-metrics; {NO_LEASE}or give --metrics URL"
            ),
        ),
        (
            500,
            "taskqueue-system/taskqueue-operator-metrics: broken".to_owned(),
        ),
    ];
    for (code, expected) in cases {
        let (client, _) =
            api(move |request| server(request, (code, failure(code, "Other", "broken"))));
        assert_eq!(cluster(client, &[]).scrape().await, Err(expected));
    }
}

#[tokio::test]
async fn a_standby_replica_is_retried_and_then_reported() {
    let standby = METRICS.replace("leader 1", "leader 0");
    let (client, log) = api(move |request| server(request, (200, json!(standby))));
    let said = cluster(client, &["--lease", "other"]).scrape().await;
    assert_eq!(
        said,
        Err("only standby replicas answer behind Service \
             taskqueue-system/taskqueue-operator-metrics; a port-forward to the leader instead \
             failed: you have no permission to get leases in namespace taskqueue-system; ask for \
             that permission, or give --metrics URL"
            .to_owned())
    );
    let mut lines = log.lines();
    assert_eq!(
        lines.pop().as_deref(),
        Some("GET /apis/coordination.k8s.io/v1/namespaces/taskqueue-system/leases/other")
    );
    assert_eq!(lines.len(), 16);
    let (client, log) = api(|request| server(request, (200, json!(METRICS))));
    assert_eq!(
        cluster(client, &[]).scrape().await,
        Ok(parse(METRICS).unwrap())
    );
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn a_refusal_of_the_api_server_is_reported_in_its_own_words() {
    let (client, _) = api(|_| {
        (
            403,
            failure(403, "Forbidden", "you may not list taskqueueworkers"),
        )
    });
    let cluster = cluster(client, &[]);
    let refused = once(&cluster, &arguments(&["-A"]), Ink::PLAIN)
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot list the fleets in all namespaces: you may not list taskqueueworkers"
    );
    let (client, _) = api(|_| (404, failure(404, "", "404 page not found")));
    let cluster = self::cluster(client, &[]);
    let unknown = once(&cluster, &arguments(&[]), Ink::PLAIN)
        .await
        .unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "cannot list the fleets in namespace shop: this cluster does not know the kind \
         TaskQueueWorker; install the operator"
    );
}
