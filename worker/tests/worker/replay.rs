//! Replays recorded histories of every path with the current workflow, so that a change that would
//! break a running order fails here and not in production. `record` produces the histories.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use order_worker::domain::order::TaskQueues;
use order_worker::domain::workflow::OrderWorkflow;
use serde_json::{Value, json};
use temporalio_client::WorkflowHistory;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

use crate::history::{contains_in_order, place_of, summary};

/// A path through the workflow, and the lines that its history must contain.
pub(crate) type HistoryPath = (&'static str, &'static [&'static str]);

/// All paths through the current workflow.
pub(crate) const PATHS: [HistoryPath; 32] = [
    (
        CHECKED,
        &[
            "patch",
            "check_order completed",
            "create_order completed",
            "reserve_inventory completed",
            "process_payment completed",
            "order completed: completed",
        ],
    ),
    (
        "checked-and-refused",
        &[
            "patch",
            "check_order failed: InvalidOrder",
            "order failed: InvalidOrder",
        ],
    ),
    (
        "completed",
        &[
            "create_order completed",
            "reserve_inventory completed",
            "process_payment completed",
            "order completed: completed",
        ],
    ),
    (
        "create-cancelled",
        &[
            "create_order asked to stop",
            "create_order completed",
            "cancel_order_activity completed",
            "order cancelled: cancelled",
        ],
    ),
    (
        "declined",
        &[
            "process_payment failed: PaymentDeclined",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order completed: declined",
        ],
    ),
    (
        "failed",
        &[
            "process_payment failed: PaymentUnavailable",
            "settle_payment completed",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order failed: PaymentUnavailable",
        ],
    ),
    ("invalid", &["order failed: InvalidOrder"]),
    (
        "mailed",
        &["send_notification completed", "order completed: completed"],
    ),
    (
        "mailing-cancelled-and-counted",
        &[
            "send_notification asked to stop",
            "send_notification cancelled",
            "count_mails completed",
            "order completed: completed",
        ],
    ),
    (
        "mailing-counted",
        &[
            "send_notification asked to stop",
            "count_mails completed",
            "order completed: completed",
        ],
    ),
    (
        "mailing-timed-out",
        &[
            "send_notification asked to stop",
            "send_notification timed out: Heartbeat",
            "count_mails completed",
            "order completed: completed",
        ],
    ),
    ("misspelt", &["patch", "order failed: InvalidOrder"]),
    (
        "order-conflict",
        &[
            "create_order failed: OrderConflict",
            "cancel_order_activity completed",
            "order failed: OrderConflict",
        ],
    ),
    (
        "out-of-stock",
        &[
            "reserve_inventory failed: OutOfStock",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order completed: out_of_stock",
        ],
    ),
    (
        "payment-cancelled-before-an-attempt",
        &[
            "process_payment asked to stop",
            "process_payment cancelled",
            "settle_payment completed",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order cancelled: cancelled",
        ],
    ),
    (
        "payment-cancelled-but-charged",
        &[
            "process_payment asked to stop",
            "process_payment completed",
            "count_mails completed",
            "order completed: completed",
        ],
    ),
    (
        "payment-cancelled-but-settled",
        &[
            "process_payment asked to stop",
            "process_payment failed: PaymentUnavailable",
            "settle_payment completed",
            "order completed: completed",
        ],
    ),
    (
        "payment-cancelled-and-voided",
        &[
            "process_payment asked to stop",
            "process_payment failed: PaymentUnavailable",
            "settle_payment completed",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order cancelled: cancelled",
        ],
    ),
    (
        "payment-not-taken",
        &[
            "process_payment failed: PaymentRefused",
            "patch",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order failed: PaymentRefused",
        ],
    ),
    (
        "payment-unsettled",
        &[
            "process_payment failed: PaymentUnavailable",
            "settle_payment failed: PaymentUnsettled",
            "patch",
            "order failed: PaymentUnsettled",
        ],
    ),
    (
        "reserve-cancelled",
        &[
            "reserve_inventory asked to stop",
            "reserve_inventory completed",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order cancelled: cancelled",
        ],
    ),
    (
        "reserve-timed-out",
        &[
            "reserve_inventory timed out: StartToClose",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order failed: ActivityTimeout",
        ],
    ),
    (
        "retried",
        &[
            "process_payment attempt 3",
            "process_payment completed",
            "order completed: completed",
        ],
    ),
    (
        "search-attributes",
        &[
            "search attributes",
            "create_order completed",
            "search attributes",
            "process_payment completed",
            "search attributes",
            "order completed: completed",
        ],
    ),
    (
        "separate-queues",
        &[
            "create_order scheduled",
            "reserve_inventory scheduled on replay-apart",
            "process_payment scheduled on replay-apart",
            "send_notification scheduled on replay-apart",
            "order completed: completed",
        ],
    ),
    (
        "settled",
        &[
            "process_payment failed: PaymentUnavailable",
            "settle_payment completed",
            "order completed: completed",
        ],
    ),
    (
        "settled-declined",
        &[
            "process_payment failed: PaymentUnavailable",
            "settle_payment completed",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order completed: declined",
        ],
    ),
    (
        "signal-cancelled",
        &[
            "signal",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order completed: cancelled",
        ],
    ),
    (
        "update-cancelled",
        &[
            "update",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order completed: cancelled",
        ],
    ),
    // A refused update leaves nothing behind.
    (
        UPDATE_REFUSED,
        &["process_payment completed", "order completed: completed"],
    ),
    (
        "window-passed",
        &["timer fired", "process_payment completed"],
    ),
    (
        "workflow-cancelled",
        &[
            "timer cancelled",
            "release_inventory completed",
            "cancel_order_activity completed",
            "order cancelled: cancelled",
        ],
    ),
];

/// Paths that only orders of an earlier version take.
const EARLIER: [HistoryPath; 1] = [(
    "mailing-cancelled",
    &["send_notification cancelled", "order completed: completed"],
)];

/// The path whose order is checked by an activity and completes.
pub(crate) const CHECKED: &str = "checked";

/// The path whose update is refused.
pub(crate) const UPDATE_REFUSED: &str = "update-refused";

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

pub(crate) fn replayer() -> WorkflowReplayer {
    replayer_with(&TaskQueues::default())
}

/// A replayer whose settings send activities to these queues.
fn replayer_with(queues: &TaskQueues) -> WorkflowReplayer {
    let queues = queues.clone();
    let options = WorkflowReplayerOptions::new()
        .register_workflow_with_factory(move || OrderWorkflow::routed(queues.clone()))
        .unwrap();
    WorkflowReplayer::new(options.build()).unwrap()
}

fn recorded(path: &str) -> Vec<u8> {
    let file = folder().join(format!("{path}.json"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Checks that a history contains the lines of its path.
pub(crate) fn check((path, lines): HistoryPath, events: &[HistoryEvent]) {
    let summary = summary(events);
    assert!(
        contains_in_order(&summary, lines),
        "{path}: {lines:#?} in {summary:#?}"
    );
    if path == UPDATE_REFUSED {
        assert_eq!(place_of(&summary, "update"), None, "{path}: {summary:#?}");
    }
}

#[tokio::test]
async fn recorded_histories_of_every_path_replay() {
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let paths: Vec<HistoryPath> = PATHS.into_iter().chain(EARLIER).collect();
    let names = paths.iter().map(|(path, _)| (*path).to_owned());
    assert_eq!(files, names.collect());
    let mut histories = Vec::new();
    for path in &paths {
        let history = || WorkflowHistory::from_json(&recorded(path.0)).unwrap();
        check(*path, &history().into_events().await.unwrap());
        histories.push(history());
    }
    replay(&replayer(), &paths, histories).await;
}

async fn replay(
    replayer: &WorkflowReplayer,
    paths: &[HistoryPath],
    histories: Vec<WorkflowHistory>,
) {
    let results = replayer.replay_workflows(histories).await.unwrap();
    for ((path, _), result) in paths.iter().zip(results) {
        assert!(
            result.replay_failure.is_none(),
            "{path}: {:?}",
            result.replay_failure
        );
    }
}

/// A worker may continue an order that another worker, with other queues in its settings, has
/// started.
#[tokio::test]
async fn recorded_histories_replay_with_any_queues_in_the_worker_settings() {
    let queue = |name: &str| Some(name.to_owned());
    let all = TaskQueues {
        inventory: queue("elsewhere"),
        payments: queue("somewhere"),
        notifications: queue("anywhere"),
    };
    let one = TaskQueues {
        payments: queue("somewhere"),
        ..TaskQueues::default()
    };
    let paths: Vec<HistoryPath> = PATHS.into_iter().chain(EARLIER).collect();
    for queues in [all, one] {
        let histories = paths
            .iter()
            .map(|path| WorkflowHistory::from_json(&recorded(path.0)).unwrap());
        replay(&replayer_with(&queues), &paths, histories.collect()).await;
    }
}

/// Replays the history of a path as if the client had sent something else.
async fn replay_with(path: &str, sent: &Value) -> Result<(), String> {
    let text = String::from_utf8(recorded(path)).unwrap();
    let input = BASE64.encode(format!("{{\"order_id\":\"{path}\",\"total\":100}}"));
    assert!(text.contains(&input), "{path} has another input");
    // The first is the input of the workflow; `check_order` has the same.
    let changed = text.replacen(&input, &BASE64.encode(sent.to_string()), 1);
    let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
    let replayed = replayer().replay_workflow(history).await;
    replayed.map(drop).map_err(|failure| failure.to_string())
}

/// A later version may refuse what this one accepts, by its own rules or by those of a crate. An
/// order that has begun goes on as it was accepted.
#[tokio::test]
async fn an_order_that_would_be_refused_today_continues_as_it_was_accepted() {
    for refused in [
        json!({"order_id": CHECKED, "total": 0}),
        json!({"order_id": CHECKED, "total": 100, "recipients": ["nobody"]}),
        json!({"order_id": CHECKED, "total": 100, "items": [{"sku": "standard", "qty": 1}]}),
        json!("no order at all"),
    ] {
        replay_with(CHECKED, &refused).await.unwrap();
    }
}

/// Orders of earlier versions are checked by the workflow itself. What those versions accepted, at
/// the limit of each field, must not be refused.
#[tokio::test]
async fn an_order_that_an_earlier_version_accepted_continues() {
    let order = |field: &str, value: Value| {
        let mut order = json!({"order_id": "completed", "total": 100});
        order[field] = value;
        order
    };
    let long = |length: usize| json!("x".repeat(length));
    // Without recipients, because the order of this history has none.
    let accepted = [
        order("order_id", long(100)),
        order("id", json!("completed")),
        order("total", json!(1_000_000_000_000_i64)),
        order("total", json!(1.0)),
        order("currency", json!("ZZZ")),
        order(
            "items",
            json!(vec![
                json!({"sku": "x".repeat(100), "quantity": 1_000_000});
                100
            ]),
        ),
        // Versions before misspelt fields were refused.
        order("items", json!([{"sku": "standard", "qty": 1}])),
        order("card", long(200)),
        order("payment_token", json!("4111111111111112")),
        order("recipients", json!([])),
        order("subject", long(200)),
        order("body", long(100_000)),
        order("body", json!("\u{0}")),
        order("cancel_window_seconds", json!(0)),
        order("task_queues", json!({"inventory": "q".repeat(200)})),
        order("search_attributes", json!(false)),
        order("customer_id", json!({"any": ["thing"]})),
    ];
    for order in accepted {
        replay_with("completed", &order)
            .await
            .unwrap_or_else(|failure| panic!("{order}: {failure}"));
    }
    let refused = replay_with("completed", &order("total", json!(0))).await;
    assert!(refused.unwrap_err().contains("TMPRL1100"));
}

#[tokio::test]
async fn a_change_of_the_steps_is_detected() {
    let text = String::from_utf8(recorded("completed")).unwrap();
    assert!(text.contains("reserve_inventory"));
    let changed = text.replace("reserve_inventory", "reserve_stock");
    let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
    let failure = replayer().replay_workflow(history).await.unwrap_err();
    assert!(failure.to_string().contains("TMPRL1100"), "{failure}");
}
