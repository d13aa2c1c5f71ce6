//! Whole rendered objects. A change of a pod template here rolls every fleet at its upgrade: it
//! must be intended, and the changelog must mention it.

use serde_json::json;
use taskqueue_testkit::malformed::well_formed;

use super::render;
use crate::connection::TemporalConnection;
use crate::fleet::{ConnectionSource, Fleet};
use crate::validate;
use crate::worker::TaskQueueWorker;

const ORDERS: &str = include_str!("../../../../crds/examples/orders.yaml");
const TLS_API_KEY: &str = include_str!("../../../../crds/examples/tls-api-key.yaml");
const TEMPLATES: &str = include_str!("../../../../crds/examples/templates.yaml");
const CONNECTION: &str = include_str!("../../../../crds/examples/connection.yaml");

fn fleet(yaml: &str) -> Fleet {
    let mut worker: TaskQueueWorker = serde_saphyr::from_str(yaml).unwrap();
    worker.metadata.uid = Some("00000000-0000-0000-0000-000000000001".to_owned());
    worker.metadata.generation = Some(1);
    validate(&worker).unwrap()
}

fn inline(fleet: &Fleet) -> &crate::Connection {
    match &fleet.connection {
        ConnectionSource::Inline(connection) => connection,
        ConnectionSource::Reference(to) => panic!("{to} is a reference"),
    }
}

#[test]
fn the_fleet_of_the_demo_is_rendered() {
    let fleet = fleet(ORDERS);
    for queue in &fleet.queues {
        insta::assert_yaml_snapshot!(
            format!("orders_{}", queue.name),
            render(&fleet, queue, inline(&fleet))
        );
    }
}

#[test]
fn tls_an_api_key_and_changes_of_a_queue_are_rendered() {
    let fleet = fleet(TLS_API_KEY);
    insta::assert_yaml_snapshot!(render(&fleet, &fleet.queues[0], inline(&fleet)));
}

#[test]
fn templates_of_queues_and_settings_of_deployments_are_rendered() {
    let fleet = fleet(TEMPLATES);
    for queue in &fleet.queues {
        insta::assert_yaml_snapshot!(
            format!("media_{}", queue.name),
            render(&fleet, queue, inline(&fleet))
        );
    }
}

#[test]
fn a_deployment_is_recreated_without_steps() {
    let mut resource = well_formed();
    resource["metadata"]["uid"] = json!("u");
    resource["spec"]["deployment"] = json!({"strategy": {"type": "Recreate"}});
    let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
    let deployment = render(&fleet, &fleet.queues[0], inline(&fleet));
    assert_eq!(
        serde_json::to_value(deployment.spec.unwrap().strategy).unwrap(),
        json!({"type": "Recreate"})
    );
}

#[test]
fn a_shared_connection_with_a_client_certificate_is_rendered() {
    let documents: Vec<&str> = CONNECTION.split("---\n").collect();
    let connection: TemporalConnection = serde_saphyr::from_str(documents[0]).unwrap();
    let connection = validate::connection(&connection.spec, "spec").unwrap();
    let fleet = fleet(documents[1]);
    insta::assert_yaml_snapshot!(render(&fleet, &fleet.queues[0], &connection));
}

/// A bundle that a tool such as trust-manager distributes is the same file in the pods.
#[test]
fn certificate_authorities_of_a_config_map_are_mounted_like_those_of_a_secret() {
    let rendered = |tls: serde_json::Value| {
        let mut resource = well_formed();
        resource["metadata"]["uid"] = json!("u");
        resource["spec"]["connection"] = json!({"address": "temporal:7233", "tls": tls});
        let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
        let deployment = render(&fleet, &fleet.queues[0], inline(&fleet));
        serde_json::to_value(deployment).unwrap()
    };
    let mut of_map = rendered(json!({"caConfigMapRef": {"name": "bundle", "key": "bundle.pem"}}));
    // After the volume of the template.
    let source = "/spec/template/spec/volumes/1/projected/sources/0";
    let items = json!([{"key": "bundle.pem", "path": "ca.crt"}]);
    assert_eq!(
        of_map.pointer(source),
        Some(&json!({"configMap": {"name": "bundle", "items": items}}))
    );
    let of_secret = rendered(json!({"caSecretRef": {"name": "bundle", "key": "bundle.pem"}}));
    *of_map.pointer_mut(source).unwrap() = json!({"secret": {"name": "bundle", "items": items}});
    assert_eq!(of_map, of_secret);
}

/// The variables of the first queue's worker, as (name, value or Secret and key).
fn variables(connection: serde_json::Value, users: serde_json::Value) -> Vec<(String, String)> {
    let mut resource = well_formed();
    resource["metadata"]["uid"] = json!("u");
    resource["spec"]["connection"] = connection;
    resource["spec"]["template"]["spec"]["containers"][0]["env"] = users;
    let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
    let deployment = render(&fleet, &fleet.queues[0], inline(&fleet));
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    let env = pod.containers[0].env.clone().unwrap();
    let value = |variable: k8s_openapi::api::core::v1::EnvVar| {
        let secret = variable.value_from.and_then(|from| from.secret_key_ref);
        let secret = secret.map(|secret| format!("{}/{}", secret.name, secret.key));
        (variable.name, secret.or(variable.value).unwrap_or_default())
    };
    env.into_iter().map(value).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn a_worker_gets_the_proxy_with_its_password_only_by_reference() {
    let connection = json!({
        "address": "temporal:7233",
        "proxy": {
            "address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"},
            "noProxy": ["kafka", "10.0.0.0/8"],
        },
    });
    let own = json!([{"name": "HTTPS_PROXY", "value": "http://$(TASKQUEUE_PROXY_ADDRESS)"}]);
    assert_eq!(
        variables(connection.clone(), own)[4..],
        pairs(&[
            ("TASKQUEUE_PROXY_ADDRESS", "proxy:3128"),
            ("TASKQUEUE_PROXY_USERNAME", "proxy/username"),
            ("TASKQUEUE_PROXY_PASSWORD", "proxy/password"),
            ("HTTPS_PROXY", "http://$(TASKQUEUE_PROXY_ADDRESS)"),
        ])
    );
    // They are not reserved: a variable of the template wins.
    let own = json!([{"name": "TASKQUEUE_PROXY_PASSWORD", "value": "other"}]);
    assert_eq!(
        variables(connection, own)[4..],
        pairs(&[
            ("TASKQUEUE_PROXY_ADDRESS", "proxy:3128"),
            ("TASKQUEUE_PROXY_USERNAME", "proxy/username"),
            ("TASKQUEUE_PROXY_PASSWORD", "other"),
        ])
    );
}

#[test]
fn a_client_certificate_in_files_has_variables_and_no_volume() {
    let connection = |tls: serde_json::Value| {
        json!({
            "address": "temporal:7233", "tls": tls,
            "operatorCredentials": {"clientCertificateSecretRef": {"name": "own"}},
        })
    };
    let files = connection(json!({"clientCertificateFiles": {
        "certificate": "/run/spiffe/svid.pem", "privateKey": "/run/spiffe/key.pem",
    }}));
    assert_eq!(
        variables(files.clone(), json!([]))[4..],
        pairs(&[
            ("TEMPORAL_TLS", "true"),
            ("TEMPORAL_TLS_CLIENT_CERT_PATH", "/run/spiffe/svid.pem"),
            ("TEMPORAL_TLS_CLIENT_KEY_PATH", "/run/spiffe/key.pem"),
        ])
    );
    let rendered = |connection: serde_json::Value| {
        let mut resource = well_formed();
        resource["metadata"]["uid"] = json!("u");
        resource["spec"]["connection"] = connection;
        let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
        let deployment = render(&fleet, &fleet.queues[0], inline(&fleet));
        serde_json::to_value(deployment.spec.unwrap().template.spec.unwrap()).unwrap()
    };
    let volumes = |connection| rendered(connection)["volumes"].clone();
    assert_eq!(volumes(files), volumes(connection(json!({}))));
    // The credentials of the operator are not in the pods at all.
    let mut without = connection(json!({}));
    without["operatorCredentials"] = serde_json::Value::Null;
    assert_eq!(rendered(connection(json!({}))), rendered(without));
}

#[test]
fn an_address_that_is_excluded_from_the_proxy_is_rendered_without_one() {
    let direct = json!({"address": "temporal.shop.svc:7233"});
    let excluded = json!({
        "address": "temporal.shop.svc:7233",
        "proxy": {
            "address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"},
            "noProxy": [".svc"],
        },
    });
    let none = || json!([]);
    assert_eq!(variables(excluded, none()), variables(direct, none()));
}

/// Everything that a user writes around the worker stays as it is and where it is.
#[test]
fn the_users_labels_volumes_and_container_order_are_kept() {
    let mut resource = well_formed();
    resource["metadata"]["uid"] = json!("u");
    resource["spec"]["connection"] =
        json!({"address": "temporal:7233", "tls": {"caSecretRef": {"name": "ca"}}});
    let template = &mut resource["spec"]["template"];
    template["metadata"]["labels"] = json!({"app.kubernetes.io/name": "mine", "team": "orders"});
    template["spec"]["containers"] = json!([
        {"name": "before", "image": "b"},
        {
            "name": "worker", "image": "w",
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
        },
        {"name": "after", "image": "a"},
    ]);
    let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
    insta::assert_yaml_snapshot!(render(&fleet, &fleet.queues[1], inline(&fleet)));
}

#[test]
fn injected_values_are_literal() {
    let mut resource = well_formed();
    resource["metadata"]["uid"] = json!("u");
    resource["spec"]["queues"][1]["taskQueue"] = json!("pay$(HOME)$$");
    let fleet = validate(&serde_json::from_value(resource).unwrap()).unwrap();
    let deployment = render(&fleet, &fleet.queues[1], inline(&fleet));
    let pod = deployment.spec.unwrap().template.spec.unwrap();
    let env: Vec<(String, Option<String>)> = pod.containers[0]
        .env
        .iter()
        .flatten()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
    assert_eq!(
        env,
        [
            pair("TEMPORAL_ADDRESS", "temporal:7233"),
            pair("TEMPORAL_NAMESPACE", "default"),
            pair("TEMPORAL_TASK_QUEUE", "pay$$(HOME)$$$$"),
            pair("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "600"),
            pair("A", "1"),
        ]
    );
    assert_eq!(
        deployment.metadata.annotations.unwrap()["taskqueue.dev/task-queue"],
        "pay$(HOME)$$"
    );
}
