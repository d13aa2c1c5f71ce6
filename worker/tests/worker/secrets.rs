//! Secrets must not be stored: orders of every path with card tokens, and the passwords of the
//! database, the mail server and the gateway. Afterwards the test searches everything that is
//! stored: the histories and descriptions of the workflows, the database, the mails, the log at
//! trace level, the metrics, and the gateway's ledger.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{get, post};
use order_worker::commands::{OrderHandle, start_order};
use order_worker::domain::order::{OrderInput, OrderState};
use order_worker::domain::workflow::{OrderWorkflow, Words};
use order_worker_testkit::postgres_database;
use prost::Message;
use serde_json::json;
use sqlx::Row;
use taskqueue_worker::testing::free_port;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions,
};
use temporalio_common::protos::temporal::api::common::v1::Payloads;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes as Event;

use crate::disguises::found;
use crate::history::events_of;
use crate::orders::state_of;
use crate::pending::failed_attempts;
use crate::smtp::Behavior;
use crate::support::{Shop, Worker, eventually, have_search_attribute, start};

const DATABASE_PASSWORD: &str = "oleander-of-the-database";
const SMTP_PASSWORD: &str = "foxglove-of-the-mails";
const GATEWAY_PASSWORD: &str = "hemlock-of-the-gateway";
const PASSWORDS: [&str; 3] = [DATABASE_PASSWORD, SMTP_PASSWORD, GATEWAY_PASSWORD];

/// A card token may appear only in the inputs of these: the gateway gets it from there, and
/// `check_order` refuses a card number in its place.
const WORKFLOW: &str = "OrderWorkflow";
const CHECK: &str = "check_order";
const PAY: &str = "process_payment";
const SETTLE: &str = "settle_payment";

/// An order, its card, its end, and exactly where its card may be stored.
struct Case {
    id: &'static str,
    card: &'static str,
    ends: OrderState,
    kept_in: &'static [&'static str],
}

const fn case(
    id: &'static str,
    card: &'static str,
    ends: OrderState,
    kept_in: &'static [&'static str],
) -> Case {
    Case {
        id,
        card,
        ends,
        kept_in,
    }
}

const CASES: [Case; 13] = [
    case(
        "secrets-paid",
        "tok_gladiolus",
        OrderState::Completed,
        &[WORKFLOW, CHECK, PAY],
    ),
    case(
        "secrets-declined",
        "tok_declined",
        OrderState::Declined,
        &[WORKFLOW, CHECK, PAY],
    ),
    case(
        "secrets-failed",
        "tok_broken",
        OrderState::Failed,
        &[WORKFLOW, CHECK, PAY, SETTLE],
    ),
    case(
        "secrets-retried",
        "tok_flaky",
        OrderState::Completed,
        &[WORKFLOW, CHECK, PAY],
    ),
    case(
        "secrets-limited",
        "tok_rate_limited",
        OrderState::Completed,
        &[WORKFLOW, CHECK, PAY],
    ),
    case(
        "secrets-settled",
        "tok_lost",
        OrderState::Completed,
        &[WORKFLOW, CHECK, PAY, SETTLE],
    ),
    case(
        "secrets-repeated",
        "tok_hydrangea",
        OrderState::Failed,
        &[WORKFLOW, CHECK, PAY, SETTLE],
    ),
    case(
        "secrets-unsold",
        "tok_hyacinth",
        OrderState::OutOfStock,
        &[WORKFLOW, CHECK],
    ),
    case(
        "secrets-by-customer",
        "tok_narcissus",
        OrderState::Cancelled,
        &[WORKFLOW, CHECK],
    ),
    case(
        "secrets-by-request",
        "tok_cyclamen",
        OrderState::Cancelled,
        &[WORKFLOW, CHECK],
    ),
    case(
        "secrets-conflict",
        "tok_edelweiss",
        OrderState::Failed,
        &[WORKFLOW, CHECK],
    ),
    case(
        "secrets-invalid",
        "tok_anemone",
        OrderState::Failed,
        &[WORKFLOW, CHECK],
    ),
    // Another client's mistake: Temporal already has the number, but nobody else gets it.
    case(
        "secrets-number",
        "4111111111111111",
        OrderState::Failed,
        &[WORKFLOW, CHECK],
    ),
];

fn secrets() -> Vec<&'static str> {
    let cards = CASES.iter().map(|case| case.card);
    cards.chain(PASSWORDS).collect()
}

/// A gateway that repeats every request in its answer, which is never a charge.
async fn repeating_gateway() -> String {
    async fn repeat(body: String) -> (StatusCode, String) {
        (StatusCode::UNPROCESSABLE_ENTITY, body)
    }
    async fn unknown() -> StatusCode {
        StatusCode::NOT_FOUND
    }
    async fn voided() -> String {
        json!({"status": "voided"}).to_string()
    }
    let router = Router::new()
        .route("/charge", post(repeat))
        .route("/charges/{key}", get(unknown))
        .route("/charges/{key}/void", post(voided));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    format!("http://shop:{GATEWAY_PASSWORD}@{address}")
}

/// A mail server that requires a login and accepts or refuses it. When it refuses, it repeats the
/// password.
fn mail_server(takes_logins: bool) -> Behavior {
    let answer = if takes_logins {
        "235 welcome".to_owned()
    } else {
        format!("535 there is no {SMTP_PASSWORD} here")
    };
    Behavior {
        extensions: vec!["AUTH PLAIN LOGIN".to_owned()],
        answers: BTreeMap::from([("AUTH".to_owned(), answer)]),
        ..Behavior::default()
    }
}

/// A shop whose workers have passwords.
struct Vault {
    shop: Shop,
    database_url: String,
    workers: Vec<Worker>,
}

impl Vault {
    async fn open() -> Self {
        let mut shop = Shop::open("secrets").await;
        shop.smtp.behave(mail_server(false));
        shop.database_url = postgres_database().await;
        let login = format!("orders:{DATABASE_PASSWORD}@");
        let database_url = shop.database_url.replacen("orders@", &login, 1);
        let mut vault = Self {
            shop,
            database_url,
            workers: Vec::new(),
        };
        let gateway = format!(
            "http://shop:{GATEWAY_PASSWORD}@{}",
            vault.shop.gateway.address()
        );
        for (queue, gateway) in [
            ("secrets", gateway),
            ("secrets-repeating", repeating_gateway().await),
        ] {
            let variables = [
                ("TEMPORAL_TASK_QUEUE", queue),
                ("PAYMENT_GATEWAY_URL", gateway.as_str()),
            ];
            let worker = vault.start(&variables).await.wait_ready().await;
            vault.workers.push(worker);
        }
        vault
    }

    async fn start(&self, more: &[(&str, &str)]) -> Worker {
        let smtp = self.shop.smtp.address;
        let smtp_url = format!("smtp://shop:{SMTP_PASSWORD}@{smtp}?tls=none");
        let secret = [
            ("DATABASE_URL", self.database_url.as_str()),
            ("SMTP_URL", smtp_url.as_str()),
            ("RUST_LOG", "trace"),
        ];
        let mut variables = self.shop.variables();
        let more = secret.iter().chain(more);
        variables.extend(more.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let file = format!("worker-{}.log", self.workers.len());
        start(self.shop.dir.path().join(file), &variables).await
    }

    /// Starts a worker whose database is unreachable, and waits until it logs that.
    async fn start_without_database(&mut self) {
        let nowhere = format!(
            "postgres://orders:{DATABASE_PASSWORD}@127.0.0.1:{}/x",
            free_port()
        );
        let worker = self.start(&[("DATABASE_URL", &nowhere)]).await;
        worker.says("the database is not ready yet").await;
        self.workers.push(worker);
    }

    async fn place(&self, case: &Case) -> OrderHandle {
        let order = OrderInput::new(case.id, 100)
            .with("card", case.card)
            .with("recipients", json!(["a@example.com"]))
            .with("search_attributes", true);
        let order = match case.id {
            "secrets-unsold" => order.with("items", json!([{"sku": "sold-out"}])),
            "secrets-by-customer" | "secrets-by-request" => {
                order.with("cancel_window_seconds", 600)
            }
            "secrets-repeated" => {
                order.with("task_queues", json!({"payments": "secrets-repeating"}))
            }
            "secrets-invalid" => order.with("total", 0),
            "secrets-conflict" => {
                eventually("there is an order of another workflow", async || {
                    (!self.shop.stored_state("secrets-paid").await.is_empty()).then_some(())
                })
                .await;
                order.with("order_id", "secrets-paid")
            }
            _ => order,
        };
        let workflow_id = format!("order-{}", case.id);
        let started = start_order(&self.shop.client, &self.shop.queue, &workflow_id, order);
        let order = started.await.unwrap().handle;
        self.cancel(case.id, &order).await;
        order
    }

    /// Cancels an order if its case requires that.
    async fn cancel(&self, id: &str, order: &OrderHandle) {
        if !matches!(id, "secrets-by-customer" | "secrets-by-request") {
            return;
        }
        eventually("the cancel window is open", async || {
            (state_of(&self.shop, id).await == OrderState::Waiting).then_some(())
        })
        .await;
        if id == "secrets-by-request" {
            order
                .cancel(WorkflowCancelOptions::default())
                .await
                .unwrap();
            return;
        }
        let (words, options) = (
            Words::from("too dear"),
            WorkflowExecuteUpdateOptions::default(),
        );
        let update = OrderWorkflow::cancel_order;
        order.execute_update(update, words, options).await.unwrap();
    }

    /// Every row of every table.
    async fn database(&self) -> Vec<String> {
        let store = self.shop.store().await;
        let tables = sqlx::query(
            "SELECT quote_ident(table_name::text) FROM information_schema.tables
             WHERE table_schema = 'public'",
        );
        let tables = tables.fetch_all(store.pool()).await.unwrap();
        let mut all = Vec::new();
        for table in &tables {
            let table: String = table.get(0);
            let select = format!("SELECT row_to_json(t)::text FROM {table} AS t");
            let rows = sqlx::query(sqlx::AssertSqlSafe(select))
                .fetch_all(store.pool())
                .await
                .unwrap();
            for row in &rows {
                let row: String = row.get(0);
                all.push(format!("{table} {row}"));
            }
        }
        store.close().await;
        all
    }
}

/// The server's description of a workflow: memo, search attributes, and the heartbeats and failures
/// of its activities.
async fn described(order: &OrderHandle) -> Vec<u8> {
    let described = order.describe(WorkflowDescribeOptions::default()).await;
    described.unwrap().raw().encode_to_vec()
}

/// Removes the input of a workflow or an activity from an event, and returns it.
fn take_input(event: &mut HistoryEvent) -> Option<(String, Payloads)> {
    let (name, input) = match event.attributes.as_mut()? {
        Event::WorkflowExecutionStartedEventAttributes(started) => {
            (started.workflow_type.clone()?.name, started.input.take()?)
        }
        Event::ActivityTaskScheduledEventAttributes(scheduled) => (
            scheduled.activity_type.clone()?.name,
            scheduled.input.take()?,
        ),
        _ => return None,
    };
    Some((name, input))
}

/// Checks that a history contains the card only where expected, and no other secret.
async fn check_history(case: &Case, order: &OrderHandle) {
    let mut kept_in = BTreeSet::new();
    for mut event in events_of(order).await {
        if let Some((name, input)) = take_input(&mut event) {
            let secrets = found(&secrets(), &input.encode_to_vec());
            if secrets == [case.card] {
                kept_in.insert(name);
            } else {
                assert_eq!(secrets, [""; 0], "{}: given to {name}", case.id);
            }
        }
        let secrets = found(&secrets(), &event.encode_to_vec());
        assert_eq!(secrets, [""; 0], "{}: {event:?}", case.id);
    }
    let expected = case.kept_in.iter().map(|name| (*name).to_owned());
    assert_eq!(kept_in, expected.collect(), "{}", case.id);
}

/// Checks that a text contains no secret; shows the lines if it does.
fn check_text(what: &str, text: &str) {
    let leaks = found(&secrets(), text.as_bytes());
    let holds = |line: &&str| !found(&leaks, line.as_bytes()).is_empty();
    let lines: Vec<&str> = text.lines().filter(holds).collect();
    assert!(leaks.is_empty(), "{what}: {leaks:?} in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_and_passwords_are_stored_nowhere_else() {
    let mut vault = Vault::open().await;
    have_search_attribute(&vault.shop.client).await;
    let mut orders = Vec::new();
    for case in &CASES {
        orders.push(vault.place(case).await);
    }
    // Failures and heartbeats of an attempt are stored until the next attempt.
    failed_attempts(&vault.shop, "secrets-paid", "send_notification", 1).await;
    for (case, order) in CASES.iter().zip(&orders) {
        let kept = described(order).await;
        assert_eq!(found(&secrets(), &kept), [""; 0], "{}", case.id);
    }
    vault.shop.smtp.behave(mail_server(true));
    for (case, order) in CASES.iter().zip(&orders) {
        let result = vault.shop.end_of(order).await;
        assert_eq!(result.state, case.ends, "{}: {result:?}", case.id);
        check_text(case.id, &format!("{result:?}"));
        check_history(case, order).await;
        let kept = described(order).await;
        assert_eq!(found(&secrets(), &kept), [""; 0], "{}", case.id);
    }
    vault.start_without_database().await;

    let database = vault.database().await.join("\n");
    assert!(
        database.contains("orders {\"order_id\":\"secrets-paid\""),
        "{database}"
    );
    check_text("the database", &database);
    let mails = vault.shop.smtp.mails();
    assert_eq!(mails.len(), 4, "{mails:?}");
    check_text("the mails", &format!("{mails:?}"));
    let ledger = serde_json::to_string(&vault.shop.gateway.entries()).unwrap();
    check_text("the ledger", &ledger);
    let mut traced = Vec::new();
    for worker in vault.workers {
        check_text("the metrics", &worker.metrics().await);
        let log = worker.drain().await;
        traced.push(log.contains("\"level\":\"TRACE\""));
        check_text("the log", &log);
    }
    // The logs are as detailed as they can be. The third worker may have nothing to trace: it waits
    // for its database before it does anything.
    assert!(traced.starts_with(&[true, true]), "{traced:?}");
}
