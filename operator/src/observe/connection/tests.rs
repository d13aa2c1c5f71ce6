//! Errors of a connection name the Secret and what is wrong with it, and never quote its value.

mod often;

use k8s_openapi::ByteString;
use proptest::prelude::*;
use serde_json::{Value, json};
use taskqueue_api::fleet::{
    ClientCertificate as SpecClientCertificate, ObjectKey, ObjectKind, Proxy as SpecProxy,
    SecretKey, Tls as SpecTls,
};
use taskqueue_testkit::exposure::exposed;

use super::*;
use crate::testing::{NOW, api, failure, in_one, simple, usable};

/// A certificate and its key.
pub(crate) fn issued() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["client.test".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).unwrap();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    (certificate, key.serialize_pem())
}

/// A Secret as the API server returns it.
pub(crate) fn secret(name: &str, values: &[(&str, &[u8])]) -> Value {
    let data: BTreeMap<&str, ByteString> = values
        .iter()
        .map(|(key, value)| (*key, ByteString(value.to_vec())))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": "shop"}, "data": data,
    })
}

/// The connection of the simple fleet, with TLS.
fn with_tls(tls: SpecTls, api_key: Option<SecretKey>) -> Connection {
    Connection {
        tls: Some(tls),
        api_key,
        ..usable(&simple()).spec
    }
}

fn at(secret: &str, key: &str) -> SecretKey {
    SecretKey {
        secret: secret.to_owned(),
        key: key.to_owned(),
    }
}

/// The key `ca.crt` of the object `ca`.
fn ca(kind: ObjectKind) -> ObjectKey {
    ObjectKey {
        kind,
        name: "ca".to_owned(),
        key: "ca.crt".to_owned(),
    }
}

/// A connection with every possible credential, in the Secrets `ca`, `client`, `key` and `proxy`.
fn complete() -> Connection {
    let tls = SpecTls {
        ca: Some(ca(ObjectKind::Secret)),
        client_certificate: Some(SpecClientCertificate::Secret("client".to_owned())),
        server_name: None,
    };
    let proxy = SpecProxy {
        address: "proxy:3128".to_owned(),
        credentials: Some("proxy".to_owned()),
    };
    Connection {
        proxy: Some(proxy),
        ..with_tls(tls, Some(at("key", "key")))
    }
}

/// Valid values for all credentials of `complete`.
fn good() -> BTreeMap<(&'static str, &'static str), Vec<u8>> {
    let (certificate, key) = issued();
    BTreeMap::from([
        (("ca", "ca.crt"), certificate.clone().into_bytes()),
        (("client", "tls.crt"), certificate.into_bytes()),
        (("client", "tls.key"), key.into_bytes()),
        (("key", "key"), b"an-api-key-of-some-length".to_vec()),
        (("proxy", "username"), b"operator".to_vec()),
        (("proxy", "password"), b"a-password-of-some-length".to_vec()),
    ])
}

/// Resolves a connection of a fleet.
async fn of_fleet(
    secrets: &Secrets,
    fleet: &Fleet,
    spec: &Connection,
    doubtful: bool,
    now: Time,
) -> Result<Usable, NotReady> {
    let (namespaces, source) = (in_one(&fleet.key.namespace), &fleet.connection);
    resolve(secrets, &namespaces, source, spec, doubtful, now).await
}

/// Resolves a connection whose Secrets have these values.
async fn resolved(
    fleet: &Fleet,
    spec: &Connection,
    values: BTreeMap<(&'static str, &'static str), Vec<u8>>,
) -> Result<Usable, NotReady> {
    let (client, _) = api(move |request| {
        let name = request
            .line
            .rsplit(['/', '?'])
            .find(|part| !part.is_empty());
        let name = name.unwrap_or_default().to_owned();
        let of_it: Vec<(&str, &[u8])> = values
            .iter()
            .filter(|((secret, _), _)| *secret == name)
            .map(|((_, key), value)| (*key, value.as_slice()))
            .collect();
        (200, secret(&name, &of_it))
    });
    of_fleet(&Secrets::new(client), fleet, spec, false, NOW).await
}

#[tokio::test]
async fn problems_are_reported_with_the_secret_and_its_key() {
    let (_, other_key) = issued();
    let broken = other_key.replace('\n', "\\n");
    let lost = "has lost its line breaks, which became \\n, spaces or nothing; store the \
                unchanged file, for example with kubectl create secret and --from-file";
    for (at, value, message) in [
        (
            ("client", "tls.key"),
            broken.clone(),
            format!("Secret client, key tls.key in namespace shop: the client key {lost}"),
        ),
        (
            ("client", "tls.crt"),
            broken.clone(),
            format!("Secret client, key tls.crt in namespace shop: the client certificate {lost}"),
        ),
        (
            ("ca", "ca.crt"),
            broken,
            format!("Secret ca, key ca.crt in namespace shop: the CA certificate {lost}"),
        ),
        (
            ("client", "tls.key"),
            other_key,
            "Secret client, key tls.key in namespace shop: the client certificate and the client \
             key do not match"
                .to_owned(),
        ),
        (
            ("key", "key"),
            String::new(),
            "Secret key, key key in namespace shop: the API key is empty".to_owned(),
        ),
        (
            ("proxy", "username"),
            "a:b".to_owned(),
            "Secret proxy, key username in namespace shop: the user name for the proxy contains a \
             colon, which no user name of the scheme Basic can contain"
                .to_owned(),
        ),
        (
            ("proxy", "password"),
            "\n".to_owned(),
            "Secret proxy, key password in namespace shop: the password for the proxy is empty"
                .to_owned(),
        ),
    ] {
        let values = good().into_iter().chain([(at, value.into_bytes())]);
        let told_by = resolved(&simple(), &complete(), values.collect()).await;
        let why = NotReady::new(Reason::SecretInvalid, message);
        assert_eq!(told_by.unwrap_err(), why);
    }
    assert!(resolved(&simple(), &complete(), good()).await.is_ok());
}

#[tokio::test]
async fn an_invalid_address_is_a_mistake_in_the_spec_and_not_in_a_secret() {
    let mut fleet = simple();
    let spec = Connection {
        address: "999.1.1.1:7233".to_owned(),
        ..complete()
    };
    let why = "address \"999.1.1.1:7233\" is not a valid host:port, as in \
               temporal-frontend.temporal.svc:7233";
    assert_eq!(
        resolved(&fleet, &spec, good()).await.unwrap_err(),
        NotReady::new(Reason::InvalidSpec, format!("spec.connection: {why}"))
    );
    for (kind, named) in [
        (
            ConnectionKind::TemporalConnection,
            "TemporalConnection shared",
        ),
        (
            ConnectionKind::ClusterTemporalConnection,
            "ClusterTemporalConnection shared",
        ),
    ] {
        let name = "shared".to_owned();
        fleet.connection = ConnectionSource::Reference(ConnectionReference { kind, name });
        assert_eq!(
            resolved(&fleet, &spec, good()).await.unwrap_err(),
            NotReady::new(Reason::ConnectionInvalid, format!("{named}: {why}"))
        );
    }
}

#[tokio::test]
async fn a_secret_that_was_not_read_is_not_missing() {
    let spec = with_tls(
        SpecTls {
            ca: Some(ca(ObjectKind::Secret)),
            client_certificate: None,
            server_name: None,
        },
        None,
    );
    let token = "a-value-that-is-no-base64-and-secret";
    for (code, answer, reason, why) in [
        (
            404,
            failure(404, "NotFound", "not found"),
            Reason::SecretNotFound,
            "there is no Secret ca in namespace shop; create it, or correct the connection",
        ),
        (
            403,
            failure(403, "Forbidden", "no"),
            Reason::Forbidden,
            "the operator may not read Secret ca in namespace shop; grant it the verb get on \
             secrets there",
        ),
        (
            503,
            failure(503, "ServiceUnavailable", "etcd is away"),
            Reason::SecretUnavailable,
            "Secret ca in namespace shop cannot be read: the API server answered HTTP 503; the \
             operator retries",
        ),
        (
            200,
            json!({"kind": "Secret", "data": {"ca.crt": token}}),
            Reason::SecretUnavailable,
            "Secret ca in namespace shop cannot be read: the API server's answer cannot be \
             decoded; the operator retries",
        ),
        (
            200,
            secret("ca", &[("tls.crt", b"x")]),
            Reason::SecretNotFound,
            "Secret ca in namespace shop has no key ca.crt; add it, or correct the connection",
        ),
    ] {
        let (client, _) = api(move |_| (code, answer.clone()));
        let found = of_fleet(&Secrets::new(client), &simple(), &spec, false, NOW).await;
        assert_eq!(found.unwrap_err(), NotReady::new(reason, why));
    }
}

/// A ConfigMap as the API server returns it, with `key` holding `value`.
fn config_map(field: &str, key: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "shop"},
        field: {key: value},
    })
}

#[tokio::test]
async fn certificate_authorities_of_a_config_map_are_used_or_reported_with_it() {
    let spec = with_tls(
        SpecTls {
            ca: Some(ca(ObjectKind::ConfigMap)),
            ..SpecTls::default()
        },
        None,
    );
    let resolved = |code, answer: Value| {
        let spec = spec.clone();
        async move {
            let (client, log) = api(move |_| (code, answer.clone()));
            let resolved = of_fleet(&Secrets::new(client), &simple(), &spec, false, NOW).await;
            assert_eq!(log.lines(), ["GET /api/v1/namespaces/shop/configmaps/ca"]);
            resolved
        }
    };
    let (certificate, _) = issued();
    let used = resolved(200, config_map("data", "ca.crt", &certificate)).await;
    let tls = used.unwrap().resolved.tls().cloned().unwrap();
    assert_eq!(tls.ca_pem, Some(certificate.into_bytes()));
    for (code, answer, reason, why) in [
        (
            404,
            failure(404, "NotFound", "not found"),
            Reason::ConfigMapNotFound,
            "there is no ConfigMap ca in namespace shop; create it, or correct the connection",
        ),
        (
            200,
            config_map("data", "ca-bundle.crt", "x"),
            Reason::ConfigMapNotFound,
            "ConfigMap ca in namespace shop has no key ca.crt; add it, or correct the connection",
        ),
        // The Role of an earlier version.
        (
            403,
            failure(403, "Forbidden", "no"),
            Reason::Forbidden,
            "the operator may not read ConfigMap ca in namespace shop; grant it the verb get on \
             configmaps there",
        ),
        (
            503,
            failure(503, "ServiceUnavailable", "etcd is away"),
            Reason::ConfigMapUnavailable,
            "ConfigMap ca in namespace shop cannot be read: the API server answered HTTP 503; the \
             operator retries",
        ),
        // Base64 of "x", which is no PEM.
        (
            200,
            config_map("binaryData", "ca.crt", "eA=="),
            Reason::ConfigMapInvalid,
            "ConfigMap ca, key ca.crt in namespace shop: the CA certificate contains no PEM block; \
             its first line must begin with -----BEGIN",
        ),
    ] {
        let why = NotReady::new(reason, why);
        assert_eq!(resolved(code, answer).await.unwrap_err(), why);
    }
}

proptest! {
    #[test]
    fn no_problem_holds_a_part_of_a_secret(
        line_break in prop::sample::select(vec!["\\n", " ", "", "\r\n"]),
        label in prop::sample::select(vec!["PRIVATE KEY", "EC PRIVATE KEY", "CERTIFICATE", "X"]),
        place in prop::sample::select(good().into_keys().collect::<Vec<_>>()),
        cut in 0..1_000_usize,
    ) {
        let (_, key) = issued();
        let body = key.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let value = key.replace("PRIVATE KEY", label).replace('\n', line_break);
        let value = value.as_bytes()[..value.len() * cut / 1_000].to_vec();
        let values = good().into_iter().chain([(place, value)]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let resolved = runtime.block_on(resolved(&simple(), &complete(), values));
        let shown = format!("{resolved:?}");
        prop_assert_eq!(exposed(&[body.as_bytes()], &shown), None, "{}", shown);
    }
}
