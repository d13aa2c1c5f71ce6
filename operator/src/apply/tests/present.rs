//! What happens if an object already has the name of a Deployment that is to be created.

use super::*;

/// What a fleet leaves behind if it is deleted with `--cascade=orphan`.
fn left_behind() -> Deployment {
    let mut left = existing(&simple(), 1, "9");
    left.metadata.owner_references = None;
    left
}

/// Creates the Deployment of the queue while `present` exists.
async fn create_over(present: Deployment) -> (QueueApplied, Vec<ApiRequest>) {
    let present = serde_json::to_value(present).unwrap();
    let (client, log) = api(move |_| (200, present.clone()));
    let mut applied = writer(client)
        .apply(&plan(vec![queue(Step::Create(Box::new(object())))]))
        .await;
    (applied.queues.remove("a").unwrap(), log.take())
}

#[tokio::test]
async fn a_deployment_of_somebody_else_is_never_touched() {
    let mut unlabelled = left_behind();
    unlabelled.metadata.labels = None;
    let (done, requests) = create_over(unlabelled).await;
    let lines: Vec<String> = requests.into_iter().map(|request| request.line).collect();
    assert_eq!(lines, [format!("GET {PATH}/{}", name())]);
    let error = done.error.unwrap();
    assert!(matches!(error, Error::NameConflict { .. }), "{error}");
}

#[tokio::test]
async fn a_deployment_that_an_earlier_fleet_left_behind_is_taken_over_as_it_runs() {
    let (done, requests) = create_over(left_behind()).await;
    assert!(done.error.is_none(), "{:?}", done.error);
    assert!(!done.created && done.scaled.is_none() && done.written.is_some());
    let [_, apply] = &requests[..] else {
        panic!("{requests:?}")
    };
    assert!(apply.line.starts_with("PATCH"), "{}", apply.line);
    let metadata = &apply.body["metadata"];
    assert_eq!(metadata["uid"], "deployment-uid");
    assert_eq!(metadata["ownerReferences"][0]["uid"], simple().key.uid);
    assert_eq!(apply.body["spec"]["replicas"], Value::Null);
}

#[tokio::test]
async fn a_deployment_of_an_earlier_fleet_of_the_same_name_is_awaited() {
    let mut earlier = existing(&simple(), 1, "9");
    earlier.metadata.owner_references.as_mut().unwrap()[0].uid = "an-earlier-uid".to_owned();
    let (done, requests) = create_over(earlier).await;
    assert_eq!(requests.len(), 1);
    assert_eq!(done.error.unwrap().class(), Class::Conflict);
}

#[tokio::test]
async fn a_deployment_that_the_cache_does_not_show_yet_is_not_created_twice() {
    let (client, log) = api(|request| {
        if request.line.starts_with("GET") {
            return (
                200,
                serde_json::to_value(existing(&simple(), 4, "9")).unwrap(),
            );
        }
        (200, accepted(request))
    });
    let applied = writer(client)
        .apply(&plan(vec![queue(Step::Create(Box::new(object())))]))
        .await;
    let name = name();
    assert_eq!(
        log.lines(),
        [
            format!("GET {PATH}/{name}"),
            format!("PATCH {PATH}/{name}?&force=true&fieldManager=taskqueue-operator"),
        ]
    );
    let done = &applied.queues["a"];
    assert_eq!((done.created, &done.scaled), (false, &None));
}
