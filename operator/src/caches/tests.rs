//! Which namespaces a scope covers, and that unreadable objects are cached as unreadable.

use std::sync::Arc;

use kube::core::DeserializeGuard;
use serde_json::{Value, json};
use taskqueue_api::ConnectionKind;

use super::*;
use crate::clock::Clock;
use crate::testing::{ApiRequest, api, failure, resource};

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
    let (caches, watches) = watch(&client, &Scope::Cluster, &metrics, true, |_| {});
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

/// An API server with one connection of the cluster, unless it answers with another code.
fn with_cluster_connection(code: u16) -> kube::Client {
    let (client, _) = api(move |request| {
        if code != 200 {
            return (code, failure(code, "", "no"));
        }
        if request.line.contains("watch=true") {
            return (200, Value::String(String::new()));
        }
        let listed = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "ClusterTemporalConnection",
            "metadata": {"name": "production", "resourceVersion": "50"},
            "spec": {"namespaces": ["shop"], "address": "temporal:7233"},
        });
        let list = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "List",
            "metadata": {"resourceVersion": "50"}, "items": [listed],
        });
        (200, list)
    });
    client
}

/// What is known of the connections `production` and `other`, before and after the first answer of
/// the API server.
async fn found(scope: Scope, code: u16, wanted: bool) -> [String; 3] {
    let client = with_cluster_connection(code);
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, mut watches) = watch(&client, &scope, &metrics, wanted, |_| {});
    let word = |name| {
        let found = format!("{:?}", caches.cluster_connection(name));
        let end = found.find(|c: char| !c.is_alphabetic());
        found[..end.unwrap_or(found.len())].to_owned()
    };
    let before = word("production");
    let mut progress = caches.progress();
    let answered = async {
        tokio::select! {
            _ = progress.changed() => {}
            () = async { while watches.cluster_connections.next().await.is_some() {} } => {}
        }
    };
    if wanted {
        answered.await;
    }
    [before, word("production"), word("other")]
}

#[tokio::test]
async fn a_connection_of_the_cluster_is_missing_only_after_they_have_been_listed() {
    for scope in [Scope::Cluster, Scope::Namespace("shop".to_owned())] {
        let told = found(scope.clone(), 200, true).await;
        assert_eq!(told, ["NotListed", "Found", "Missing"]);
        for code in [403, 404] {
            let told = found(scope.clone(), code, true).await;
            assert_eq!(told, ["NotListed", "Refused", "Refused"], "{code}");
        }
        let told = found(scope, 200, false).await;
        assert_eq!(told, ["Off", "Off", "Off"]);
    }
}

/// Without the CRD or the right, everything else is ready.
#[tokio::test]
async fn nothing_waits_for_the_connections_of_the_cluster() {
    let (caches, mut filler) = Filler::new();
    let refusal = Refusal {
        code: 404,
        answer: "no".to_owned(),
    };
    filler.set_cluster_connections(Err(refusal));
    assert!(caches.are_filled() && caches.are_settled());
    let refers = |to: Value, name: &str| {
        let mut fleet = named(fleet(), name);
        let spec = fleet["spec"].as_object_mut().unwrap();
        spec.remove("connection");
        spec.insert("connectionRef".to_owned(), to);
        Event::Apply(serde_json::from_value(fleet).unwrap())
    };
    let of_cluster = json!({"kind": "ClusterTemporalConnection", "name": "shared"});
    for event in [
        refers(json!({"name": "shared"}), "by-default"),
        refers(
            json!({"kind": "TemporalConnection", "name": "shared"}),
            "by-kind",
        ),
        refers(of_cluster, "of-cluster"),
    ] {
        filler.fleets.apply_watcher_event(&event);
    }
    let referring = |kind, namespace| {
        let name = "shared".to_owned();
        let fleets = caches.fleets_with_connection(&ConnectionReference { kind, name }, namespace);
        let mut names: Vec<String> = fleets.into_iter().map(|fleet| fleet.name).collect();
        names.sort();
        names
    };
    let nobody = Vec::<String>::new();
    let of_namespace = ConnectionKind::TemporalConnection;
    assert_eq!(
        referring(of_namespace, Some("shop")),
        ["by-default", "by-kind"]
    );
    assert_eq!(referring(of_namespace, Some("billing")), nobody);
    assert_eq!(
        referring(ConnectionKind::ClusterTemporalConnection, None),
        ["of-cluster"]
    );
}

#[tokio::test]
async fn a_watch_lasts_twenty_seconds_so_that_one_that_hangs_is_noticed() {
    let (client, log) = api(|request| server(request, &fleet(), &newer_fleet()));
    let metrics = Metrics::new(Clock::start()).unwrap();
    let (caches, watches) = watch(&client, &Scope::Cluster, &metrics, true, |_| {});
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
    let (caches, mut watches) = watch(&client, &Scope::Cluster, &metrics, true, |_| {});
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
