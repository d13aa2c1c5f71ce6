//! What is reported long before, shortly before and after a certificate expires.

use rcgen::{CertificateParams, DnType, KeyPair};
use taskqueue_api::Connection;
use taskqueue_api::fleet::{ObjectKey, OperatorCredentials, Tls};
use taskqueue_temporal::{ConnectionFields, ResolvedConnection};

use super::*;
use crate::observe::connection::parts::Namespaces;
use crate::testing::{in_one, simple, usable};

const WEEK: Duration = Duration::from_hours(7 * 24);

/// A connection whose CA certificate expires at the beginning of 2030.
fn connection(kind: ObjectKind) -> Usable {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "shop CA");
    params.not_after = rcgen::date_time_ymd(2030, 1, 1);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let plain = usable(&simple());
    let spec = Connection {
        tls: Some(Tls {
            ca: Some(ObjectKey {
                kind,
                name: "temporal-ca".to_owned(),
                key: "ca.crt".to_owned(),
            }),
            ..Tls::default()
        }),
        ..plain.spec
    };
    let fields = ConnectionFields {
        address: spec.address.clone(),
        temporal_namespace: spec.temporal_namespace.clone(),
        tls: Some(taskqueue_temporal::Tls {
            ca_pem: Some(pem.into_bytes()),
            ..taskqueue_temporal::Tls::default()
        }),
        ..ConnectionFields::default()
    };
    Usable {
        spec,
        namespaces: in_one("shop"),
        resolved: ResolvedConnection::new(fields).unwrap(),
    }
}

fn condition(now: &str) -> (&'static str, &'static str, String) {
    let connection = connection(ObjectKind::Secret);
    let certificates = Certificates::of(&connection, now.parse().unwrap());
    let draft = certificates.draft(WEEK).unwrap();
    (draft.status.as_str(), draft.reason.as_str(), draft.message)
}

#[test]
fn a_certificate_is_reported_before_and_after_it_expires() {
    let valid = "no certificate of the connection expires soon".to_owned();
    assert_eq!(
        condition("2029-12-24T23:59:59Z"),
        ("False", "CertificatesValid", valid)
    );
    let soon = "the CA certificate \"CN=shop CA\" in Secret temporal-ca expires at \
                2030-01-01T00:00:00Z; renew it in the Secret before that, while the old one is \
                still valid: the operator uses the new one within about 30s, and the workers get \
                it as a file"
        .to_owned();
    for now in ["2029-12-25T00:00:00Z", "2030-01-01T00:00:00Z"] {
        assert_eq!(
            condition(now),
            ("True", "ExpiresSoon", soon.clone()),
            "{now}"
        );
    }
    let gone = "the CA certificate \"CN=shop CA\" in Secret temporal-ca expired at \
                2030-01-01T00:00:00Z: new connections to Temporal fail; renew it in the \
                Secret"
        .to_owned();
    assert_eq!(condition("2030-01-01T00:00:01Z"), ("True", "Expired", gone));
}

#[test]
fn a_connection_without_certificates_reports_nothing() {
    let now = "2029-12-25T00:00:00Z".parse().unwrap();
    let plain = usable(&simple());
    let none = Certificates::of(&plain, now);
    assert_eq!(none.draft(WEEK), None);
    assert_eq!(none.numbers(), []);
    assert_eq!(
        Certificates::of(&connection(ObjectKind::Secret), now).numbers(),
        [CertificateNumbers {
            certificate: "ca",
            secret: "temporal-ca".to_owned(),
            config_map: String::new(),
            expires: 1_893_456_000,
        }]
    );
}

#[test]
fn a_certificate_in_a_config_map_is_reported_with_that() {
    let now = "2030-01-01T00:00:01Z".parse().unwrap();
    let connection = connection(ObjectKind::ConfigMap);
    let certificates = Certificates::of(&connection, now);
    assert_eq!(
        certificates.draft(WEEK).unwrap().message,
        "the CA certificate \"CN=shop CA\" in ConfigMap temporal-ca expired at \
         2030-01-01T00:00:00Z: new connections to Temporal fail; renew it in the ConfigMap"
    );
    assert_eq!(
        certificates.numbers(),
        [CertificateNumbers {
            certificate: "ca",
            secret: String::new(),
            config_map: "temporal-ca".to_owned(),
            expires: 1_893_456_000,
        }]
    );
    assert_eq!(
        serde_json::to_value(certificates.statuses()).unwrap(),
        serde_json::json!([{
            "use": "ca", "configMapName": "temporal-ca", "notAfter": "2030-01-01T00:00:00Z",
        }])
    );
}

/// The client certificate of an operator's own credentials, in the namespace of the operator.
#[test]
fn a_certificate_of_the_operator_alone_is_reported_with_its_namespace() {
    let (certificate, key) = crate::observe::connection::tests::issued();
    let mut usable = usable(&simple());
    usable.spec.tls = Some(Tls::default());
    usable.spec.operator_credentials = Some(OperatorCredentials {
        client_certificate: Some("operator".to_owned()),
        api_key: None,
    });
    usable.namespaces = Namespaces {
        fleet: "shop".to_owned(),
        operator: "taskqueue-system".to_owned(),
    };
    let fields = ConnectionFields {
        address: usable.spec.address.clone(),
        temporal_namespace: usable.spec.temporal_namespace.clone(),
        tls: Some(taskqueue_temporal::Tls {
            client: Some(taskqueue_temporal::ClientCertificate {
                certificate_pem: certificate.into_bytes(),
                key_pem: taskqueue_temporal::Secret::new(key),
            }),
            ..taskqueue_temporal::Tls::default()
        }),
        ..ConnectionFields::default()
    };
    usable.resolved = ResolvedConnection::new(fields).unwrap();
    let certificates = Certificates::of(&usable, "4095-12-31T00:00:00Z".parse().unwrap());
    assert_eq!(
        certificates.draft(WEEK).unwrap().message,
        "the client certificate \"CN=rcgen self signed cert\" in Secret operator in namespace \
         taskqueue-system expires at 4096-01-01T00:00:00Z; renew it in the Secret before that, \
         while the old one is still valid: the operator uses the new one within about 30s"
    );
    assert_eq!(
        certificates.numbers(),
        [CertificateNumbers {
            certificate: "client",
            secret: "taskqueue-system/operator".to_owned(),
            config_map: String::new(),
            expires: 67_090_118_400,
        }]
    );
    assert_eq!(
        serde_json::to_value(certificates.statuses()).unwrap(),
        serde_json::json!([{
            "use": "client", "secretName": "operator", "notAfter": "4096-01-01T00:00:00Z",
        }])
    );
}
