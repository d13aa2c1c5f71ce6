//! Connections: the objects that they need, the proxy and the certificate authorities.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::fleet::{Connection, ConnectionSource, ObjectKey, ObjectKind, Proxy, SecretKey, Tls};

#[test]
fn a_connection_names_the_secrets_and_config_maps_it_needs() {
    let fleet = validate(&worker(|resource| {
        resource["spec"]["connection"] = json!({
            "address": "temporal:7233",
            "temporalNamespace": "shop",
            "tls": {
                "serverName": "temporal.example",
                "caSecretRef": {"name": "ca"},
                "clientCertificateSecretRef": {"name": "client"},
            },
            "apiKeySecretRef": {"name": "ca", "key": "api"},
        });
    }))
    .unwrap();
    let ConnectionSource::Inline(mut connection) = fleet.connection else {
        panic!("not inline")
    };
    let key = |secret: &str, key: &str| SecretKey {
        secret: secret.to_owned(),
        key: key.to_owned(),
    };
    assert_eq!(
        *connection,
        Connection {
            address: "temporal:7233".to_owned(),
            temporal_namespace: "shop".to_owned(),
            tls: Some(Tls {
                server_name: Some("temporal.example".to_owned()),
                ca: Some(ObjectKey {
                    kind: ObjectKind::Secret,
                    name: "ca".to_owned(),
                    key: "ca.crt".to_owned(),
                }),
                client_certificate: Some("client".to_owned()),
            }),
            api_key: Some(key("ca", "api")),
            proxy: None,
        }
    );
    assert_eq!(
        connection.objects(),
        BTreeMap::from([
            (
                (ObjectKind::Secret, "ca"),
                BTreeSet::from(["api", "ca.crt"])
            ),
            (
                (ObjectKind::Secret, "client"),
                BTreeSet::from(["tls.crt", "tls.key"])
            ),
        ])
    );
    // A Secret and a ConfigMap of one name are two objects.
    connection.tls.as_mut().unwrap().ca.as_mut().unwrap().kind = ObjectKind::ConfigMap;
    let keys = |object| connection.objects().remove(&object);
    assert_eq!(
        [
            keys((ObjectKind::Secret, "ca")),
            keys((ObjectKind::ConfigMap, "ca"))
        ],
        [
            Some(BTreeSet::from(["api"])),
            Some(BTreeSet::from(["ca.crt"]))
        ]
    );
}

#[test]
fn a_proxy_has_an_address_and_names_its_secret() {
    let fleet = |no_proxy: Value| {
        worker(|resource| {
            resource["spec"]["connection"] = json!({
                "address": "temporal:7233",
                "proxy": {
                    "address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"},
                    "noProxy": no_proxy,
                },
            });
        })
    };
    let connection = |no_proxy| match validate(&fleet(no_proxy)).unwrap().connection {
        ConnectionSource::Inline(connection) => *connection,
        ConnectionSource::Reference(name) => panic!("{name} is a reference"),
    };
    let used = connection(json!(["other"]));
    assert_eq!(
        used.proxy,
        Some(Proxy {
            address: "proxy:3128".to_owned(),
            credentials: Some("proxy".to_owned()),
        })
    );
    assert_eq!(
        used.objects(),
        BTreeMap::from([(
            (ObjectKind::Secret, "proxy"),
            BTreeSet::from(["username", "password"])
        )])
    );
    // Nothing is read for a proxy that is not used.
    let excluded = connection(json!(["temporal"]));
    assert_eq!(
        (&excluded.proxy, excluded.objects()),
        (&None, BTreeMap::new())
    );
    let refused = refusals(|resource| {
        resource["spec"]["connection"]["proxy"] = json!({"address": "http://proxy:3128"});
    });
    assert_eq!(
        refused,
        [
            "spec.connection.proxy.address: the address of a proxy must be host:port without a \
             scheme, such as proxy.example.com:3128"
        ]
    );
}

/// The API server refuses it. An object from before that rule is a mistake too.
#[test]
fn certificate_authorities_come_from_one_object() {
    let refused = refusals(|resource| {
        resource["spec"]["connection"]["tls"] =
            json!({"caSecretRef": {"name": "ca"}, "caConfigMapRef": {"name": "ca"}});
    });
    assert_eq!(
        refused,
        ["spec.connection.tls.caConfigMapRef: set caSecretRef or caConfigMapRef, not both"]
    );
}
