//! Deployments that have changed since the decision, in their status alone or in more.

use super::*;

/// An API server that holds the Deployment `present` and accepts a write only if it names that
/// version.
fn versioned_api(present: Deployment) -> (Client, Log) {
    let version = present.metadata.resource_version.clone();
    let present = serde_json::to_value(present).unwrap();
    api(move |request| {
        if request.line.starts_with("GET") {
            return (200, present.clone());
        }
        let named = request.body["metadata"]["resourceVersion"].as_str();
        if named.map(str::to_owned) != version {
            return (
                409,
                failure(409, "Conflict", "the object has been modified"),
            );
        }
        (200, accepted(request))
    })
}

/// The Deployment of the queue at version 12, changed since version 9.
fn at_12(change: impl FnOnce(&mut Deployment)) -> Deployment {
    let mut present = existing(&simple(), 2, "12");
    present.metadata.generation = Some(3);
    change(&mut present);
    present
}

fn replicas(deployment: &mut Deployment) -> &mut Option<i32> {
    &mut deployment.spec.as_mut().unwrap().replicas
}

type Change = fn(&mut Deployment);

#[tokio::test]
async fn a_scale_up_is_carried_out_only_on_the_object_that_it_was_decided_on() {
    let table: [(&str, Change, bool); 5] = [
        ("pods became ready", |_| {}, true),
        ("somebody scaled", |d| *replicas(d) = Some(20), false),
        (
            "another of that name",
            |d| d.metadata.uid = Some("another".to_owned()),
            false,
        ),
        (
            "another template",
            |d| d.metadata.generation = Some(4),
            false,
        ),
        (
            "on its way out",
            |d| {
                let at = k8s_openapi::jiff::Timestamp::UNIX_EPOCH;
                let at = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at);
                d.metadata.deletion_timestamp = Some(at);
            },
            false,
        ),
    ];
    for (what, change, written) in table {
        let (client, log) = versioned_api(at_12(change));
        let grow = Scale {
            from: 2,
            to: 5,
            decided_on: ScalePrecondition {
                generation: Some(3),
                ..decided_on()
            },
        };
        let queue = QueuePlan {
            scale: Some(grow),
            ..queue(Step::Keep)
        };
        let applied = writer(client).apply(&plan(vec![queue])).await;
        let done = &applied.queues["a"];
        assert_eq!(done.scaled.is_some(), written, "{what}");
        let moved = matches!(done.error, Some(Error::Stale { .. }));
        assert_eq!(moved, !written, "{what}: {:?}", done.error);
        let writes: Vec<Value> = log
            .take()
            .into_iter()
            .filter(|request| request.line.starts_with("PATCH"))
            .map(|request| request.body["metadata"].clone())
            .collect();
        let named = |version: &str| json!({"uid": "deployment-uid", "resourceVersion": version});
        let expected: &[Value] = &[named("9"), named("12")];
        assert_eq!(writes, expected[..if written { 2 } else { 1 }], "{what}");
    }
}

#[tokio::test]
async fn a_scale_down_is_never_sent_twice() {
    let (client, log) = versioned_api(existing(&simple(), 5, "12"));
    let queue = QueuePlan {
        scale: Some(shrink()),
        ..queue(Step::Keep)
    };
    let applied = writer(client).apply(&plan(vec![queue])).await;
    assert!(matches!(
        applied.queues["a"].error,
        Some(Error::Stale { .. })
    ));
    assert_eq!(log.lines().len(), 1);
}

#[tokio::test]
async fn a_template_is_written_only_over_the_one_that_it_was_decided_on() {
    let other: Change = |deployment| {
        let template = &mut deployment.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some("newer:2".to_owned());
    };
    let table: [(&str, Change, bool); 3] = [
        ("pods became ready", |_| {}, true),
        ("somebody scaled", |d| *replicas(d) = Some(20), true),
        ("another template", other, false),
    ];
    for (what, change, written) in table {
        let (client, log) = versioned_api(at_12(change));
        let applied = writer(client).apply(&plan(vec![queue(apply_step())])).await;
        let done = &applied.queues["a"];
        assert_eq!(done.written.is_some(), written, "{what}");
        let moved = matches!(done.error, Some(Error::Stale { .. }));
        assert_eq!(moved, !written, "{what}: {:?}", done.error);
        assert_eq!(
            done.end,
            End::Settled,
            "{what}: it says nothing about the template"
        );
        let writes = log
            .lines()
            .iter()
            .filter(|line| line.starts_with("PATCH"))
            .count();
        assert_eq!(writes, if written { 2 } else { 1 }, "{what}");
    }
}

#[tokio::test]
async fn a_creation_is_finished_with_the_replicas_that_the_server_holds() {
    // The cache shows 2 replicas. Somebody has set 9 by the time of the apply, and 7 right after.
    let mut present = existing(&simple(), 7, "101");
    let annotations = present.metadata.annotations.as_mut().unwrap();
    annotations.insert(CREATING.to_owned(), "true".to_owned());
    let present = serde_json::to_value(present).unwrap();
    let (client, log) = api(move |request| {
        if request.line.starts_with("GET") {
            return (200, present.clone());
        }
        let mut body = accepted(request);
        if request.body["spec"].get("template").is_some() {
            body["metadata"]["annotations"][CREATING] = json!("true");
            body["spec"]["replicas"] = json!(9);
        } else if request.body["metadata"]["resourceVersion"] != "101" {
            let why = "the object has been modified";
            return (409, failure(409, "Conflict", why));
        }
        (200, body)
    });
    let mut step = apply_step();
    if let Step::Apply {
        finish_creation, ..
    } = &mut step
    {
        *finish_creation = Some(2);
    }
    let applied = writer(client).apply(&plan(vec![queue(step)])).await;
    assert!(applied.queues["a"].error.is_none(), "{applied:?}");
    let finished: Vec<(Value, Value)> = log
        .take()
        .into_iter()
        .filter(|request| request.line.starts_with("PATCH"))
        .skip(1)
        .map(|request| {
            let version = request.body["metadata"]["resourceVersion"].clone();
            (version, request.body["spec"].clone())
        })
        .collect();
    let expected = [("100", 9), ("101", 7)]
        .map(|(version, replicas)| (json!(version), json!({"replicas": replicas})));
    assert_eq!(finished, expected);
}
