//! What a Deployment keeps of the recurring load of its queue.

use super::*;
use crate::plan::Remember;

#[tokio::test]
async fn the_recurring_load_is_an_annotation_of_the_deployment_and_its_failure_fails_nothing() {
    let keep = |text: Option<&str>| {
        let remember = Remember {
            decided_on: decided_on(),
            text: text.map(str::to_owned),
        };
        let queue = QueuePlan {
            remember: Some(remember),
            ..queue(Step::Keep)
        };
        plan(vec![queue])
    };
    let annotated = |text: Value| ApiRequest {
        line: format!(
            "PATCH {PATH}/{}?&fieldManager=taskqueue-operator%2Fscaling",
            name()
        ),
        body: json!({"metadata": {
            "uid": "deployment-uid", "resourceVersion": "9",
            "annotations": {"taskqueue.dev/recurring-load": text},
        }}),
    };
    for (text, sent) in [(Some("1 …"), json!("1 …")), (None, Value::Null)] {
        let (client, log) = api(|_| (200, json!({"metadata": {"resourceVersion": "10"}})));
        let applied = writer(client).apply(&keep(text)).await;
        assert_eq!(log.take(), [annotated(sent)]);
        let version = applied.queues["a"].remembered.as_ref().unwrap();
        assert_eq!(version.as_deref().ok(), Some("10"));
    }
    for (code, reason, told) in [(403, "Forbidden", 1), (409, "Conflict", 0)] {
        let (client, _) = api(move |_| (code, failure(code, reason, "no")));
        let applied = writer(client).apply(&keep(None)).await;
        assert_eq!(applied.errors().count(), 0);
        assert_eq!(applied.forgotten().count(), told);
    }
}
