//! A refused object is reported, nothing that runs is touched, and no other fleet waits for it.

use taskqueue_api::GuardedConnection;

use super::*;

#[tokio::test]
async fn a_malformed_object_gets_a_condition_and_nothing_that_runs_is_touched() {
    let mut operator = Operator::new(empty_cluster);
    let mut malformed = object();
    malformed["spec"]["queues"] = json!("not a list");
    let (result, lines) = operator.pass(&malformed).await;
    assert_eq!(result.unwrap(), Action::await_change());
    assert_eq!(short(&lines), ["read", "status", "event"]);
    let (_, lines) = operator.pass(&malformed).await;
    assert_eq!(short(&lines), Vec::<&str>::new(), "it is reported once");
    let text = operator.metrics();
    assert!(
        text.contains(r#"type="Ready",status="False",reason="InvalidSpec"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_value_of_a_newer_version_is_a_condition_of_its_fleet_alone() {
    let mut operator = Operator::new(empty_cluster);
    let mut newer = object();
    newer["spec"]["scaling"] = json!({"mode": "Predictive"});
    let (result, lines) = operator.pass(&newer).await;
    assert_eq!(result.unwrap(), Action::await_change());
    assert_eq!(short(&lines), ["read", "status", "event"]);
    let (reason, message) = operator.ready(&newer).await;
    assert_eq!(reason, "InvalidSpec");
    assert!(message.contains("Predictive"), "{message}");
    let (result, lines) = operator.pass(&bystander()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);
}

#[tokio::test]
async fn a_connection_of_a_newer_version_is_a_condition_of_the_fleets_that_refer_to_it_alone() {
    let mut operator = Operator::new(empty_cluster);
    let newer = json!({
        "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection",
        "metadata": {"name": "shared", "namespace": "shop"},
        "spec": {"service": {"name": "temporal"}},
    });
    let newer: GuardedConnection = serde_json::from_value(newer).unwrap();
    operator
        .caches
        .connections
        .apply_watcher_event(&Event::Apply(newer));
    let mut refers = object();
    refers["spec"].as_object_mut().unwrap().remove("connection");
    refers["spec"]["connectionRef"] = json!({"name": "shared"});
    let (result, lines) = operator.pass(&refers).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(short(&lines), ["status", "event"]);
    let (reason, message) = operator.ready(&refers).await;
    assert_eq!(reason, "ConnectionInvalid");
    assert!(message.contains("TemporalConnection shared"), "{message}");
    let (result, lines) = operator.pass(&bystander()).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);
}

#[tokio::test]
async fn a_definition_without_a_field_of_the_status_stops_no_fleet() {
    let mut operator = Operator::new(|request| {
        if request.line.contains("/status") {
            let message = ".status.made: field not declared in schema";
            return (500, failure(500, "", message));
        }
        empty_cluster(request)
    });
    for object in [object(), bystander()] {
        let (result, lines) = operator.pass(&object).await;
        assert_eq!(short(&lines)[..3], ["look", "create", "apply"]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("is older than this operator"), "{error}");
    }
    // The same for a refused spec, where only the status is written.
    let mut contradictory = object();
    let queue = contradictory["spec"]["queues"][0].clone();
    contradictory["spec"]["queues"] = json!([queue, queue]);
    assert!(operator.pass(&contradictory).await.0.is_err());
    let text = operator.metrics();
    let counted = r#"errors_total{class="dependency",reason="DefinitionOutdated"} 3"#;
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn a_fleet_that_cannot_be_created_says_why_in_the_condition_ready() {
    let denied = "admission webhook \"x.test\" denied the request: no";
    let down = "Internal error occurred: failed calling webhook \"x.test\": refused";
    let policy = "deployments.apps \"a\" is forbidden: ValidatingAdmissionPolicy 'x.test' with \
                  binding 'b' denied request: no";
    let table = [
        (400, denied, "ApplyFailed", "x.test"),
        (403, policy, "ApplyFailed", "x.test"),
        (409, denied, "ApplyFailed", "x.test"),
        (429, denied, "ApplyFailed", "x.test"),
        (500, denied, "ApplyFailed", "x.test"),
        (500, down, "WebhookUnavailable", "x.test"),
        (429, "slow down", "Throttled", "slow down"),
        (500, "etcd is away", "ApiServerUnavailable", "etcd is away"),
        (503, "no", "ApiServerUnavailable", "no"),
    ];
    for (code, said, reason, named) in table {
        let mut operator = Operator::new(move |request| {
            if request.line.starts_with("PATCH") && request.line.contains("/deployments/") {
                return (code, failure(code, "", said));
            }
            empty_cluster(request)
        });
        assert!(operator.pass(&object()).await.0.is_err(), "{code} {said}");
        let state = operator.context.shared.fleets.state(&metadata(&object()));
        let status = state.lock().await.status.clone().unwrap().status;
        let ready = &status.conditions[0];
        let found = (ready.type_.as_str(), ready.status.as_str());
        assert_eq!(found, ("Ready", "False"), "{code} {said}");
        assert_eq!(ready.reason, reason, "{code} {said}");
        assert!(ready.message.contains(named), "{}", ready.message);
        let bug = r#"errors_total{class="bug",reason="InternalError"} 0"#;
        assert!(operator.metrics().contains(bug), "{code} {said}");
    }
}

#[tokio::test]
async fn a_spec_that_contradicts_itself_gets_a_condition() {
    let mut operator = Operator::new(empty_cluster);
    let mut contradictory = object();
    let queue = contradictory["spec"]["queues"][0].clone();
    contradictory["spec"]["queues"] = json!([queue, queue]);
    let (result, lines) = operator.pass(&contradictory).await;
    assert_eq!(result.unwrap(), Action::await_change());
    assert_eq!(short(&lines), ["status", "event"]);
}
