//! Passes of fleets that refer to a `ClusterTemporalConnection`: what the operator reads for them,
//! and what it tells those that may not use it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskqueue_api::GuardedClusterConnection;
use taskqueue_kubernetes::kube_error::Refusal;

use super::*;

/// A connection for these namespaces, with an API key and further fields.
fn connection(namespaces: &[&str], more: &Value) -> GuardedClusterConnection {
    let mut spec = json!({
        "namespaces": namespaces, "address": "temporal:7233", "tls": {},
        "apiKeySecretRef": {"name": "of-workers", "key": "key"},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let object = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "ClusterTemporalConnection",
        "metadata": {"name": "production", "uid": "connection-uid"}, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// A fleet of the namespace `shop` that refers to it.
fn referring() -> Value {
    let mut refers = object();
    refers["spec"].as_object_mut().unwrap().remove("connection");
    refers["spec"]["connectionRef"] =
        json!({"kind": "ClusterTemporalConnection", "name": "production"});
    refers
}

/// Has every Secret, with an API key, and nothing else. Accepts every write.
fn with_secrets(request: &ApiRequest) -> (u16, Value) {
    if request.line.contains("/secrets/") {
        let data = json!({"key": STANDARD.encode("an-api-key")});
        return (200, json!({"metadata": {"name": "any"}, "data": data}));
    }
    empty_cluster(request)
}

/// An operator that knows this connection.
fn knowing(connection: GuardedClusterConnection) -> Operator {
    let mut operator = Operator::new(with_secrets);
    operator.show(connection);
    operator
}

impl Operator {
    /// Shows it a connection.
    fn show(&mut self, connection: GuardedClusterConnection) {
        let event = Event::Apply(connection);
        self.caches.cluster_connections.apply_watcher_event(&event);
        self.caches.set_cluster_connections(Ok(()));
    }

    /// Whether Temporal is read for a queue of the fleet.
    fn reads_temporal(&self) -> bool {
        !self.context.shared.readers.budgets().is_empty()
    }
}

/// The requests for Secrets.
fn secrets(lines: &[String]) -> Vec<&str> {
    let paths = lines.iter().filter_map(|line| line.strip_prefix("GET "));
    paths.filter(|path| path.contains("/secrets/")).collect()
}

#[tokio::test]
async fn a_fleet_of_a_namespace_that_is_not_listed_makes_the_operator_read_nothing() {
    let own = json!({"operatorCredentials": {
        "apiKeySecretRef": {"name": "of-operator", "key": "key"},
    }});
    let mut operator = knowing(connection(&["billing"], &own));
    let (result, lines) = operator.pass(&referring()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(short(&lines), ["status", "event"]);
    assert!(!operator.reads_temporal());
    let message = "queue a: ClusterTemporalConnection production does not list namespace shop; ask \
                   whoever maintains it to add the namespace to its spec.namespaces, or correct \
                   connectionRef";
    assert_eq!(
        operator.ready(&referring()).await,
        ("ConnectionNotAllowed".to_owned(), message.to_owned())
    );

    // It recovers as soon as the namespace is on the list.
    operator.show(connection(&["billing", "shop"], &own));
    let (result, lines) = operator.pass(&referring()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(
        secrets(&lines),
        ["/api/v1/namespaces/taskqueue-system/secrets/of-operator"]
    );
    assert!(operator.reads_temporal());
    assert_ne!(operator.ready(&referring()).await.0, "ConnectionNotAllowed");
}

#[tokio::test]
async fn a_fleet_whose_namespace_is_taken_off_the_list_keeps_its_workers() {
    let mut operator = knowing(connection(&["shop"], &json!({})));
    let (_, lines) = operator.pass(&referring()).await;
    assert!(short(&lines).contains(&"create"), "{lines:?}");
    operator.show(connection(&["billing"], &json!({})));
    let (result, lines) = operator.pass(&referring()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(secrets(&lines), Vec::<&str>::new());
    let writes = |line: &&String| !line.starts_with("GET");
    let writes: Vec<String> = lines.iter().filter(writes).cloned().collect();
    assert_eq!(short(&writes), ["status", "event"]);
    assert_eq!(operator.ready(&referring()).await.0, "ConnectionNotAllowed");
}

#[tokio::test]
async fn with_credentials_of_its_own_the_operator_reads_none_of_the_workers() {
    let table = [
        (
            json!({}),
            vec!["/api/v1/namespaces/shop/secrets/of-workers"],
        ),
        (
            json!({"operatorCredentials": {
                "apiKeySecretRef": {"name": "of-operator", "key": "key"},
            }}),
            vec!["/api/v1/namespaces/taskqueue-system/secrets/of-operator"],
        ),
        (json!({"operatorCredentials": {}}), vec![]),
    ];
    for (more, read) in table {
        let mut operator = knowing(connection(&["shop"], &more));
        let (_, lines) = operator.pass(&referring()).await;
        assert_eq!(secrets(&lines), read, "{more}");
        // Inline, the same Secrets are those of the fleet's namespace.
        let mut inline = object();
        inline["spec"]["connection"] = json!({
            "address": "temporal:7233", "tls": {},
            "apiKeySecretRef": {"name": "of-workers", "key": "key"},
        });
        for (field, value) in more.as_object().unwrap() {
            inline["spec"]["connection"][field] = value.clone();
        }
        let (_, lines) = Operator::new(with_secrets).pass(&inline).await;
        let read: Vec<String> = read
            .iter()
            .map(|path| path.replace("taskqueue-system", "shop"))
            .collect();
        assert_eq!(secrets(&lines), read, "{more}");
    }
}

/// The workers get what they got before.
#[tokio::test]
async fn the_credentials_of_the_operator_reach_no_pod() {
    let rendered = |more: Value| async move {
        let mut operator = knowing(connection(&["shop"], &more));
        let object: GuardedFleet = serde_json::from_value(referring()).unwrap();
        let event = Event::Apply(object.clone());
        operator.caches.fleets.apply_watcher_event(&event);
        let result = reconcile(Arc::new(object), Arc::clone(&operator.context)).await;
        assert!(result.is_ok(), "{result:?}");
        let requests = operator.log.take().into_iter();
        let mut applied = requests.filter(|request| request.line.contains("force=true"));
        let applied = applied.find(|request| request.line.contains("/deployments/"));
        applied.unwrap().body
    };
    let own = json!({"operatorCredentials": {
        "apiKeySecretRef": {"name": "of-operator", "key": "key"},
    }});
    let with = rendered(own).await;
    assert!(with.to_string().contains("of-workers"), "{with}");
    assert_eq!(with, rendered(json!({})).await);
}

#[tokio::test]
async fn a_fleet_is_told_nothing_before_the_connections_of_the_cluster_are_listed() {
    let mut operator = Operator::new(with_secrets);
    let (result, lines) = operator.pass(&referring()).await;
    assert_eq!(result.unwrap(), Action::requeue(UNLISTED));
    assert_eq!(lines, Vec::<String>::new());
    // Others do not wait for them.
    let (_, lines) = Operator::new(with_secrets).pass(&object()).await;
    assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);

    operator.caches.set_cluster_connections(Ok(()));
    operator.pass(&referring()).await.0.unwrap();
    let message = "queue a: there is no ClusterTemporalConnection production; create it or correct \
                   connectionRef";
    assert_eq!(
        operator.ready(&referring()).await,
        ("ConnectionNotFound".to_owned(), message.to_owned())
    );
}

#[tokio::test]
async fn without_the_definition_or_the_right_only_the_fleets_that_refer_to_it_are_held() {
    let table = [
        (
            404,
            "ConnectionNotFound",
            "clustertemporalconnections.taskqueue.dev is not installed",
        ),
        (
            403,
            "Forbidden",
            "the operator may not list clustertemporalconnections: no",
        ),
    ];
    for (code, reason, told) in table {
        let mut operator = Operator::new(with_secrets);
        let answer = "no".to_owned();
        operator
            .caches
            .set_cluster_connections(Err(Refusal { code, answer }));
        let (result, lines) = operator.pass(&referring()).await;
        assert!(result.is_ok(), "{result:?}");
        assert_eq!(short(&lines), ["status", "event"]);
        let (found, message) = operator.ready(&referring()).await;
        assert_eq!(found, reason);
        assert!(message.contains(told), "{message}");
        let mut other = object();
        other["metadata"]["name"] = json!("other");
        other["metadata"]["uid"] = json!("other-uid");
        let (_, lines) = operator.pass(&other).await;
        assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);
    }
}

#[tokio::test]
async fn a_malformed_connection_is_invalid_for_its_fleets() {
    let malformed = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "ClusterTemporalConnection",
        "metadata": {"name": "production"}, "spec": {"address": "temporal:7233"},
    });
    let mut operator = knowing(serde_json::from_value(malformed).unwrap());
    operator.pass(&referring()).await.0.unwrap();
    let (reason, message) = operator.ready(&referring()).await;
    assert_eq!(reason, "ConnectionInvalid");
    assert_eq!(
        message,
        "queue a: ClusterTemporalConnection production: Missing field namespaces"
    );
}
