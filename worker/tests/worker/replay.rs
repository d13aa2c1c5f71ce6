//! Recorded histories of every path are replayed against today's workflow, so that a change that
//! would break an order that is under way fails here and not in production.
//!
//! `ORDER_WORKER_RECORD=PATH cargo test -p order-worker replay` writes the history of one path. That
//! is right for a new path only: a recorded one stands for orders that run somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use order_worker::commands::OrderHandle;
use order_worker::gateway::GatewayOptions;
use order_worker::order::{OrderInput, OrderState};
use order_worker::workflow::{OrderWorkflow, Words};
use serde_json::{Value, json};
use temporalio_client::{
    WorkflowCancelOptions, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions,
    WorkflowHistory, WorkflowQueryOptions, WorkflowSignalOptions,
};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};

use crate::smtp::Behaviour;
use crate::support::{Shop, eventually, have_search_attribute};

/// Every path through the workflow.
const PATHS: [&str; 15] = [
    "completed",
    "declined",
    "failed",
    "invalid",
    "mailed",
    "mailing-cancelled",
    "mailing-counted",
    "out-of-stock",
    "retried",
    "search-attributes",
    "settled",
    "signal-cancelled",
    "update-cancelled",
    "window-passed",
    "workflow-cancelled",
];

/// A recipient whom the mail server never takes, so that the mailing goes on until it is cancelled.
const PUT_OFF: &str = "later@example.com";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/histories")
}

fn replayer() -> WorkflowReplayer {
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<OrderWorkflow>()
        .unwrap();
    WorkflowReplayer::new(options.build()).unwrap()
}

fn recorded(path: &str) -> Vec<u8> {
    let file = folder().join(format!("{path}.json"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
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
    assert_eq!(files, PATHS.map(str::to_owned).into());
    let histories = PATHS.map(|path| WorkflowHistory::from_json(&recorded(path)).unwrap());
    let results = replayer().replay_workflows(histories).await.unwrap();
    for (path, result) in PATHS.iter().zip(results) {
        assert!(
            result.replay_failure.is_none(),
            "{path}: {:?}",
            result.replay_failure
        );
    }
}

#[tokio::test]
async fn a_change_of_the_steps_is_found() {
    let text = String::from_utf8(recorded("completed")).unwrap();
    assert!(text.contains("reserve_inventory"));
    let changed = text.replace("reserve_inventory", "reserve_stock");
    let history = WorkflowHistory::from_json(changed.as_bytes()).unwrap();
    let failure = replayer().replay_workflow(history).await.unwrap_err();
    assert!(failure.to_string().contains("TMPRL1100"), "{failure}");
}

#[tokio::test]
async fn fresh_histories_of_every_path_replay() {
    let smtp = Behaviour {
        put_off: BTreeMap::from([(PUT_OFF.to_owned(), u32::MAX)]),
        ..Behaviour::default()
    };
    let shop = Shop::open_with("replay", GatewayOptions::default(), smtp).await;
    have_search_attribute(&shop.client).await;
    let worker = shop.worker().await;
    let handles = place_all(&shop).await;
    for (path, handle) in PATHS.iter().zip(&handles) {
        shop.end_of(handle).await;
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
        let json = history.to_json().await.unwrap();
        if std::env::var("ORDER_WORKER_RECORD").is_ok_and(|wanted| wanted == *path) {
            std::fs::write(folder().join(format!("{path}.json")), anonymous(&json)).unwrap();
        }
        let history = WorkflowHistory::from_json(&json).unwrap();
        replayer()
            .replay_workflow(history)
            .await
            .unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    worker.drain().await;
}

/// Starts one order per path, in the order of `PATHS`.
async fn place_all(shop: &Shop) -> Vec<OrderHandle> {
    let mut handles = Vec::new();
    for path in PATHS {
        let order = OrderInput::new(path, 100);
        let input = match path {
            "declined" => order.with("card", "tok_declined"),
            "failed" => order.with("card", "tok_broken"),
            "invalid" => order.with("total", 0),
            "mailed" => order.with("recipients", json!(["a@example.com", "b@example.com"])),
            "out-of-stock" => order.with("items", json!([{"sku": "sold-out"}])),
            "retried" => order.with("card", "tok_flaky"),
            "search-attributes" => order.with_search_attributes(),
            "settled" => order.with("card", "tok_lost"),
            "signal-cancelled" | "update-cancelled" | "workflow-cancelled" => {
                order.with("cancel_window_seconds", 600)
            }
            "window-passed" => order.with("cancel_window_seconds", 1),
            "mailing-counted" => order.with("recipients", json!(["a@example.com", PUT_OFF])),
            "mailing-cancelled" => {
                let recipients: Vec<String> =
                    (0..200).map(|n| format!("r{n}@example.com")).collect();
                order.with("recipients", json!(recipients))
            }
            _ => order,
        };
        let handle = shop.place(input).await;
        cancel(path, &handle).await;
        handles.push(handle);
    }
    handles
}

/// Cancels an order whose path says so, when it stands where the path says.
async fn cancel(path: &str, handle: &OrderHandle) {
    let state = match path {
        "mailing-cancelled" | "mailing-counted" => OrderState::Notifying,
        "signal-cancelled" | "update-cancelled" | "workflow-cancelled" => OrderState::Waiting,
        _ => return,
    };
    eventually("the order stands where it is to be cancelled", async || {
        let status = handle
            .query(OrderWorkflow::state, (), WorkflowQueryOptions::default())
            .await;
        status
            .is_ok_and(|status| status.state == state)
            .then_some(())
    })
    .await;
    let reason = Words::from("test");
    match path {
        "signal-cancelled" => {
            let options = WorkflowSignalOptions::default();
            let signal = OrderWorkflow::cancel_order_signal;
            handle.signal(signal, reason, options).await.unwrap();
        }
        "update-cancelled" => {
            let options = WorkflowExecuteUpdateOptions::default();
            let update = OrderWorkflow::cancel_order;
            handle
                .execute_update(update, reason, options)
                .await
                .unwrap();
        }
        _ => {
            let options = WorkflowCancelOptions::default();
            handle.cancel(options).await.unwrap();
        }
    }
}

/// The history without the names of the machine and the process that made it, in readable form.
fn anonymous(json: &[u8]) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    if name == "identity" && value.is_string() {
                        *value = json!("recorder");
                    } else {
                        walk(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value: Value = serde_json::from_slice(json).unwrap();
    walk(&mut value);
    let mut text = serde_json::to_string_pretty(&value).unwrap();
    text.push('\n');
    text
}
