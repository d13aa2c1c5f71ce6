//! Produces and replays a new history of every path, and records them on request.
//!
//! `ORDER_WORKER_RECORD=PATH cargo test -p order-worker replay` writes the history of one path, or
//! of several with commas between them. Do this only for a new path: a recorded history represents
//! orders that are running somewhere.

use std::time::Duration;

use axum::http::StatusCode;
use order_gateway::{FaultOptions, GatewayOptions};
use order_worker::commands::OrderHandle;
use order_worker::domain::order::messages::CreateOrder;
use order_worker::domain::order::{OrderInput, OrderState};
use order_worker::domain::workflow::{OrderWorkflow, Words};
use order_worker_testkit::postgres_database;
use serde_json::{Value, json};
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowExecuteUpdateOptions, WorkflowFetchHistoryOptions,
    WorkflowHistory, WorkflowSignalOptions,
};

use crate::hold::{Hold, Step};
use crate::orders::state_of;
use crate::pending::{asked_to_stop, failed_attempts, last_attempt, pending};
use crate::plain::PlainGateway;
use crate::replay::{PATHS, UPDATE_REFUSED, check, folder, replayer};
use crate::smtp::Behavior;
use crate::support::{Shop, Worker, eventually, have_search_attribute};

/// A recipient that the mail server always defers, so that the mailing lasts until it is cancelled.
const PUT_OFF: &str = "later@example.com";

/// Number of recipients of a mailing that takes half a minute; a cancellation arrives within 12 s.
const LONG_MAILING: usize = 600;

/// Task queues: of the slow shop, of all roles except orders, of payments at a gateway that can
/// only charge, and of the workers that are killed.
const SLOW: &str = "replay-slow";
const APART: &str = "replay-apart";
const PLAIN: &str = "replay-plain";
const KILLED_INVENTORY: &str = "replay-killed-inventory";
const KILLED_MAILS: &str = "replay-killed-mails";

/// The amount that the gateway declines.
const DECLINED_AMOUNT: i64 = 402;

/// What all paths need: a shop, a slow shop, a separate queue, and workers that are killed.
struct Stage {
    shop: Shop,
    /// On the same database. Its gateway delays answers by less than the worker's timeout, and its
    /// mail server delays each mail.
    slow: Shop,
    workers: Vec<Worker>,
}

impl Stage {
    async fn set() -> Self {
        let faults = FaultOptions {
            decline_amounts: vec![DECLINED_AMOUNT],
            retry_after_seconds: 600,
            ..FaultOptions::default()
        };
        let gateway = GatewayOptions {
            faults,
            ..GatewayOptions::default()
        };
        let smtp = Behavior {
            put_off: [(PUT_OFF.to_owned(), u32::MAX)].into(),
            ..Behavior::default()
        };
        let mut shop = Shop::open_with("replay", gateway, smtp).await;
        shop.database_url = postgres_database().await;
        let gateway = GatewayOptions {
            delay: Duration::from_secs(8),
            ..GatewayOptions::default()
        };
        let smtp = Behavior {
            delay: Duration::from_millis(50),
            ..Behavior::default()
        };
        let mut slow = Shop::open_with(SLOW, gateway, smtp).await;
        slow.database_url.clone_from(&shop.database_url);
        let workers = vec![
            shop.worker().await,
            slow.worker().await,
            player(&shop, "all", APART).await,
            plain(&shop).await,
        ];
        have_search_attribute(&shop.client).await;
        Self {
            shop,
            slow,
            workers,
        }
    }

    /// Starts the order of a path and makes it take that path.
    async fn play(&mut self, path: &str) -> OrderHandle {
        let input = input(path);
        match path {
            "create-cancelled" => self.held(input, Step::Create).await,
            "mailing-cancelled-and-counted" => {
                let order = self.shop.place(input).await;
                self.mailing(path).await;
                cancel(&order).await;
                order
            }
            "mailing-counted" => self.cancelled(input, OrderState::Notifying).await,
            "mailing-timed-out" => self.mailing_timed_out(input).await,
            "order-conflict" => {
                self.another_has(path).await;
                self.shop.place(input).await
            }
            "payment-cancelled-before-an-attempt" => {
                let order = self.shop.place(input).await;
                failed_attempts(&self.shop, path, "process_payment", 1).await;
                cancel(&order).await;
                order
            }
            "payment-cancelled-and-voided"
            | "payment-cancelled-but-charged"
            | "payment-cancelled-but-settled" => {
                let order = self.paid_slowly(input).await;
                cancel(&order).await;
                asked_to_stop(&self.slow, path).await;
                order
            }
            "reserve-cancelled" => self.held(input, Step::Reserve).await,
            "reserve-timed-out" => self.reserve_timed_out(input).await,
            "signal-cancelled" | "update-cancelled" | "workflow-cancelled" => {
                self.cancelled(input, OrderState::Waiting).await
            }
            UPDATE_REFUSED => {
                let order = self.paid_slowly(input).await;
                let answer = update(&order).await;
                let refused = matches!(&answer, Err(WorkflowUpdateError::Failed(failure))
                    if failure.message.contains("can no longer be cancelled"));
                assert!(refused, "{answer:?}");
                order
            }
            _ => self.shop.place(input).await,
        }
    }

    /// Cancels the order as soon as it is in this state.
    async fn cancelled(&self, input: OrderInput, state: OrderState) -> OrderHandle {
        let id = id_of(&input);
        let order = self.shop.place(input).await;
        eventually("the order stands where it is to be cancelled", async || {
            (state_of(&self.shop, &id).await == state).then_some(())
        })
        .await;
        match id.as_str() {
            "signal-cancelled" => signal(&order).await,
            "update-cancelled" => update(&order).await.unwrap(),
            _ => cancel(&order).await,
        }
        order
    }

    /// Creates the order for another workflow.
    async fn another_has(&self, order_id: &str) {
        let store = self.shop.store().await;
        let other = CreateOrder {
            order_id: order_id.to_owned(),
            total: 100,
            currency: "USD".to_owned(),
            first_run_id: None,
        };
        store.create_order("another", &other).await.unwrap();
        store.close().await;
    }

    /// Waits until the slow shop has mailed a recipient of an order.
    async fn mailing(&self, path: &str) {
        let name = format!("<{path}.");
        eventually("the mailing has begun", async || {
            let mails = self.slow.smtp.mails();
            let begun = mails.iter().any(|mail| mail.message_id.starts_with(&name));
            begun.then_some(())
        })
        .await;
    }

    /// Places an order and waits until the gateway is charging it but has not answered.
    async fn paid_slowly(&self, input: OrderInput) -> OrderHandle {
        let id = id_of(&input);
        let order = self.slow.place(input).await;
        eventually("the order is being paid", async || self.slow.charge(&id)).await;
        order
    }

    /// Cancels an order while a step waits for its row, then releases the row.
    async fn held(&self, input: OrderInput, step: Step) -> OrderHandle {
        let id = id_of(&input);
        let mut hold = Hold::of(&self.shop, step, &id).await;
        let order = self.shop.place(input).await;
        hold.waited_for().await;
        cancel(&order).await;
        asked_to_stop(&self.shop, &id).await;
        hold.let_go().await;
        order
    }

    /// Kills the worker during the only attempt to reserve stock.
    async fn reserve_timed_out(&mut self, input: OrderInput) -> OrderHandle {
        let (id, queue) = (id_of(&input), KILLED_INVENTORY);
        let mut hold = Hold::of(&self.shop, Step::Reserve, &id).await;
        let killed = player(&self.shop, "inventory", queue).await;
        let order = self.shop.place(input).await;
        hold.waited_for().await;
        let reserving = pending(&self.shop, &id).await.unwrap();
        last_attempt(&self.shop, &id, &reserving).await;
        drop(killed);
        hold.let_go().await;
        let next = player(&self.shop, "inventory", queue).await;
        self.workers.push(next);
        order
    }

    /// Kills the worker during the mailing, and cancels the order before the kill is noticed.
    async fn mailing_timed_out(&mut self, input: OrderInput) -> OrderHandle {
        let (id, queue) = (id_of(&input), KILLED_MAILS);
        let killed = player(&self.slow, "notifications", queue).await;
        let order = self.shop.place(input).await;
        self.mailing(&id).await;
        drop(killed);
        cancel(&order).await;
        asked_to_stop(&self.shop, &id).await;
        let next = player(&self.slow, "notifications", queue).await;
        self.workers.push(next);
        order
    }
}

/// The input of the order that takes a path.
fn input(path: &str) -> OrderInput {
    let order = OrderInput::new(path, 100);
    let recipients = |count| {
        let all: Vec<String> = (0..count).map(|n| format!("r{n}@example.com")).collect();
        json!(all)
    };
    match path {
        "checked-and-refused" => order.with("currency", "usd"),
        "declined" => order.with("card", "tok_declined"),
        "failed" | "payment-cancelled-and-voided" => order.with("card", "tok_broken"),
        "invalid" => order.with("total", 0),
        "mailed" | "payment-cancelled-but-charged" => order.with("recipients", recipients(2)),
        "mailing-cancelled-and-counted" => order
            .with("recipients", recipients(LONG_MAILING))
            .with("task_queues", json!({"notifications": SLOW})),
        "mailing-counted" => order.with("recipients", json!(["a@example.com", PUT_OFF])),
        "mailing-timed-out" => order
            .with("recipients", recipients(LONG_MAILING))
            .with("task_queues", json!({"notifications": KILLED_MAILS})),
        "misspelt" => order.with("items", json!([{"sku": "lamp", "qty": 5}])),
        "payment-not-taken" | "payment-unsettled" => {
            order.with("task_queues", json!({"payments": PLAIN}))
        }
        "out-of-stock" => order.with("items", json!([{"sku": "sold-out"}])),
        "payment-cancelled-before-an-attempt" => order.with("card", "tok_rate_limited"),
        "payment-cancelled-but-settled" | "settled" => order.with("card", "tok_lost"),
        "reserve-timed-out" => order.with("task_queues", json!({"inventory": KILLED_INVENTORY})),
        "retried" => order.with("card", "tok_flaky"),
        "search-attributes" => order.with_search_attributes(),
        "separate-queues" => order.with("recipients", recipients(1)).with(
            "task_queues",
            json!({"inventory": APART, "payments": APART, "notifications": APART}),
        ),
        "settled-declined" => order
            .with("total", DECLINED_AMOUNT)
            .with("card", "tok_lost"),
        "signal-cancelled" | "update-cancelled" | "workflow-cancelled" => {
            order.with("cancel_window_seconds", 600)
        }
        "window-passed" => order.with("cancel_window_seconds", 1),
        _ => order,
    }
}

/// Starts a payment worker for a gateway that can only charge, and fails even at that.
async fn plain(shop: &Shop) -> Worker {
    let answers = [("payment-not-taken", 400), ("payment-unsettled", 500)];
    let answers = answers.map(|(id, status)| (id.to_owned(), (status, json!({}))));
    let gateway = PlainGateway::start(answers.into(), StatusCode::NOT_FOUND).await;
    let more = [
        ("ORDER_WORKER_ROLE", "payments"),
        ("TEMPORAL_TASK_QUEUE", PLAIN),
        ("PAYMENT_GATEWAY_URL", &gateway.url),
    ];
    shop.worker_with(&more).await
}

/// Starts a worker of one role on a queue. Dropping it kills it.
async fn player(shop: &Shop, role: &str, queue: &str) -> Worker {
    let more = [("ORDER_WORKER_ROLE", role), ("TEMPORAL_TASK_QUEUE", queue)];
    shop.worker_with(&more).await
}

fn id_of(input: &OrderInput) -> String {
    let order = serde_json::to_value(input).unwrap();
    order["order_id"].as_str().unwrap().to_owned()
}

async fn cancel(order: &OrderHandle) {
    let options = WorkflowCancelOptions::default();
    order.cancel(options).await.unwrap();
}

async fn signal(order: &OrderHandle) {
    let (words, options) = (Words::from("test"), WorkflowSignalOptions::default());
    let signal = OrderWorkflow::cancel_order_signal;
    order.signal(signal, words, options).await.unwrap();
}

async fn update(order: &OrderHandle) -> Result<(), WorkflowUpdateError> {
    let (words, options) = (Words::from("test"), WorkflowExecuteUpdateOptions::default());
    let update = OrderWorkflow::cancel_order;
    order.execute_update(update, words, options).await.map(drop)
}

#[tokio::test]
async fn fresh_histories_of_every_path_replay() {
    let mut stage = Stage::set().await;
    let mut orders = Vec::new();
    for (path, _) in PATHS {
        orders.push(stage.play(path).await);
    }
    let wanted = std::env::var("ORDER_WORKER_RECORD").unwrap_or_default();
    for (path, order) in PATHS.into_iter().zip(&orders) {
        stage.shop.end_of(order).await;
        let history = order.fetch_history(WorkflowFetchHistoryOptions::default());
        let json = history.to_json().await.unwrap();
        let history = || WorkflowHistory::from_json(&json).unwrap();
        check(path, &history().into_events().await.unwrap());
        let (name, _) = path;
        if wanted.split(',').any(|wanted| wanted == name) {
            std::fs::write(folder().join(format!("{name}.json")), anonymous(&json)).unwrap();
        }
        replayer()
            .replay_workflow(history())
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    for worker in stage.workers {
        worker.drain().await;
    }
}

/// Removes the names of the machine and the process from a history, and formats it for reading.
fn anonymous(json: &[u8]) -> String {
    /// `TaskQueueKind` of a sticky queue, which is named after its process.
    const STICKY: i64 = 2;
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.get("kind") == Some(&json!(STICKY)) && fields.contains_key("normal_name")
                {
                    fields["name"] = json!("recorder");
                }
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
