//! Which objects the operator reads for a connection, and from which namespace.

use serde_json::{Value, json};
use taskqueue_api::{ConnectionReference, TemporalConnectionSpec, validate};

use super::*;

/// The objects of a connection, as (kind, namespace, name, keys).
fn read(kind: ConnectionKind, spec: Value) -> Vec<(ObjectKind, String, String, String)> {
    let spec: TemporalConnectionSpec = serde_json::from_value(spec).unwrap();
    let spec = validate::connection(&spec, "spec").unwrap();
    let name = "shared".to_owned();
    let source = ConnectionSource::Reference(ConnectionReference { kind, name });
    let namespaces = Namespaces::of(&source, "shop", "operator");
    let objects = objects(&spec, &namespaces).into_iter();
    let keys = |keys: BTreeSet<String>| keys.into_iter().collect::<Vec<_>>().join(",");
    objects
        .map(|(object, all)| (object.kind, object.namespace, object.name, keys(all)))
        .collect()
}

fn object(
    kind: ObjectKind,
    namespace: &str,
    name: &str,
    keys: &str,
) -> (ObjectKind, String, String, String) {
    (kind, namespace.to_owned(), name.to_owned(), keys.to_owned())
}

const SECRET: ObjectKind = ObjectKind::Secret;

fn complete() -> Value {
    json!({
        "address": "temporal:7233",
        "tls": {
            "caSecretRef": {"name": "ca"},
            "clientCertificateSecretRef": {"name": "client"},
        },
        "apiKeySecretRef": {"name": "ca", "key": "api"},
        "proxy": {"address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"}},
    })
}

#[test]
fn a_connection_needs_the_secrets_and_config_maps_that_it_names() {
    for kind in [
        ConnectionKind::TemporalConnection,
        ConnectionKind::ClusterTemporalConnection,
    ] {
        assert_eq!(
            read(kind, complete()),
            [
                object(SECRET, "shop", "ca", "api,ca.crt"),
                object(SECRET, "shop", "client", "tls.crt,tls.key"),
                object(SECRET, "shop", "proxy", "password,username"),
            ]
        );
    }
    // A Secret and a ConfigMap of one name are two objects.
    let mut of_map = complete();
    of_map["tls"] = json!({"caConfigMapRef": {"name": "ca"}});
    of_map["proxy"] = Value::Null;
    assert_eq!(
        read(ConnectionKind::TemporalConnection, of_map),
        [
            object(SECRET, "shop", "ca", "api"),
            object(ObjectKind::ConfigMap, "shop", "ca", "ca.crt"),
        ]
    );
    // Nothing is read for a proxy that is not used.
    let excluded = json!({
        "address": "temporal:7233",
        "proxy": {
            "address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"},
            "noProxy": ["temporal"],
        },
    });
    assert_eq!(read(ConnectionKind::TemporalConnection, excluded), []);
}

#[test]
fn credentials_of_the_operator_replace_those_of_the_workers() {
    let mut spec = complete();
    spec["operatorCredentials"] = json!({
        "clientCertificateSecretRef": {"name": "own"},
        "apiKeySecretRef": {"name": "ca", "key": "own"},
    });
    let presents_nothing = {
        let mut spec = spec.clone();
        spec["operatorCredentials"] = json!({});
        spec
    };
    // The operator's own namespace only for what nobody but a cluster's administrator writes.
    for (kind, namespace) in [
        (ConnectionKind::TemporalConnection, "shop"),
        (ConnectionKind::ClusterTemporalConnection, "operator"),
    ] {
        assert_eq!(
            read(kind, spec.clone()),
            [
                object(SECRET, namespace, "ca", "ca.crt,own"),
                object(SECRET, namespace, "own", "tls.crt,tls.key"),
                object(SECRET, namespace, "proxy", "password,username"),
            ]
        );
        assert_eq!(
            read(kind, presents_nothing.clone()),
            [
                object(SECRET, namespace, "ca", "ca.crt"),
                object(SECRET, namespace, "proxy", "password,username"),
            ]
        );
    }
}
