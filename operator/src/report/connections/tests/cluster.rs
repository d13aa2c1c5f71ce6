//! The status of a `ClusterTemporalConnection`, and of connections with the operator's own
//! credentials.
use taskqueue_kubernetes::kube_error::Refusal;

use super::*;

/// A connection for two namespaces, with Secrets of the fleets and of the operator.
fn of_cluster() -> Value {
    json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "ClusterTemporalConnection",
        "metadata": {"name": "production", "uid": "c", "generation": 5},
        "spec": {
            "namespaces": ["shop", "billing"], "address": "temporal:7233",
            "tls": {
                "caSecretRef": {"name": "ca"},
                "clientCertificateSecretRef": {"name": "of-workers"},
            },
            "operatorCredentials": {"clientCertificateSecretRef": {"name": "of-operator"}},
        },
    })
}

fn referring(namespace: &str, name: &str) -> Value {
    let mut fleet = fleet(0);
    fleet["metadata"]["namespace"] = json!(namespace);
    fleet["metadata"]["name"] = json!(name);
    fleet["spec"]["connectionRef"] =
        json!({"kind": "ClusterTemporalConnection", "name": "production"});
    fleet
}

impl Reported {
    /// Shows a connection of the cluster, and a fleet in each namespace that refers to it.
    fn show(&mut self, connection: Value) {
        let object = serde_json::from_value(connection).unwrap();
        let event = Event::Apply(object);
        self.filler.cluster_connections.apply_watcher_event(&event);
        self.filler.set_cluster_connections(Ok(()));
        for (namespace, name) in [("shop", "orders"), ("billing", "orders")] {
            let fleet = serde_json::from_value(referring(namespace, name)).unwrap();
            self.filler.fleets.apply_watcher_event(&Event::Apply(fleet));
        }
    }

    /// The requests about the connection of the cluster and its Secrets at this minute.
    async fn requests_at(&mut self, minutes: u64) -> Vec<ApiRequest> {
        let (caches, now) = ([self.caches.clone()], moment(minutes));
        self.reports.report(&caches, &self.secrets, now).await;
        let mut requests = self.log.take();
        requests.retain(|request| {
            let line = &request.line;
            !line.contains("/namespaces/shop/")
        });
        requests
    }
}

/// Has a client certificate in the Secret `of-operator`, and accepts every status.
fn server() -> impl Fn(&ApiRequest) -> (u16, Value) {
    let (certificate, key) = issued();
    move |request| {
        if request.line.starts_with("PATCH") {
            let mut written = request.body.clone();
            written["metadata"]["resourceVersion"] = json!("7");
            return (200, written);
        }
        let values = [
            ("tls.crt", certificate.as_bytes()),
            ("tls.key", key.as_bytes()),
            ("ca.crt", certificate.as_bytes()),
        ];
        (200, secret("any", &values))
    }
}

#[tokio::test]
async fn a_connection_of_the_cluster_is_checked_with_the_secrets_of_the_operator_alone() {
    let mut reported = Reported::new(server(), 0);
    reported.show(of_cluster());
    let requests = reported.requests_at(0).await;
    let [ca, client, write] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        [&ca.line, &client.line],
        [
            "GET /api/v1/namespaces/taskqueue-system/secrets/ca",
            "GET /api/v1/namespaces/taskqueue-system/secrets/of-operator",
        ]
    );
    let line = "PATCH /apis/taskqueue.dev/v1alpha1/clustertemporalconnections/production/status?";
    assert!(write.line.starts_with(line), "{}", write.line);
    assert_eq!(write.body["kind"], "ClusterTemporalConnection");
    let status = &write.body["status"];
    assert_eq!(
        conditions(status),
        [
            is("Ready", "True", "ConnectionValid"),
            is("CertificateExpiring", "False", "CertificatesValid"),
        ]
    );
    assert_eq!(
        status["conditions"][0]["message"],
        "the connection is valid, and so is what the operator reads in its own namespace; what it \
         names in the namespaces of fleets, the fleets check"
    );
    assert_eq!(status["fleets"], json!(["billing/orders", "shop/orders"]));
    assert_eq!(
        (&status["fleetCount"], &status["observedGeneration"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(
        status["certificates"],
        json!([
            {"use": "ca", "secretName": "ca", "notAfter": "4096-01-01T00:00:00Z"},
            {"use": "client", "secretName": "of-operator", "notAfter": "4096-01-01T00:00:00Z"},
        ])
    );
    // The watch has not shown it yet.
    let later = reported.requests_at(1).await;
    assert!(
        !later
            .iter()
            .any(|request| request.line.starts_with("PATCH")),
        "{later:?}"
    );
}

#[tokio::test]
async fn without_credentials_of_the_operator_no_secret_is_read_for_the_status() {
    let mut reported = Reported::new(server(), 0);
    let mut connection = of_cluster();
    let spec = connection["spec"].as_object_mut().unwrap();
    spec.remove("operatorCredentials");
    reported.show(connection);
    let requests = reported.requests_at(0).await;
    let [write] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(
        conditions(&write.body["status"]),
        [is("Ready", "True", "ConnectionValid")]
    );
}

#[tokio::test]
async fn what_the_api_server_refuses_to_list_gets_no_status() {
    let mut reported = Reported::new(server(), 0);
    let answer = "no".to_owned();
    let refusal = Refusal { code: 404, answer };
    reported.filler.set_cluster_connections(Err(refusal));
    assert_eq!(reported.requests_at(0).await, []);
}

#[tokio::test]
async fn fleets_that_are_not_known_yet_delay_the_status_of_the_cluster_alone() {
    let mut reported = Reported::new(server(), 0);
    reported.show(of_cluster());
    let (elsewhere, mut filler) = Filler::new();
    filler.set_filled(false);
    let caches = [reported.caches.clone(), elsewhere];
    let now = moment(0);
    let secrets = &reported.secrets;
    reported.reports.report(&caches, secrets, now).await;
    let lines = reported.log.lines();
    let statuses = |lines: &[String]| {
        let statuses = lines.iter().filter(|line| line.starts_with("PATCH"));
        let of_cluster = statuses.map(|line| line.contains("/clustertemporalconnections/"));
        of_cluster.collect::<Vec<bool>>()
    };
    assert_eq!(statuses(&lines), [false], "{lines:?}");
    filler.set_filled(true);
    let fleet = serde_json::from_value(referring("kitchen", "soups")).unwrap();
    filler.fleets.apply_watcher_event(&Event::Apply(fleet));
    reported.reports.report(&caches, secrets, now).await;
    let requests = reported.log.take();
    let status = requests
        .iter()
        .find(|request| request.line.starts_with("PATCH"));
    assert_eq!(
        status.unwrap().body["status"]["fleets"],
        json!(["billing/orders", "kitchen/soups", "shop/orders"])
    );
}

#[tokio::test]
async fn a_connection_with_credentials_of_the_operator_is_checked_with_them() {
    let mut reported = Reported::new(server(), 0);
    let mut connection = connection();
    connection["spec"] = of_cluster()["spec"].clone();
    reported.apply(connection);
    let caches = [reported.caches.clone()];
    let secrets = &reported.secrets;
    reported.reports.report(&caches, secrets, moment(0)).await;
    let requests = reported.log.take();
    let lines: Vec<&str> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(
        lines[..2],
        [
            "GET /api/v1/namespaces/shop/secrets/ca",
            "GET /api/v1/namespaces/shop/secrets/of-operator",
        ]
    );
    assert_eq!(
        requests[2].body["status"]["conditions"][0]["message"],
        "the connection is valid, and so is what the operator reads of it; the credentials of the \
         workers are not read"
    );
}
