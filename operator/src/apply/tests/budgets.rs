//! The exact requests of the writer for PodDisruptionBudgets.

use super::*;

#[tokio::test]
async fn a_disruption_budget_is_written_before_its_deployment() {
    let (client, log) = willing_api();
    let mut queue = queue(apply_step());
    queue.budget = BudgetStep::Apply(Box::new(budget()));
    let applied = writer(client).apply(&plan(vec![queue])).await;
    assert_eq!(applied.errors().count(), 0);
    let name = name();
    let managed = "?&force=true&fieldManager=taskqueue-operator";
    assert_eq!(
        log.lines(),
        [
            format!("GET {BUDGETS}/{name}"),
            format!("PATCH {BUDGETS}/{name}{managed}"),
            format!("PATCH {PATH}/{name}{managed}"),
        ]
    );
}

#[tokio::test]
async fn a_disruption_budget_of_somebody_else_is_left_alone() {
    let (client, log) = api(|request| {
        let mut others = serde_json::to_value(budget()).unwrap();
        others["metadata"]["ownerReferences"] = json!([]);
        others["metadata"]["labels"] = json!({"app": "another"});
        if request.line.starts_with("GET") {
            (200, others)
        } else {
            (200, accepted(request))
        }
    });
    let writer = writer(client);
    let with = |step| {
        let mut queue = queue(Step::Keep);
        queue.budget = step;
        plan(vec![queue])
    };
    let applied = writer
        .apply(&with(BudgetStep::Apply(Box::new(budget()))))
        .await;
    let reasons: Vec<&str> = applied
        .errors()
        .map(|error| error.reason().as_str())
        .collect();
    assert_eq!(reasons, ["NameConflict"]);
    let applied = writer.apply(&with(BudgetStep::Delete)).await;
    assert_eq!(applied.errors().count(), 0);
    let line = format!("GET {BUDGETS}/{}", name());
    assert_eq!(log.lines(), [line.clone(), line]);
}

#[tokio::test]
async fn a_disruption_budget_that_an_earlier_fleet_left_behind_is_taken_over() {
    let (client, log) = api(|_| {
        let mut left = budget();
        left.metadata.owner_references = None;
        (200, serde_json::to_value(left).unwrap())
    });
    let mut queue = queue(Step::Keep);
    queue.budget = BudgetStep::Apply(Box::new(budget()));
    let applied = writer(client).apply(&plan(vec![queue])).await;
    assert_eq!(applied.errors().count(), 0);
    let requests = log.take();
    let written = &requests[1].body["metadata"]["ownerReferences"][0]["uid"];
    assert_eq!(*written, simple().key.uid);
}

#[tokio::test]
async fn a_disruption_budget_is_deleted_only_if_it_is_the_one_that_was_read() {
    for code in [200, 404, 409] {
        let (client, log) = api(move |request| {
            let mut ours = serde_json::to_value(budget()).unwrap();
            ours["metadata"]["uid"] = json!("budget-uid");
            match (code, request.line.starts_with("GET")) {
                (200, _) | (_, true) => (200, ours),
                _ => (code, failure(code, "", "gone")),
            }
        });
        let mut queue = queue(Step::Keep);
        queue.budget = BudgetStep::Delete;
        let applied = writer(client).apply(&plan(vec![queue])).await;
        assert_eq!(applied.errors().count(), 0, "{code}");
        let request = |line: String, body: Value| ApiRequest { line, body };
        let name = name();
        assert_eq!(
            log.take(),
            [
                request(format!("GET {BUDGETS}/{name}"), Value::Null),
                request(
                    format!("DELETE {BUDGETS}/{name}?"),
                    json!({"preconditions": {"uid": "budget-uid"}}),
                ),
            ],
            "{code}"
        );
    }
}
