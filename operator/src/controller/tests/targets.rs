//! Fleets whose workloads somebody else deploys: what is read, and the only things written.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::*;

const SCALE: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts/worker/scale";

fn fleet_of(mode: &str, bounds: &Value) -> Value {
    let mut fleet = object();
    let spec = fleet["spec"].as_object_mut().unwrap();
    spec.remove("template");
    spec.insert("scaling".to_owned(), json!({"mode": mode}));
    spec.insert(
        "queues".to_owned(),
        json!([{
            "name": "a", "replicas": bounds,
            "scaleTargetRef": {
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "worker",
            },
        }]),
    );
    fleet
}

/// A cluster with an Argo Rollout of two replicas.
fn cluster(request: &ApiRequest) -> (u16, Value) {
    let line = request.line.as_str();
    if line == "GET /apis/argoproj.io/v1alpha1" {
        let rollouts = json!({
            "name": "rollouts", "singularName": "rollout", "namespaced": true, "kind": "Rollout",
            "verbs": ["get"],
        });
        let resources = json!([rollouts]);
        return (
            200,
            json!({
                "kind": "APIResourceList", "groupVersion": "argoproj.io/v1alpha1",
                "resources": resources,
            }),
        );
    }
    if line.starts_with("GET /api/v1/namespaces/shop/pods?") {
        return (
            200,
            json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []}),
        );
    }
    if line.contains(SCALE) {
        let asks = request.body["spec"]["replicas"].as_u64().unwrap_or(2);
        return (
            200,
            json!({
                "kind": "Scale", "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": "worker", "namespace": "shop", "uid": "w", "resourceVersion": "7",
                },
                "spec": {"replicas": asks}, "status": {"replicas": 0, "selector": "app=worker"},
            }),
        );
    }
    empty_cluster(request)
}

/// The writes among the requests, without Events and status.
fn writes(lines: &[String]) -> Vec<&str> {
    let own = |line: &&str| {
        !line.starts_with("GET") && !line.contains("/events") && !line.contains("/status")
    };
    lines.iter().map(String::as_str).filter(own).collect()
}

#[tokio::test]
async fn only_the_replicas_of_a_target_are_written() {
    let mut operator = Operator::new(cluster);
    let fleet = fleet_of("Active", &json!({"min": 4, "max": 9}));
    let (result, lines) = operator.pass(&fleet).await;
    assert!(result.is_ok(), "{result:?}");
    let scale = format!("PATCH {SCALE}?&fieldManager=taskqueue-operator%2Fscaling");
    assert_eq!(writes(&lines), [scale.as_str()]);
    let reads: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("GET"))
        .collect();
    assert_eq!(
        reads,
        [
            "GET /apis/argoproj.io/v1alpha1",
            &format!("GET {SCALE}"),
            "GET /api/v1/namespaces/shop/pods?&labelSelector=app%3Dworker",
        ]
    );
}

#[tokio::test]
async fn a_dry_run_on_a_target_writes_nothing_to_it() {
    let mut operator = Operator::new(cluster);
    let (result, lines) = operator
        .pass(&fleet_of("DryRun", &json!({"min": 4, "max": 9})))
        .await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(writes(&lines), Vec::<&str>::new());
}

fn autoscaler(owner: Option<&str>) -> HorizontalPodAutoscaler {
    let owners = owner.map(|kind| {
        json!([{
            "apiVersion": "keda.sh/v1alpha1", "kind": kind, "name": "orders", "uid": "s",
            "controller": true,
        }])
    });
    serde_json::from_value(json!({
        "metadata": {"name": "worker-hpa", "namespace": "shop", "ownerReferences": owners},
        "spec": {
            "maxReplicas": 5,
            "scaleTargetRef": {
                "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "worker",
            },
        },
    }))
    .unwrap()
}

#[tokio::test]
async fn an_autoscaler_on_the_same_target_is_named_and_the_replicas_are_left_to_it() {
    for (owner, name) in [
        (None, "HorizontalPodAutoscaler worker-hpa"),
        (Some("ScaledObject"), "ScaledObject orders"),
    ] {
        let mut operator = Operator::new(cluster);
        operator
            .caches
            .autoscalers
            .apply_watcher_event(&Event::Apply(autoscaler(owner)));
        let fleet = fleet_of("Active", &json!({"min": 4, "max": 9}));
        let (result, lines) = operator.pass(&fleet).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(writes(&lines), Vec::<&str>::new());
        let (reason, message) = operator.ready(&fleet).await;
        assert_eq!(reason, "ScalerConflict");
        let said = format!(
            "queue a: {name} also scales Rollout worker, so this fleet leaves the replicas alone"
        );
        assert!(message.starts_with(&said), "{message}");
        // A trial beside it is no conflict.
        let trial = fleet_of("DryRun", &json!({"min": 4, "max": 9}));
        let mut trial = trial;
        trial["metadata"]["generation"] = json!(5);
        operator.pass(&trial).await.0.unwrap();
        assert_ne!(operator.ready(&trial).await.0, "ScalerConflict");
    }
}

#[tokio::test]
async fn of_two_fleets_with_the_same_target_the_older_one_scales_it() {
    let mut operator = Operator::new(cluster);
    let older = fleet_of("Active", &json!({"min": 4, "max": 9}));
    let mut younger = older.clone();
    younger["metadata"]["name"] = json!("mails");
    younger["metadata"]["uid"] = json!("another-uid");
    younger["metadata"]["creationTimestamp"] = json!("2026-02-01T00:00:00Z");
    younger["spec"]["queues"][0]["taskQueue"] = json!("mails");
    let (_, lines) = operator.pass(&older).await;
    assert_eq!(writes(&lines).len(), 1);
    let (_, lines) = operator.pass(&younger).await;
    assert_eq!(writes(&lines), Vec::<&str>::new());
    let (reason, message) = operator.ready(&younger).await;
    assert_eq!(reason, "ScalerConflict");
    assert!(
        message.contains("TaskQueueWorker orders also scales Rollout worker"),
        "{message}"
    );
}

#[tokio::test]
async fn an_autoscaler_on_a_deployment_of_ours_is_named() {
    let mut operator = Operator::new(empty_cluster);
    let fleet = crate::testing::simple();
    let mut other = autoscaler(None);
    let target = &mut other.spec.scale_target_ref;
    target.api_version = Some("apps/v1".to_owned());
    target.kind = "Deployment".to_owned();
    target.name.clone_from(&fleet.queues[0].workload_name);
    operator
        .caches
        .autoscalers
        .apply_watcher_event(&Event::Apply(other));
    operator.context.started().await;
    let named = crate::observe::scalers::competing_scaler(
        &operator.context.caches,
        &fleet,
        &fleet.queues[0],
        jiff::Timestamp::UNIX_EPOCH,
    );
    assert_eq!(named.as_deref(), Some("HorizontalPodAutoscaler worker-hpa"));
    let (result, lines) = operator.pass(&object()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(
        short(&lines)[..3],
        ["look", "create", "apply"],
        "the template is still applied"
    );
}
