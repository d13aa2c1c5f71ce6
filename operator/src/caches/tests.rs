//! Which namespaces a scope covers, and that unreadable objects are cached as unreadable.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::testing::{ApiRequest, api, resource};

#[test]
fn an_empty_list_of_namespaces_means_all_and_duplicates_count_once() {
    assert_eq!(Scope::all(&[]), [Scope::Cluster]);
    let list = ["b".to_owned(), "a".to_owned(), "b".to_owned()];
    assert_eq!(
        Scope::all(&list),
        [
            Scope::Namespace("a".to_owned()),
            Scope::Namespace("b".to_owned())
        ]
    );
    assert!(Scope::Cluster.covers("x"));
    assert!(!Scope::Namespace("a".to_owned()).covers("b"));
}

fn named(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

fn fleet() -> Value {
    let queues = json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]);
    serde_json::to_value(resource(&queues)).unwrap()
}

/// As a newer version may write it: with a mode that this version does not know.
fn newer_fleet() -> Value {
    let mut newer = fleet();
    newer["spec"]["scaling"] = json!({"mode": "Predictive"});
    newer
}

fn connection() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection",
        "metadata": {"name": "shared", "namespace": "shop", "resourceVersion": "50"},
        "spec": {"address": "temporal:7233"},
    })
}

/// As a newer version may write it: with another way to say where Temporal is.
fn newer_connection() -> Value {
    let mut newer = connection();
    newer["spec"] = json!({"service": {"name": "temporal"}});
    newer
}

/// Lists two objects, `listed` and `listed-newer`, and then adds two more over the watch.
fn server(request: &ApiRequest, good: &Value, newer: &Value) -> (u16, Value) {
    if !request.line.contains("watch=true") {
        let items = [
            named(newer.clone(), "listed-newer"),
            named(good.clone(), "listed"),
        ];
        let list = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "List",
            "metadata": {"resourceVersion": "50"}, "items": items,
        });
        return (200, list);
    }
    let added = |object: Value| json!({"type": "ADDED", "object": object}).to_string() + "\n";
    let events = [
        added(named(newer.clone(), "watched-newer")),
        added(named(good.clone(), "watched")),
    ];
    (200, Value::String(events.concat()))
}

const WHAT_IS_KEPT: [(&str, bool); 4] = [
    ("listed", true),
    ("listed-newer", false),
    ("watched", true),
    ("watched-newer", false),
];

/// Polls a watch until its cache holds four objects. Returns their names and whether they are
/// readable.
async fn kept<K>(
    store: &Store<DeserializeGuard<K>>,
    mut watch: Touched<DeserializeGuard<K>>,
) -> Vec<(String, bool)>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    while store.len() < WHAT_IS_KEPT.len() {
        watch.next().await.unwrap().unwrap();
    }
    let name =
        |object: &Arc<DeserializeGuard<K>>| (object.meta().name.clone().unwrap(), object.0.is_ok());
    let mut kept: Vec<_> = store.state().iter().map(name).collect();
    kept.sort();
    kept
}

#[tokio::test]
async fn malformed_objects_are_kept_as_malformed_and_stop_neither_list_nor_watch() {
    let (client, _) = api(|request| {
        if request.line.contains("/taskqueueworkers") {
            server(request, &fleet(), &newer_fleet())
        } else {
            server(request, &connection(), &newer_connection())
        }
    });
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, watches) = watch(&client, &Scope::Cluster, &metrics, |_| {});
    let expected = WHAT_IS_KEPT.map(|(name, readable)| (name.to_owned(), readable));
    assert_eq!(kept(&caches.fleets, watches.fleets).await, expected);
    assert_eq!(
        kept(&caches.connections, watches.connections).await,
        expected
    );
    let text = metrics.text().unwrap();
    let failed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("watch_errors_total{") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(failed, Vec::<&str>::new());
}

#[tokio::test]
async fn a_watch_lasts_twenty_seconds_so_that_one_that_hangs_is_noticed() {
    let (client, log) = api(|request| server(request, &fleet(), &newer_fleet()));
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, watches) = watch(&client, &Scope::Cluster, &metrics, |_| {});
    kept(&caches.fleets, watches.fleets).await;
    let lines = log.lines();
    let request = lines.iter().find(|line| line.contains("watch=true"));
    let mut parameters = request.unwrap().split(['?', '&']);
    assert!(
        parameters.any(|one| one == "timeoutSeconds=20"),
        "{lines:?}"
    );
}

/// A pod with a hook and many fields that nobody reads; its worker ended before the pod was
/// removed.
fn ended_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "shop", "resourceVersion": "60",
            "labels": {"taskqueue.dev/worker": "orders", "taskqueue.dev/queue": "a"},
            "deletionTimestamp": "2026-01-01T00:01:15Z", "deletionGracePeriodSeconds": 75,
        },
        "spec": {
            "terminationGracePeriodSeconds": 75, "nodeName": "node",
            "containers": [
                {"name": "proxy", "image": "proxy:1"},
                {"name": "worker", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
            ],
        },
        "status": {"phase": "Failed", "containerStatuses": [
            {"name": "worker", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 137, "finishedAt": "2026-01-01T00:01:15Z"}}},
        ]},
    })
}

#[tokio::test]
async fn how_a_worker_ended_is_kept_although_its_pod_is_gone() {
    let (client, _) = api(|request| {
        if request.line.contains("watch=true") {
            let event = json!({"type": "DELETED", "object": ended_pod()});
            return (200, Value::String(event.to_string() + "\n"));
        }
        let list = json!({
            "apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": "50"}, "items": [],
        });
        (200, list)
    });
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, mut watches) = watch(&client, &Scope::Cluster, &metrics, |_| {});
    let seen = watches.pods.next().await.unwrap().unwrap();
    let spec = json!({
        "terminationGracePeriodSeconds": 75,
        "containers": [{"name": "worker", "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}],
    });
    assert_eq!(serde_json::to_value(&seen.spec).unwrap(), spec);
    assert_eq!(
        caches.pods.of(&worker_key("shop", "orders")),
        Vec::<Arc<Pod>>::new()
    );
    let draining = crate::observe::drains::Draining::of(&seen).unwrap();
    assert!(draining.end.is_some() && draining.hooked, "{draining:?}");
    assert_eq!(
        caches.ended_workers.take("shop", "orders"),
        [("a".to_owned(), draining)]
    );
}

#[test]
fn a_deployment_keeps_only_who_set_the_replicas_and_a_pod_only_its_problems() {
    let mut deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "d", "managedFields": [
            {"manager": "taskqueue-operator", "fieldsV1": {"f:spec": {"f:template": {}}}},
            {
                "manager": "kubectl", "subresource": "scale",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            },
            {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {"f:replicas": {}}}},
        ]},
    }))
    .unwrap();
    keep_owners_of_replicas(&mut deployment.metadata);
    assert_eq!(crate::owned::replicas_set_by(&deployment), Some("kubectl"));
    let kept = deployment.metadata.managed_fields.unwrap();
    assert_eq!((kept.len(), &kept[0].fields_v1), (1, &None));
    let init = |name: &str, restarts: u32, state: Value| {
        json!({"name": name, "image": "", "imageID": "", "ready": false,
            "restartCount": restarts, "state": state})
    };
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p"},
        "status": {"initContainerStatuses": [
            init("done", 0, json!({"terminated": {"exitCode": 0}})),
            init("failed", 0, json!({"terminated": {"exitCode": 1}})),
            init("runs", 0, json!({"running": {}})),
            init("runs-again", 1, json!({"running": {}})),
            init("waits", 0, json!({"waiting": {"reason": "ErrImagePull"}})),
        ]},
    }))
    .unwrap();
    prune_pod(&mut pod);
    let kept = pod.status.unwrap().init_container_statuses.unwrap();
    let names: Vec<String> = kept.into_iter().map(|container| container.name).collect();
    assert_eq!(names, ["failed", "runs-again", "waits"]);
}
