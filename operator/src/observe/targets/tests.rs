use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Value, json};
use taskqueue_scaling::PodPhase;

use super::*;
use crate::observe::{deployment, pods};
use crate::testing::{ApiRequest, Log, NOW, api, failure, fleet, observed, unseen};

const SCALE: &str = "GET /apis/apps/v1/namespaces/shop/statefulsets/worker/scale";

fn named(kind: &str) -> Fleet {
    fleet(&json!([{
        "name": "a", "replicas": {"min": 0, "max": 9},
        "scaleTargetRef": {"kind": kind, "name": "worker"},
    }]))
}

fn pod(name: &str, grace: i64, owner: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [
            {
                "apiVersion": "apps/v1", "kind": owner, "name": "worker", "uid": "w",
                "controller": true,
            },
        ]},
        "spec": {"terminationGracePeriodSeconds": grace, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "image": "i", "imageID": "i", "ready": true,
                "restartCount": 0, "state": {"running": {}}}]},
    })
}

/// A cluster with a StatefulSet of three replicas and these pods.
fn cluster(request: &ApiRequest, pods: &[Value]) -> (u16, Value) {
    let line = request.line.as_str();
    if line == "GET /apis/apps/v1" {
        let resource = |name: &str, kind: &str| {
            json!({
                "name": name, "singularName": "", "namespaced": true, "kind": kind,
                "verbs": ["get"],
            })
        };
        let resources = [
            resource("deployments", "Deployment"),
            resource("statefulsets", "StatefulSet"),
            resource("statefulsets/scale", "Scale"),
        ];
        (
            200,
            json!({"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": resources}),
        )
    } else if line.starts_with(SCALE) {
        (
            200,
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": "worker", "namespace": "shop", "uid": "w", "resourceVersion": "7",
                },
                "spec": {"replicas": 3},
                "status": {"replicas": 3, "selector": "app=worker"},
            }),
        )
    } else if line.starts_with("GET /api/v1/namespaces/shop/pods?") {
        assert!(line.contains("labelSelector=app%3Dworker"), "{line}");
        (
            200,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}),
        )
    } else {
        (404, failure(404, "NotFound", "not found"))
    }
}

fn stateful(pods: Vec<Value>) -> (Targets, Log) {
    let (client, log) = api(move |request| cluster(request, &pods));
    (Targets::new(client), log)
}

#[tokio::test]
async fn a_target_is_read_by_its_scale_and_its_pods_and_the_kind_is_looked_up_once() {
    let (targets, log) = stateful(vec![pod("worker-0", 60, "StatefulSet")]);
    let fleet = named("StatefulSet");
    let read = targets.read(&fleet, NOW).await;
    let target = read["a"].clone().unwrap();
    assert_eq!(
        (
            &*target.uid,
            &*target.resource_version,
            target.replicas,
            target.current
        ),
        ("w", "7", 3, 3)
    );
    assert!(target.by_ordinal);
    assert_eq!(target.worker_container(), "main");
    assert_eq!(log.lines().len(), 3);
    // The passes of the next moment share the reading.
    targets.read(&fleet, NOW).await;
    assert_eq!(log.lines(), Vec::<String>::new());
    targets.read(&fleet, NOW.plus(FRESH)).await;
    assert_eq!(log.lines().len(), 2);
    targets.forget("shop", "worker");
    targets.read(&fleet, NOW.plus(FRESH)).await;
    assert_eq!(log.lines().len(), 2);
}

#[tokio::test]
async fn pods_that_the_status_counts_and_the_list_does_not_show_are_unseen() {
    let (targets, _) = stateful(vec![pod("worker-0", 60, "StatefulSet")]);
    let read = targets.read(&named("StatefulSet"), NOW).await;
    let target = read["a"].as_ref().unwrap();
    let seen = pods::read(
        &target.pods,
        target.worker_container(),
        jiff::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(seen.live[0].phase, PodPhase::Ready);
    let replicas = deployment::target_replicas(target, &seen);
    assert_eq!(
        (replicas.requested, replicas.ready, replicas.unseen),
        (3, 1, 2)
    );
    assert!(replicas.by_ordinal && !replicas.rollout_in_progress);
}

#[tokio::test]
async fn the_grace_period_is_the_shortest_of_the_pods_less_the_margin() {
    let (short, long) = (
        pod("worker-0", 45, "StatefulSet"),
        pod("worker-1", 600, "StatefulSet"),
    );
    let (targets, _) = stateful(vec![short, long]);
    let fleet = named("StatefulSet");
    let mut seen = unseen();
    seen.target = Some(targets.read(&fleet, NOW).await["a"].clone());
    let observed = observed(&fleet, seen);
    let adjusted = observed.with_graces(&fleet);
    assert_eq!(
        adjusted.queues[0].policy.drain_grace_period,
        Duration::from_secs(30)
    );
    // A fleet without targets is not copied.
    let ours = crate::testing::simple();
    let observed = crate::testing::observed(&ours, unseen());
    assert!(matches!(observed.with_graces(&ours), Cow::Borrowed(_)));
}

#[tokio::test]
async fn what_cannot_be_read_names_the_way_out() {
    let table: [(&str, u16, Value, Reason, &str); 4] = [
        (
            "Rollout",
            200,
            json!({}),
            Reason::TargetNotFound,
            "no kind Rollout in the API apps/v1",
        ),
        (
            "StatefulSet",
            404,
            failure(404, "NotFound", "not found"),
            Reason::TargetNotFound,
            "there is no StatefulSet worker with a scale subresource in namespace shop",
        ),
        (
            "StatefulSet",
            403,
            failure(403, "Forbidden", "may not get statefulsets/scale"),
            Reason::Forbidden,
            "may not get statefulsets/scale (HTTP 403); add the resource to the chart's value \
             scaleTargets",
        ),
        (
            "StatefulSet",
            200,
            json!({"metadata": {"name": "worker"}, "spec": {}, "status": {"replicas": 0}}),
            Reason::TargetNotFound,
            "reports no selector",
        ),
    ];
    for (kind, code, answer, reason, said) in table {
        let (client, _) = api(move |request| {
            if request.line.starts_with(SCALE) {
                return (code, answer.clone());
            }
            cluster(request, &[])
        });
        let read = Targets::new(client).read(&named(kind), NOW).await;
        let why = read["a"].clone().unwrap_err();
        assert_eq!(why.reason, reason, "{why}");
        assert!(why.message.contains(said), "{why}");
    }
}

#[tokio::test]
async fn while_the_api_server_does_not_answer_the_last_reading_is_used_for_a_minute() {
    let down = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let (client, _) = api(move |request| {
        if is_down.load(std::sync::atomic::Ordering::SeqCst) {
            return (503, failure(503, "ServiceUnavailable", "etcd is away"));
        }
        cluster(request, &[])
    });
    let (targets, fleet) = (Targets::new(client), named("StatefulSet"));
    assert!(targets.read(&fleet, NOW).await["a"].is_ok());
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(targets.read(&fleet, NOW.plus(FRESH)).await["a"].is_ok());
    let why = targets.read(&fleet, NOW.plus(OUTDATED)).await["a"].clone();
    assert_eq!(why.unwrap_err().reason, Reason::ApiServerUnavailable);
}
