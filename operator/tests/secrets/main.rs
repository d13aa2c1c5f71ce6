//! Secrets stay secret. Runs the operator's binary between an API server and a Temporal server on
//! loopback, with Secrets as other tools may leave them: with lost line breaks, with a key in place
//! of a certificate, with an API key that the server repeats; with a key that was put into a
//! ConfigMap; with a proxy that requires a password; and with an API key of the operator's own.
//! Searches everything that the operator writes to Kubernetes, logs at level trace, or prints in
//! `top` and `explain` for any part of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic freely"
)]

mod cluster;
mod proxy;
mod temporal;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use taskqueue_testkit::exposure::exposed;

use cluster::{Cluster, Given};

const API_KEY: &str = "an-api-key-that-nobody-may-see";
const BROKEN_API_KEY: &str = "another-key that-nobody-may-see-either";
const OPERATOR_KEY: &str = "one-more-key-that-nobody-may-see-anywhere";
const PROXY_PASSWORD: &str = "the-password-of-a-proxy-that-nobody-may-see";
const TOKEN: &str = "the-token-of-whoever-reads-kubernetes";

/// A key that must never be shown: as bytes, and as the base64 in its PEM.
struct Key {
    der: Vec<u8>,
    body: String,
}

/// Everything that must never be shown.
#[derive(Default)]
struct Hidden(Vec<Key>);

impl Hidden {
    fn key(&mut self) -> KeyPair {
        let key = KeyPair::generate().unwrap();
        let pem = key.serialize_pem();
        self.0.push(Key {
            der: key.serialize_der(),
            body: pem.lines().filter(|line| !line.starts_with('-')).collect(),
        });
        key
    }

    /// Fails if the text contains a part of any of them.
    fn is_not_in(&self, what: &str, text: &str) {
        let keys = self.0.iter();
        let mut all: Vec<&[u8]> = keys
            .flat_map(|key| [key.der.as_slice(), key.body.as_bytes()])
            .collect();
        let texts = [API_KEY, BROKEN_API_KEY, OPERATOR_KEY, PROXY_PASSWORD, TOKEN];
        all.extend(texts.map(str::as_bytes));
        for line in text.lines() {
            if let Some(part) = exposed(&all, line) {
                panic!("{what} shows {part:?}: {line}");
            }
        }
    }
}

/// A certificate for [`temporal::NAME`] and this key.
fn sign(issuer: &Issuer<'static, KeyPair>, key: &KeyPair) -> String {
    let names = vec![temporal::NAME.to_owned()];
    let params = CertificateParams::new(names).unwrap();
    params.signed_by(key, issuer).unwrap().pem()
}

fn secret(name: &str, values: &[(&str, &str)]) -> (String, Value) {
    let data: BTreeMap<&str, ByteString> = values
        .iter()
        .map(|(key, value)| (*key, ByteString(value.as_bytes().to_vec())))
        .collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": "shop", "uid": name}, "data": data,
    });
    (name.to_owned(), object)
}

fn fleet(name: &str, address: &str, tls: &Value, api_key: &str) -> (String, Value) {
    let mut tls = tls.clone();
    tls["serverName"] = json!(temporal::NAME);
    let object = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 1,
            "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "connection": {
                "address": address, "temporalNamespace": "default", "tls": tls,
                "apiKeySecretRef": {"name": api_key, "key": "key"},
            },
            "template": {"spec": {"containers": [{"name": "worker", "image": "worker:1"}]}},
            "queues": [{"name": "q", "taskQueue": name, "replicas": {"min": 0, "max": 1}}],
        },
    });
    (name.to_owned(), object)
}

/// A connection of the cluster for a namespace, and a fleet of the same name that refers to it. The
/// operator has an API key of its own; that of the workers cannot be used.
fn shared(name: &str, namespace: &str, address: &str) -> (Value, (String, Value)) {
    let (name, mut fleet) = fleet(name, address, &json!({}), "broken-api-key");
    let spec = fleet["spec"].as_object_mut().unwrap();
    let mut connection = spec.remove("connection").unwrap();
    spec.insert(
        "connectionRef".to_owned(),
        json!({"kind": "ClusterTemporalConnection", "name": name}),
    );
    connection["namespaces"] = json!([namespace]);
    connection["tls"]["caSecretRef"] = json!({"name": "ca"});
    connection["operatorCredentials"] =
        json!({"apiKeySecretRef": {"name": "operator", "key": "key"}});
    let object = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "ClusterTemporalConnection",
        "metadata": {
            "name": name, "uid": format!("connection-{name}"), "generation": 1,
            "resourceVersion": "1",
        },
        "spec": connection,
    });
    (object, (name, fleet))
}

/// The operator's process, ended on drop.
struct Operator(Child);

impl Drop for Operator {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn operator(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskqueue-operator"));
    command
        .env("KUBECONFIG", dir.join("kubeconfig"))
        .env("RUST_LOG", "trace")
        .stdin(Stdio::null());
    command
}

/// Waits until `holds` succeeds.
async fn eventually(what: &str, log: &Path, holds: impl Fn() -> Result<(), String>) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tick.tick().await;
        let Err(why) = holds() else { return };
        if began.elapsed() > Duration::from_mins(1) {
            let log = std::fs::read_to_string(log).unwrap();
            let last: Vec<&str> = log.lines().rev().take(50).collect();
            panic!("{what}: {why}\n{}", last.join("\n"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(
    clippy::too_many_lines,
    reason = "one story, from the Secrets to what is searched for them"
)]
async fn no_part_of_a_secret_leaves_the_operator() {
    let mut hidden = Hidden::default();
    let authority = hidden.key();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&authority).unwrap().pem();
    let issuer = Issuer::new(params, authority);
    let (server, client) = (hidden.key(), hidden.key());
    let server_certificate = sign(&issuer, &server);
    let temporal = temporal::start(&server_certificate, &server.serialize_pem()).await;
    let client_certificate = sign(&issuer, &client);
    let key = client.serialize_pem();
    // A private key labelled as a certificate, after a real certificate.
    let disguised = format!("{ca}{}", key.replace("PRIVATE KEY", "CERTIFICATE"));

    let pair =
        |name, key: &str| secret(name, &[("tls.crt", &client_certificate), ("tls.key", key)]);
    let secrets = [
        secret(
            "ca",
            &[("ca.crt", &ca), ("other", &key), ("disguised", &disguised)],
        ),
        secret("api-key", &[("key", API_KEY), ("broken", BROKEN_API_KEY)]),
        secret("broken-api-key", &[("key", BROKEN_API_KEY)]),
        secret(
            "proxy",
            &[("username", "operator"), ("password", PROXY_PASSWORD)],
        ),
        pair("good", &key),
        pair("literal", &key.replace('\n', "\\n")),
        pair("spaces", &key.replace('\n', " ")),
        pair("one-line", &key.replace('\n', "")),
        pair("cut", &key[..key.len() / 2]),
    ];
    let with_client = |name: &str| {
        let tls =
            json!({"caSecretRef": {"name": "ca"}, "clientCertificateSecretRef": {"name": name}});
        fleet(name, &temporal.address, &tls, "api-key")
    };
    let with_ca = |name: &str, key: &str| {
        let tls = json!({"caSecretRef": {"name": "ca", "key": key}});
        fleet(name, &temporal.address, &tls, "api-key")
    };
    let from_map = |name: &str| {
        let tls = json!({"caConfigMapRef": {"name": name}});
        fleet(name, &temporal.address, &tls, "api-key")
    };
    let config_maps = [("bundle", &ca), ("misplaced-key", &key)].map(|(name, value)| {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "data": {"ca.crt": value},
        });
        (name.to_owned(), object)
    });
    let ca_alone = json!({"caSecretRef": {"name": "ca"}});
    let proxies = proxy::start().await;
    let through = |name: &str, proxy: &str| {
        let (name, mut fleet) = fleet(name, &temporal.address, &ca_alone, "api-key");
        fleet["spec"]["connection"]["proxy"] =
            json!({"address": proxy, "credentialsSecretRef": {"name": "proxy"}});
        (name, fleet)
    };
    let (for_shop, of_cluster) = shared("of-cluster", "shop", &temporal.address);
    let (for_billing, not_listed) = shared("not-listed", "billing", &temporal.address);
    let fleets = [
        of_cluster,
        not_listed,
        with_client("good"),
        with_client("literal"),
        with_client("spaces"),
        with_client("one-line"),
        with_client("cut"),
        with_ca("wrong-ca", "other"),
        with_ca("disguised", "disguised"),
        from_map("bundle"),
        from_map("misplaced-key"),
        through("proxied", &proxies.open),
        through("proxied-in-vain", &proxies.closed),
        fleet(
            "broken-api-key",
            &temporal.address,
            &ca_alone,
            "broken-api-key",
        ),
    ];
    let cluster = Cluster::start(Given {
        fleets: fleets.into(),
        cluster_connections: vec![for_shop, for_billing],
        secrets: secrets.into(),
        operator_secrets: [
            secret("operator", &[("key", OPERATOR_KEY)]),
            secret("ca", &[("ca.crt", &ca)]),
        ]
        .into(),
        config_maps: config_maps.into(),
    })
    .await;

    let dir = tempfile_dir("secrets");
    std::fs::write(dir.join("kubeconfig"), cluster.kubeconfig(TOKEN)).unwrap();
    let log = dir.join("log");
    let mut running = operator(&dir);
    running
        .args(["run", "--metrics-address=127.0.0.1:0"])
        .env("POD_NAMESPACE", "taskqueue-system")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap());
    let running = Operator(running.spawn().unwrap());

    let expected = BTreeMap::from([
        ("of-cluster", ("ScalingActive", "TemporalAccessDenied")),
        ("not-listed", ("Ready", "ConnectionNotAllowed")),
        ("good", ("ScalingActive", "TemporalAccessDenied")),
        ("literal", ("Ready", "SecretInvalid")),
        ("spaces", ("Ready", "SecretInvalid")),
        ("one-line", ("Ready", "SecretInvalid")),
        ("cut", ("Ready", "SecretInvalid")),
        ("wrong-ca", ("Ready", "SecretInvalid")),
        ("disguised", ("ScalingActive", "TemporalAccessDenied")),
        ("broken-api-key", ("Ready", "SecretInvalid")),
        // The server's certificate was accepted: Temporal saw the call.
        ("bundle", ("ScalingActive", "TemporalAccessDenied")),
        ("misplaced-key", ("Ready", "ConfigMapInvalid")),
        ("proxied", ("ScalingActive", "TemporalAccessDenied")),
        ("proxied-in-vain", ("ScalingActive", "TemporalUnavailable")),
    ]);
    eventually(
        "every fleet has the condition with its problem",
        &log,
        || {
            let reported = cluster.reasons();
            let missing = expected.iter().find(|(name, (kind, reason))| {
                reported
                    .get(&((**name).to_owned(), (*kind).to_owned()))
                    .is_none_or(|reported| reported != reason)
            });
            missing.map_or(Ok(()), |missing| {
                Err(format!("{missing:?} in {reported:?}"))
            })
        },
    )
    .await;
    eventually("every mistake has an Event", &log, || {
        let events = cluster.events();
        let missing = expected
            .keys()
            .find(|name| !events.contains(&format!("uid-{name}")));
        missing.map_or(Ok(()), |missing| Err(format!("none about {missing}")))
    })
    .await;
    eventually("every connection has a status", &log, || {
        let written = cluster.written();
        let missing = expected
            .keys()
            .find(|name| !written.contains(&format!("\"uid\":\"connection-{name}\"")));
        missing.map_or(Ok(()), |missing| Err(format!("none of {missing}")))
    })
    .await;
    assert!(
        temporal.was_given(API_KEY),
        "the API key was sent to Temporal"
    );
    assert!(
        temporal.was_given(OPERATOR_KEY),
        "the operator's own API key was sent to Temporal"
    );
    assert!(
        !temporal.was_given(BROKEN_API_KEY),
        "an API key of workers was sent to Temporal"
    );

    assert!(
        proxies.were_given("operator", PROXY_PASSWORD),
        "the password was sent to the proxies"
    );

    for name in expected.keys() {
        for output in ["table", "json"] {
            let explain: &[&str] = &["explain", name, "q", "-o", output];
            let top: &[&str] = &["top", "--once", "-o", output];
            for line in [explain, top] {
                let shown = operator(&dir).args(line).output().unwrap();
                let text = [shown.stdout, shown.stderr].concat();
                let text = String::from_utf8_lossy(&text).into_owned();
                assert!(shown.status.success(), "{line:?}: {text}");
                hidden.is_not_in(&line.join(" "), &text);
            }
        }
    }
    drop(running);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("\"level\":\"TRACE\""), "{log}");
    hidden.is_not_in("the log", &log);
    hidden.is_not_in("what was written to Kubernetes", &cluster.written());
    let literal = cluster.written();
    assert!(
        literal.contains(
            "Secret literal, key tls.key in namespace shop: the client key has lost its line breaks"
        ),
        "{literal}"
    );
    let refused = format!("(HTTP 407 from {})", proxies.closed);
    assert!(literal.contains(&refused), "{literal}");
    std::fs::remove_dir_all(&dir).unwrap();
}

/// An empty folder for one test.
fn tempfile_dir(name: &str) -> std::path::PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
