//! Connections: what they become, the proxy, the certificates and the operator's own credentials.

use super::*;
use crate::cluster_connection::{
    ClusterTemporalConnectionSpec, ConnectionKind, ConnectionReference,
};
use crate::connection::TemporalConnectionSpec;
use crate::fleet::{
    ClientCertificate, Connection, ConnectionSource, ObjectKey, ObjectKind, Proxy, SecretKey, Tls,
};

fn key(secret: &str, key: &str) -> SecretKey {
    SecretKey {
        secret: secret.to_owned(),
        key: key.to_owned(),
    }
}

#[test]
fn a_connection_names_secrets_and_config_maps() {
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
    let ConnectionSource::Inline(connection) = fleet.connection else {
        panic!("not inline")
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
                client_certificate: Some(ClientCertificate::Secret("client".to_owned())),
            }),
            api_key: Some(key("ca", "api")),
            proxy: None,
            operator_credentials: None,
        }
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
        ConnectionSource::Reference(to) => panic!("{to} is a reference"),
    };
    let used = connection(json!(["other"]));
    assert_eq!(
        used.proxy,
        Some(Proxy {
            address: "proxy:3128".to_owned(),
            credentials: Some("proxy".to_owned()),
        })
    );
    assert_eq!(connection(json!(["temporal"])).proxy, None);
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

#[test]
fn a_fleet_refers_to_a_connection_of_its_namespace_unless_it_names_the_kind() {
    let referring = |to: Value| {
        let worker = worker(|resource| {
            let spec = resource["spec"].as_object_mut().unwrap();
            spec.remove("connection");
            spec.insert("connectionRef".to_owned(), to.clone());
        });
        // What a user leaves out stays out.
        let reference = serde_json::to_value(&worker.spec.connection_ref).unwrap();
        assert_eq!(reference, to);
        validate(&worker).unwrap().connection
    };
    let to = |kind| {
        let name = "shared".to_owned();
        ConnectionSource::Reference(ConnectionReference { kind, name })
    };
    assert_eq!(
        referring(json!({"name": "shared"})),
        to(ConnectionKind::TemporalConnection)
    );
    assert_eq!(
        referring(json!({"kind": "ClusterTemporalConnection", "name": "shared"})),
        to(ConnectionKind::ClusterTemporalConnection)
    );
}

#[test]
fn a_connection_of_the_cluster_has_the_fields_of_one_of_a_namespace() {
    let spec = json!({
        "namespaces": ["shop", "billing"], "address": "temporal:7233",
        "temporalNamespace": "default",
        "tls": {"serverName": "temporal.example"},
        "operatorCredentials": {"apiKeySecretRef": {"name": "own", "key": "key"}},
    });
    let read: ClusterTemporalConnectionSpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(read.namespaces, ["shop", "billing"]);
    assert_eq!(serde_json::to_value(&read).unwrap(), spec);
    let mut same = spec;
    same.as_object_mut().unwrap().remove("namespaces");
    let same: TemporalConnectionSpec = serde_json::from_value(same).unwrap();
    assert_eq!(read.connection, same);
}

fn parsed(spec: Value) -> Result<Connection, Vec<String>> {
    let spec: TemporalConnectionSpec = serde_json::from_value(spec).unwrap();
    let told =
        |errors: Vec<crate::fleet::Invalid>| errors.iter().map(ToString::to_string).collect();
    crate::validate::connection(&spec, "spec").map_err(told)
}

#[test]
fn the_operator_presents_its_own_credentials_if_it_has_any() {
    let spec = |own: Value| {
        json!({
            "address": "temporal:7233", "operatorCredentials": own,
            "tls": {"clientCertificateSecretRef": {"name": "client"}},
            "apiKeySecretRef": {"name": "key", "key": "key"},
        })
    };
    let presents = |own: Value| {
        let connection = parsed(spec(own)).unwrap();
        (
            connection.operator_client_certificate().map(str::to_owned),
            connection.operator_api_key().cloned(),
        )
    };
    let of_workers = (Some("client".to_owned()), Some(key("key", "key")));
    assert_eq!(presents(Value::Null), of_workers);
    assert_eq!(presents(json!({})), (None, None));
    assert_eq!(
        presents(json!({
            "clientCertificateSecretRef": {"name": "own"},
            "apiKeySecretRef": {"name": "own-key", "key": "k"},
        })),
        (Some("own".to_owned()), Some(key("own-key", "k")))
    );
}

#[test]
fn what_is_the_same_for_all_fleets_names_no_object_of_a_fleet() {
    let connection = parsed(json!({
        "address": "temporal:7233",
        "tls": {
            "serverName": "temporal.example", "caSecretRef": {"name": "ca"},
            "clientCertificateSecretRef": {"name": "client"},
        },
        "apiKeySecretRef": {"name": "key", "key": "key"},
        "proxy": {"address": "proxy:3128", "credentialsSecretRef": {"name": "proxy"}},
    }));
    assert_eq!(
        connection.unwrap().without_objects_of_fleets(),
        Connection {
            address: "temporal:7233".to_owned(),
            temporal_namespace: "default".to_owned(),
            tls: Some(Tls {
                server_name: Some("temporal.example".to_owned()),
                ..Tls::default()
            }),
            api_key: None,
            proxy: Some(Proxy {
                address: "proxy:3128".to_owned(),
                credentials: None,
            }),
            operator_credentials: None,
        }
    );
}

#[test]
fn credentials_of_the_operator_need_tls_and_files_need_such_credentials() {
    let address = "temporal:7233";
    let own = json!({"apiKeySecretRef": {"name": "own", "key": "key"}});
    let files = json!({"certificate": "/run/spiffe/svid.pem", "privateKey": "/run/spiffe/key.pem"});
    let with_tls = json!({"address": address, "operatorCredentials": own, "tls": {}});
    assert!(parsed(with_tls).is_ok());
    let nothing = json!({"address": address, "operatorCredentials": {}});
    assert!(parsed(nothing).is_ok());
    let refused = |spec| parsed(spec).unwrap_err().join("; ");
    let without_tls = refused(json!({"address": address, "operatorCredentials": own}));
    assert!(
        without_tls.starts_with("spec.operatorCredentials: operatorCredentials needs tls"),
        "{without_tls}"
    );
    let with_files = |more: Value| {
        let mut tls = json!({"clientCertificateFiles": files});
        for (field, value) in more.as_object().unwrap() {
            tls[field] = value.clone();
        }
        json!({"address": address, "tls": tls, "operatorCredentials": {}})
    };
    let client = parsed(with_files(json!({}))).unwrap().tls.unwrap();
    assert_eq!(
        client.client_certificate,
        Some(ClientCertificate::Files {
            certificate: "/run/spiffe/svid.pem".to_owned(),
            private_key: "/run/spiffe/key.pem".to_owned(),
        })
    );
    let both = with_files(json!({"clientCertificateSecretRef": {"name": "client"}}));
    assert_eq!(
        refused(both),
        "spec.tls.clientCertificateFiles: set clientCertificateSecretRef or \
         clientCertificateFiles, not both"
    );
    let mut alone = with_files(json!({}));
    alone["operatorCredentials"] = Value::Null;
    let alone = refused(alone);
    assert!(
        alone.starts_with(
            "spec.tls.clientCertificateFiles: clientCertificateFiles needs operatorCredentials"
        ),
        "{alone}"
    );
    for path in ["svid.pem", "/run/", "/run/\0"] {
        let mut spec = with_files(json!({}));
        spec["tls"]["clientCertificateFiles"]["privateKey"] = json!(path);
        assert_eq!(
            refused(spec),
            "spec.tls.clientCertificateFiles.privateKey: the path of a file must be absolute, such \
             as /run/spiffe/svid.pem"
        );
    }
}
