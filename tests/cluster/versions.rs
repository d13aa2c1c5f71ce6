//! The operator under the definitions of a next version, with fields that this version does not
//! know: an optional field in the spec and in the status of both kinds. This happens during the
//! rollout of an upgrade, or after a rollback of the operator alone. Additions to a definition do
//! not affect other fleets, so this runs in parallel with the other tests.

use std::path::Path;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use taskqueue_api::TaskQueueWorker;

use crate::harness::{TEMPORAL, TestCluster, eventually, one_queue, with_namespace};

/// Plurals of the kinds.
const FLEETS: &str = "taskqueueworkers";
const CONNECTIONS: &str = "temporalconnections";
/// The JSON pointer to the fields of a definition's only version.
const FIELDS: &str = "/spec/versions/0/schema/openAPIV3Schema/properties";

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_works_with_crds_that_have_fields_it_does_not_know() {
    with_namespace("crds-with-unknown-fields", |cluster| async move {
        let connection = json!({"address": TEMPORAL, "temporalNamespace": "default"});
        cluster.share_connection("main", connection).await?;
        cluster.apply(fleet(&cluster, 1)).await?;
        cluster.condition_is("Ready", "True", "Available").await?;

        define(
            &cluster,
            &[(FLEETS, next_fleets()?), (CONNECTIONS, next_connections()?)],
        )
        .await?;
        let result = is_managed(&cluster).await;
        let before = [
            (FLEETS, definition(FLEETS)?),
            (CONNECTIONS, definition(CONNECTIONS)?),
        ];
        define(&cluster, &before).await?;
        result
    })
    .await;
}

/// One queue with a shared connection.
fn fleet(cluster: &TestCluster, max: u32) -> Value {
    let mut spec = one_queue(&cluster.queue("all"), 1, max, &json!({}));
    spec["connectionRef"] = json!({"name": "main"});
    spec.as_object_mut().map(|spec| spec.remove("connection"));
    spec
}

async fn is_managed(cluster: &TestCluster) -> anyhow::Result<()> {
    let workers = cluster.workers_run(1).await?;
    // A user sets the new fields, and a field that this operator knows.
    let mut spec = fleet(cluster, 2);
    spec["queues"][0]["weight"] = json!(7);
    spec["scaling"]["trend"] = json!({"horizon": "10m"});
    eventually("the API server accepts the new fields", || async {
        let fleet = cluster.apply(spec.clone()).await;
        let connection =
            json!({"address": TEMPORAL, "temporalNamespace": "default", "region": "north"});
        let taken = fleet.and(cluster.share_connection("main", connection).await);
        Ok(taken.map_err(|error| format!("{error:#}")))
    })
    .await?;
    // The next operator has written its status.
    let queues = json!([{"name": "all", "trend": "Rising"}]);
    let status = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
        "metadata": {"name": "orders"},
        "status": {"trend": "Rising", "queues": queues},
    });
    let params = PatchParams::apply("next-operator").force();
    let api = cluster.api::<TaskQueueWorker>();
    api.patch_status("orders", &params, &Patch::Apply(&status))
        .await?;
    cluster.condition_is("Ready", "True", "Available").await?;
    cluster
        .condition_is("ScalingActive", "True", "Active")
        .await?;
    cluster
        .untouched(&workers, "fields that the operator does not know")
        .await?;
    let written = get(cluster, "tconn/main")?;

    let order = json!({"total": 100, "card": "tok_delay_8000"});
    // More orders than its 4 slots can finish before the operator, which may have just started,
    // sees its first heartbeat.
    let workflows = cluster
        .temporal
        .orders(&cluster.queue("all"), 0..24, &order)?;
    cluster
        .replicas_are(
            "all",
            "the backlog starts another worker",
            |requested, _| requested == 2,
        )
        .await?;
    cluster.temporal.results_at_once(&workflows).await?;
    cluster
        .replicas_are("all", "the idle worker goes", |requested, _| requested == 1)
        .await?;
    eventually("the status covers the last change", || async {
        let fleet = get(cluster, "tqw/orders")?;
        let last = &fleet["status"]["queues"][0]["lastDecision"];
        Ok(if last["from"] == 2 && last["to"] == 1 {
            Ok(())
        } else {
            Err(last.to_string())
        })
    })
    .await?;

    let fleet = get(cluster, "tqw/orders")?;
    let kept = (
        &fleet["spec"]["queues"][0]["weight"],
        &fleet["spec"]["scaling"]["trend"],
    );
    assert_eq!(kept, (&json!(7), &json!({"horizon": "10m"})));
    let trends = (
        &fleet["status"]["trend"],
        &fleet["status"]["queues"][0]["trend"],
    );
    assert_eq!(trends, (&json!("Rising"), &json!("Rising")));
    assert_eq!(fields_of_the_operator(&fleet), ["f:status"]);
    let connection = get(cluster, "tconn/main")?;
    assert_eq!(connection["spec"], written["spec"]);
    assert_eq!(fields_of_the_operator(&connection), ["f:status"]);
    let log = cluster.operator_log()?;
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains(&cluster.namespace))
        .filter(|line| line.contains(r#""ERROR""#) || line.contains(r#""WARN""#))
        .collect();
    assert_eq!(complaints, Vec::<&str>::new());
    Ok(())
}

fn get(cluster: &TestCluster, object: &str) -> anyhow::Result<Value> {
    let text = cluster.kubectl(&["get", object, "-o", "json", "--show-managed-fields"])?;
    Ok(serde_json::from_str(&text)?)
}

/// The top-level fields that the operator has ever written of a fleet.
fn fields_of_the_operator(fleet: &Value) -> Vec<String> {
    let managed = fleet["metadata"]["managedFields"].as_array().into_iter();
    let ours = managed
        .flatten()
        .filter(|entry| entry["manager"] == "taskqueue-operator");
    let fields = ours.flat_map(|entry| entry["fieldsV1"].as_object().into_iter().flatten());
    fields.map(|(field, _)| field.clone()).collect()
}

/// A present definition, as in `crds/`.
fn definition(plural: &str) -> anyhow::Result<Value> {
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    let text = std::fs::read_to_string(crds.join(format!("taskqueue.dev_{plural}.yaml")))?;
    Ok(serde_saphyr::from_str(&text)?)
}

fn next_fleets() -> anyhow::Result<Value> {
    let mut definition = definition(FLEETS)?;
    let trend = json!({"type": "string", "enum": ["Rising", "Falling"]});
    let horizon = json!({"type": "object", "properties": {"horizon": {"type": "string"}}});
    add(
        &mut definition,
        "/spec/properties/queues/items/properties/weight",
        json!({"type": "integer", "minimum": 1}),
    )?;
    add(
        &mut definition,
        "/spec/properties/scaling/properties/trend",
        horizon,
    )?;
    add(&mut definition, "/status/properties/trend", trend.clone())?;
    add(
        &mut definition,
        "/status/properties/queues/items/properties/trend",
        trend,
    )?;
    Ok(definition)
}

fn next_connections() -> anyhow::Result<Value> {
    let mut definition = definition(CONNECTIONS)?;
    add(
        &mut definition,
        "/spec/properties/region",
        json!({"type": "string"}),
    )?;
    add(
        &mut definition,
        "/status/properties/reachable",
        json!({"type": "boolean"}),
    )?;
    Ok(definition)
}

/// Adds a new field to the definition.
fn add(definition: &mut Value, field: &str, schema: Value) -> anyhow::Result<()> {
    let (parent, name) = field.rsplit_once('/').unwrap_or_default();
    let parent = format!("{FIELDS}{parent}");
    let properties = definition
        .pointer_mut(&parent)
        .and_then(Value::as_object_mut);
    let properties = properties.ok_or_else(|| anyhow::anyhow!("there is no {parent}"))?;
    anyhow::ensure!(
        properties.insert(name.to_owned(), schema).is_none(),
        "{field} is not an addition"
    );
    Ok(())
}

/// Replaces the versions of these definitions in the API server.
async fn define(cluster: &TestCluster, definitions: &[(&str, Value)]) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for (plural, definition) in definitions {
        let versions = json!({"spec": {"versions": definition["spec"]["versions"]}});
        let name = format!("{plural}.taskqueue.dev");
        api.patch(&name, &PatchParams::default(), &Patch::Merge(&versions))
            .await?;
    }
    Ok(())
}
