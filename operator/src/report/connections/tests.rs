//! Which status is written when, against a scripted API server.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::watcher::Event;
use serde_json::Value;

use super::*;
use crate::caches::Filler;
use crate::clock::Clock;
use crate::observe::connection::tests::{issued, secret};
use crate::testing::{ApiRequest, Log, NOW, api, failure, resource};

mod cluster;

const WARNING: Duration = Duration::from_hours(24);
/// The operator's own namespace.
const OWN: &str = "taskqueue-system";

fn moment(minutes: u64) -> Moment {
    Moment {
        monotonic: NOW.plus(Duration::from_mins(minutes)),
        wall: "2026-02-03T04:05:06Z".parse().unwrap(),
    }
}

/// A connection with a CA from the Secret `ca`.
fn connection() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection",
        "metadata": {"name": "shared", "namespace": "shop", "uid": "u", "generation": 3},
        "spec": {"address": "temporal:7233", "tls": {"caSecretRef": {"name": "ca"}}},
    })
}

fn fleet(number: usize) -> Value {
    let queues = json!([{"name": "a", "replicas": {"min": 1, "max": 5}}]);
    let mut fleet = serde_json::to_value(resource(&queues)).unwrap();
    fleet["metadata"]["name"] = json!(format!("fleet-{number:02}"));
    fleet["metadata"]["uid"] = json!(format!("fleet-{number:02}"));
    let spec = fleet["spec"].as_object_mut().unwrap();
    spec.remove("connection");
    spec.insert("connectionRef".to_owned(), json!({"name": "shared"}));
    fleet
}

struct Reported {
    reports: ConnectionReports,
    secrets: Secrets,
    caches: Caches,
    filler: Filler,
    log: Log,
}

impl Reported {
    fn new(
        answer: impl Fn(&ApiRequest) -> (u16, Value) + Send + Sync + 'static,
        fleets: usize,
    ) -> Self {
        let (client, log) = api(answer);
        let metrics = Metrics::new(Clock::start()).unwrap();
        let (caches, mut filler) = Filler::new();
        for number in 0..fleets {
            let fleet = serde_json::from_value(fleet(number)).unwrap();
            filler.fleets.apply_watcher_event(&Event::Apply(fleet));
        }
        let mut reported = Self {
            reports: ConnectionReports::new(client.clone(), metrics, OWN.to_owned(), WARNING),
            secrets: Secrets::new(client),
            caches,
            filler,
            log,
        };
        reported.apply(connection());
        reported
    }

    fn apply(&mut self, connection: Value) {
        let object = serde_json::from_value(connection).unwrap();
        self.filler
            .connections
            .apply_watcher_event(&Event::Apply(object));
    }

    /// The statuses that are written at this minute.
    async fn at(&mut self, minutes: u64) -> Vec<Value> {
        let (caches, now) = ([self.caches.clone()], moment(minutes));
        self.reports.report(&caches, &self.secrets, now).await;
        let requests = self.log.take().into_iter();
        let writes = requests.filter(|request| request.line.starts_with("PATCH"));
        writes
            .map(|request| request.body["status"].clone())
            .collect()
    }
}

/// Has the Secret `ca`, and accepts every status.
fn willing(certificate: &str) -> impl Fn(&ApiRequest) -> (u16, Value) + use<> {
    let certificate = certificate.to_owned();
    move |request| {
        if request.line.starts_with("PATCH") {
            let line = "PATCH /apis/taskqueue.dev/v1alpha1/namespaces/shop/temporalconnections/\
                        shared/status?";
            assert!(request.line.starts_with(line), "{}", request.line);
            let mut written = connection();
            written["metadata"]["resourceVersion"] = json!("7");
            return (200, written);
        }
        (200, secret("ca", &[("ca.crt", certificate.as_bytes())]))
    }
}

fn conditions(status: &Value) -> Vec<(String, String, String)> {
    let conditions: Vec<Condition> = serde_json::from_value(status["conditions"].clone()).unwrap();
    let words = |c: Condition| (c.type_, c.status, c.reason);
    conditions.into_iter().map(words).collect()
}

fn is(kind: &str, status: &str, reason: &str) -> (String, String, String) {
    (kind.to_owned(), status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn a_valid_connection_names_its_fleets_and_certificates_and_is_written_once() {
    let mut reported = Reported::new(willing(&issued().0), 12);
    let written = reported.at(0).await;
    let [status] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!(
        conditions(status),
        [
            is("Ready", "True", "ConnectionValid"),
            is("CertificateExpiring", "False", "CertificatesValid"),
        ]
    );
    let names: Vec<String> = (0..10).map(|number| format!("fleet-{number:02}")).collect();
    assert_eq!(status["fleets"], json!(names));
    assert_eq!(
        (&status["fleetCount"], &status["observedGeneration"]),
        (&json!(12), &json!(3))
    );
    let certificate = &status["certificates"][0];
    assert_eq!(
        (
            &certificate["use"],
            &certificate["secretName"],
            &certificate["notAfter"]
        ),
        (&json!("ca"), &json!("ca"), &json!("4096-01-01T00:00:00Z"))
    );
    // The watch has not shown it yet; then it has.
    assert_eq!(reported.at(1).await, Vec::<Value>::new());
    let mut shown = connection();
    shown["metadata"]["resourceVersion"] = json!("7");
    shown["status"] = status.clone();
    reported.apply(shown.clone());
    assert_eq!(reported.at(2).await, Vec::<Value>::new());
    // Nor does a process that starts write it again.
    let mut restarted = Reported::new(willing(&issued().0), 12);
    restarted.apply(shown);
    assert_eq!(restarted.at(0).await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_invalid_connection_says_what_is_wrong() {
    let missing = |_: &ApiRequest| (404, failure(404, "NotFound", "no"));
    let mut reported = Reported::new(missing, 0);
    // The write is answered with 404 too, which another test is about.
    let written = reported.at(0).await;
    assert_eq!(
        conditions(&written[0]),
        [is("Ready", "False", "SecretNotFound")]
    );
    assert_eq!(written[0].get("certificates"), None);
    let mut unreadable = connection();
    unreadable["spec"] = json!({"service": {"name": "temporal"}});
    let mut reported = Reported::new(willing(&issued().0), 0);
    reported.apply(unreadable);
    let written = reported.at(0).await;
    assert_eq!(
        conditions(&written[0]),
        [is("Ready", "False", "ConnectionInvalid")]
    );
    assert_eq!(reported.at(1).await, Vec::<Value>::new());
}

#[tokio::test]
async fn an_unreadable_secret_leaves_the_status_as_it_is() {
    let down = |request: &ApiRequest| {
        assert!(!request.line.starts_with("PATCH"), "{}", request.line);
        (503, failure(503, "", "no"))
    };
    let mut reported = Reported::new(down, 1);
    assert_eq!(reported.at(0).await, Vec::<Value>::new());
}

/// The CRD or the Role of an earlier version.
#[tokio::test]
async fn a_refused_status_is_tried_again_after_a_minute() {
    for code in [403, 404, 500] {
        let certificate = issued().0;
        let refusing = move |request: &ApiRequest| {
            if request.line.starts_with("PATCH") {
                return (code, failure(code, "", "no"));
            }
            (200, secret("ca", &[("ca.crt", certificate.as_bytes())]))
        };
        let mut reported = Reported::new(refusing, 1);
        assert_eq!(reported.at(0).await.len(), 1, "{code}");
        let (caches, mut now) = ([reported.caches.clone()], moment(0));
        now.monotonic = now.monotonic.plus(Duration::from_secs(59));
        reported
            .reports
            .report(&caches, &reported.secrets, now)
            .await;
        assert_eq!(reported.at(1).await.len(), 1, "{code}");
    }
}

#[tokio::test]
async fn a_connection_that_is_not_found_is_no_reason_for_a_warning_unless_it_stays() {
    let warned_after = async |code: u16, minutes: &[u64]| {
        let certificate = issued().0;
        let refusing = move |request: &ApiRequest| {
            if request.line.starts_with("PATCH") {
                return (code, failure(code, "", "no"));
            }
            (200, secret("ca", &[("ca.crt", certificate.as_bytes())]))
        };
        let mut reported = Reported::new(refusing, 0);
        for minute in minutes {
            reported.at(*minute).await;
        }
        reported.reports.refused["u"].1.is_some()
    };
    assert!(!warned_after(404, &[0]).await, "it may have been deleted");
    assert!(warned_after(404, &[0, 1]).await, "the CRD has no status");
    assert!(warned_after(403, &[0]).await, "the right is missing");
}

#[tokio::test]
async fn a_status_that_somebody_else_changes_is_written_again() {
    let mut reported = Reported::new(willing(&issued().0), 0);
    let [status] = &reported.at(0).await[..] else {
        panic!("one status is written");
    };
    let mut changed = connection();
    changed["metadata"]["resourceVersion"] = json!("8");
    changed["status"] = status.clone();
    changed["status"]["fleetCount"] = json!(7);
    reported.apply(changed);
    // Two operators with different namespaces must not write without end.
    let (caches, mut now) = ([reported.caches.clone()], moment(0));
    now.monotonic = now.monotonic.plus(Duration::from_secs(59));
    reported
        .reports
        .report(&caches, &reported.secrets, now)
        .await;
    let repaired = reported.at(1).await;
    assert_eq!(repaired.len(), 1, "once, and only after a minute");
    assert_eq!(repaired[0]["fleetCount"], 0);
}

#[tokio::test]
async fn a_refused_status_delays_no_other() {
    let certificate = issued().0;
    let refusing = move |request: &ApiRequest| {
        if request.line.contains("/temporalconnections/shared/status") {
            return (404, failure(404, "NotFound", "it is deleted"));
        }
        if request.line.starts_with("PATCH") {
            return (200, connection());
        }
        (200, secret("ca", &[("ca.crt", certificate.as_bytes())]))
    };
    let mut reported = Reported::new(refusing, 0);
    assert_eq!(reported.at(0).await.len(), 1);
    let mut other = connection();
    other["metadata"]["name"] = json!("other");
    other["metadata"]["uid"] = json!("o");
    reported.apply(other);
    let (caches, mut now) = ([reported.caches.clone()], moment(0));
    now.monotonic = now.monotonic.plus(Duration::from_secs(5));
    reported
        .reports
        .report(&caches, &reported.secrets, now)
        .await;
    let lines = reported.log.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("/other/status"), "{lines:?}");
}
