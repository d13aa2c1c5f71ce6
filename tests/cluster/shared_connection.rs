//! Connections that fleets of several namespaces share, credentials of the operator's own, and
//! client certificates that something else puts into the pods.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use sandbox_machine::{Language, Progress};
use serde_json::{Value, json};

use crate::{
    authority::{Authority, LONG, Signed, client_secret, operator_secret, secret},
    front::{Front, Keys},
    harness::{TEMPORAL, TestCluster, Workers, eventually, one_queue, throughout, with_namespace},
};

const KIND: &str = "ClusterTemporalConnection";
const KEY_OF_OPERATOR: &str = "key-of-the-operator";
const KEY_OF_WORKERS: &str = "key-of-the-workers";
/// A namespace that has no fleet.
const ELSEWHERE: &str = "elsewhere";
/// For how long a fleet that is held is watched.
const HELD: Duration = Duration::from_secs(8);
/// The folder in which a client certificate lies in the workers' pods.
const IDENTITY: &str = "/run/identity";
/// Copies the certificate and the key that an init container is given.
const COPY: &str = "
import shutil
for name in ('tls.crt', 'tls.key'):
    shutil.copy('/issued/' + name, '/run/identity/' + name)
";

/// The connections that are shared across namespaces.
fn connections(cluster: &TestCluster) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("taskqueue.dev", "v1alpha1", KIND);
    let resource = ApiResource::from_gvk_with_plural(&kind, "clustertemporalconnections");
    Api::all_with(cluster.client.clone(), &resource)
}

/// Applies the test's connection for these namespaces. It is named like the test's namespace, and
/// deleted with it.
async fn share(cluster: &TestCluster, namespaces: &[&str], mut spec: Value) -> anyhow::Result<()> {
    let name = &cluster.namespace;
    spec["namespaces"] = json!(namespaces);
    let connection = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": KIND,
        "metadata": {"name": name, "ownerReferences": [cluster.owner().await?]},
        "spec": spec,
    });
    let params = PatchParams::apply("cluster-test").force();
    let connections = connections(cluster);
    connections
        .patch(name, &params, &Patch::Apply(&connection))
        .await?;
    Ok(())
}

/// A fleet of one queue and at most one replica that refers to the test's connection.
fn fleet(cluster: &TestCluster, min: u32, scaling: &Value) -> anyhow::Result<Value> {
    let mut spec = one_queue(&cluster.queue("all"), min, 1, scaling);
    let fields = spec.as_object_mut().context("a spec is an object")?;
    fields.remove("connection");
    let reference = json!({"kind": KIND, "name": cluster.namespace});
    fields.insert("connectionRef".to_owned(), reference);
    Ok(spec)
}

/// Whether the front admitted the workers with this client certificate, and whether anybody else.
fn presented(front: &Front, certificate: &Signed, workers: &Workers) -> (bool, bool) {
    let of_workers = workers.addresses();
    let by = |worker: bool| {
        let connections = front.count(|seen| {
            seen.client.as_ref() == Some(&certificate.der)
                && of_workers.contains(&seen.peer) == worker
        });
        connections > 0
    };
    (by(true), by(false))
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_shared_connection_the_operator_and_the_workers_use_credentials_of_their_own() {
    with_namespace("credentials-of-their-own", |cluster| async move {
        let authority = Authority::new()?;
        let keys = Arc::new(Keys::default());
        keys.accept(&[KEY_OF_OPERATOR, KEY_OF_WORKERS]);
        let server = authority.server(&[&authority])?;
        let front = Front::with_keys(&cluster, server, keys.clone())?;
        let of_operator = authority.sign("operator", LONG)?;
        let of_workers = authority.sign("workers", LONG)?;
        let name = cluster.queue("operator");
        let ca = authority.certificate.as_str();
        operator_secret(&cluster, &name, ca, &of_operator, KEY_OF_OPERATOR).await?;
        // The authority of the workers has the name of the operator's, which is another Secret.
        secret(&cluster, &name, &[("ca.crt", ca)]).await?;
        client_secret(&cluster, "temporal-client", &of_workers).await?;
        secret(&cluster, "temporal-key", &[("key", KEY_OF_WORKERS)]).await?;
        let mut spec = front.connection(&json!({
            "caSecretRef": {"name": name},
            "clientCertificateSecretRef": {"name": "temporal-client"},
        }));
        spec["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
        spec["operatorCredentials"] = json!({
            "clientCertificateSecretRef": {"name": name},
            "apiKeySecretRef": {"name": name, "key": "api-key"},
        });
        share(&cluster, &[ELSEWHERE, &cluster.namespace], spec).await?;

        // From zero; then the worker stays for the rest of the test.
        let stays = json!({"cooldownPeriod": "5m"});
        cluster.apply(fleet(&cluster, 0, &stays)?).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let queue = cluster.queue("all");
        let order = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&order).await?;

        let workers = cluster.workers_run(1).await?;
        let by = [&of_workers, &of_operator].map(|one| presented(&front, one, &workers));
        assert_eq!(by, [(true, false), (false, true)]);
        let addresses = workers.addresses();
        let saw = |key: &str, by_worker: bool| {
            keys.saw(key, |peer| addresses.contains(peer) == by_worker)
        };
        let seen = [KEY_OF_WORKERS, KEY_OF_OPERATOR].map(|key| (saw(key, true), saw(key, false)));
        assert_eq!(seen, [(true, false), (false, true)]);
        assert_eq!(keys.take_refused(), Vec::new(), "every request had a key");

        is_reported(&cluster, &front, &of_operator).await?;
        cluster.shows_none_of(&[KEY_OF_OPERATOR, KEY_OF_WORKERS])
    })
    .await;
}

/// Waits until the status of the test's connection shows that it is valid, the fleet, and when the
/// operator's certificate expires.
async fn is_reported(
    cluster: &TestCluster,
    front: &Front,
    of_operator: &Signed,
) -> anyhow::Result<()> {
    let fleet = format!("{}/orders", cluster.namespace);
    eventually("the connection has a status", || async {
        let connection = connections(cluster).get(&cluster.namespace).await?;
        let status = &connection.data["status"];
        let conditions = status["conditions"].as_array();
        let is_valid = conditions.into_iter().flatten().any(|condition| {
            condition["type"] == "Ready"
                && condition["status"] == "True"
                && condition["reason"] == "ConnectionValid"
        });
        let ends = of_operator.ends.to_string();
        let certificates = status["certificates"].as_array();
        let has_certificate = certificates
            .into_iter()
            .flatten()
            .any(|certificate| certificate["use"] == "client" && certificate["notAfter"] == ends);
        Ok(
            if is_valid && has_certificate && status["fleets"] == json!([fleet]) {
                Ok(())
            } else {
                Err(status.to_string())
            },
        )
    })
    .await?;
    let shown = cluster.kubectl(&["get", "ctconn", &cluster.namespace, "--no-headers"])?;
    let columns: Vec<&str> = shown.split_whitespace().take(6).collect();
    let expected = [
        cluster.namespace.as_str(),
        front.address(),
        "default",
        "True",
        "ConnectionValid",
        "1",
    ];
    assert_eq!(columns, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_held_unless_the_shared_connection_lists_its_namespace() {
    with_namespace("namespaces-of-a-connection", |cluster| async move {
        let spec = json!({"address": TEMPORAL, "temporalNamespace": "default"});
        share(&cluster, &[ELSEWHERE], spec.clone()).await?;
        cluster.apply(fleet(&cluster, 1, &json!({}))?).await?;
        let condition = cluster
            .condition_is("Ready", "False", "ConnectionNotAllowed")
            .await?;
        for part in [KIND, cluster.namespace.as_str(), "spec.namespaces"] {
            assert!(condition.message.contains(part), "{}", condition.message);
        }
        cluster
            .condition_is("Stalled", "True", "ConnectionNotAllowed")
            .await?;
        throughout(HELD, "nothing is made for the fleet", || async {
            let workers = cluster.workers().await?;
            Ok(
                if workers.deployments.is_empty() && workers.pods.is_empty() {
                    Ok(())
                } else {
                    Err(format!("{workers:?}"))
                },
            )
        })
        .await?;

        let both = [ELSEWHERE, cluster.namespace.as_str()];
        share(&cluster, &both, spec.clone()).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        let (queue, order) = (cluster.queue("all"), json!({"total": 100}));
        let first = cluster.temporal.order(&queue, 0, order.clone())?;
        cluster.temporal.result(&first).await?;
        let before = cluster.workers_run(1).await?;

        share(&cluster, &[ELSEWHERE], spec.clone()).await?;
        cluster
            .condition_is("Ready", "False", "ConnectionNotAllowed")
            .await?;
        let second = cluster.temporal.order(&queue, 1, order)?;
        cluster.temporal.result(&second).await?;
        throughout(HELD, "the worker stays", || async {
            let untouched = cluster.untouched(&before, "the shorter list").await;
            Ok(untouched.map_err(|error| format!("{error:#}")))
        })
        .await?;

        share(&cluster, &both, spec).await?;
        cluster.condition_is("Ready", "True", "Available").await?;
        cluster.untouched(&before, "the list").await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_use_a_client_certificate_that_an_init_container_writes() {
    with_namespace("certificates-as-files", |cluster| async move {
        let authority = Authority::new()?;
        let front = Front::tls(&cluster, authority.server(&[&authority])?)?;
        let of_operator = authority.sign("operator", LONG)?;
        let of_workers = authority.sign("workers", LONG)?;
        let ca = [("ca.crt", authority.certificate.as_str())];
        secret(&cluster, "temporal-ca", &ca).await?;
        client_secret(&cluster, "operator", &of_operator).await?;
        client_secret(&cluster, "issued", &of_workers).await?;
        let stays = json!({"cooldownPeriod": "5m"});
        let mut spec = one_queue(&cluster.queue("all"), 0, 1, &stays);
        spec["connection"] = front.connection(&json!({
            "caSecretRef": {"name": "temporal-ca"},
            "clientCertificateFiles": {
                "certificate": format!("{IDENTITY}/tls.crt"),
                "privateKey": format!("{IDENTITY}/tls.key"),
            },
        }));
        spec["connection"]["operatorCredentials"] =
            json!({"clientCertificateSecretRef": {"name": "operator"}});
        receives_its_identity(&mut spec["template"]["spec"], &copier(&cluster).await?);
        cluster.apply(spec).await?;
        let queue = cluster.queue("all");
        let order = cluster.temporal.order(&queue, 0, json!({"total": 100}))?;
        cluster.temporal.result(&order).await?;

        let workers = cluster.workers_run(1).await?;
        let by = [&of_workers, &of_operator].map(|one| presented(&front, one, &workers));
        assert_eq!(by, [(true, false), (false, true)]);
        Ok(())
    })
    .await;
}

/// An image with an interpreter that can copy files.
async fn copier(cluster: &TestCluster) -> anyhow::Result<String> {
    let sandbox = cluster.sandbox.clone();
    let image = tokio::task::spawn_blocking(move || {
        sandbox.example_worker(Language::Python, Progress::silent())
    });
    Ok(image.await??)
}

/// Adds an init container of this image, which writes the client certificate into the pod.
fn receives_its_identity(pod: &mut Value, image: &str) {
    pod["volumes"] = json!([
        {"name": "issued", "secret": {"secretName": "issued"}},
        {"name": "identity", "emptyDir": {}},
    ]);
    pod["initContainers"] = json!([{
        "name": "issuer",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", COPY],
        "volumeMounts": [
            {"name": "issued", "mountPath": "/issued"},
            {"name": "identity", "mountPath": IDENTITY},
        ],
    }]);
    pod["containers"][0]["volumeMounts"] =
        json!([{"name": "identity", "mountPath": IDENTITY, "readOnly": true}]);
}
