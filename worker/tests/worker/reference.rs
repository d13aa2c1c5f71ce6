//! Clients in other languages (`tests/clients`), written from the public documentation alone:
//! against one worker, and against four workers that each run one role on a separate queue.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use order_gateway::{FaultOptions, GatewayOptions};
use serde_json::{Value, json};
use taskqueue_worker::testing::temporal;

use crate::smtp::Behavior;
use crate::support::{Shop, Worker};

const DECLINED: i64 = 402;

/// The clients, by the suffix of the ids that they generate.
const CLIENTS: [&str; 2] = ["py", "go"];

/// The command that runs a client, before its arguments.
fn client(language: &str) -> Command {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    if language == "go" {
        return Command::new(program("ORDER_CLIENT_GO", "order-client", "order-client"));
    }
    let mut python = Command::new(program(
        "ORDER_CLIENT_PYTHON",
        "python-client",
        "bin/python",
    ));
    python.arg(clients.join("python/client.py"));
    // Keeps Python from writing files beside the sources.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// The path from the variable, or the newest program that `cargo sandbox test` has built.
fn program(variable: &str, folder: &str, program: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cache"),
        PathBuf::from,
    );
    let mut made: Vec<PathBuf> = std::fs::read_dir(cache.join("taskqueue-operator/bin"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("{folder}-")) && path.extension().is_none()
        })
        .map(|path| path.join(program))
        .filter(|path| path.is_file())
        .collect();
    made.sort_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    made.pop().unwrap_or_else(|| {
        panic!(
            "{variable} is not set, and the client is not in the cache: `cargo sandbox test \
             --only test` makes it, or \
             make it from worker/tests/clients by hand"
        )
    })
}

/// Runs a client against a shop whose activities use these queues, and returns its report.
async fn report(shop: &Shop, language: &'static str, queues: &[&str]) -> Value {
    let mut command = client(language);
    command
        .args([temporal().as_str(), &shop.queue])
        .args(queues)
        .env("DECLINED", DECLINED.to_string());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{language}: {status}: {errors}");
    serde_json::from_slice(&stdout).unwrap()
}

/// The report without the charge ids, which depend on the order of the charges.
fn without_charges(mut report: Value) -> Value {
    let payments = ["/orders/0", "/orders/1", "/orders/2", "/activities"];
    for place in payments.map(|place| format!("{place}/payment")) {
        let payment = report.pointer_mut(&place).and_then(Value::as_object_mut);
        let charge = payment.unwrap().remove("charge_id").unwrap();
        assert!(charge.as_str().unwrap().starts_with("ch_"), "{charge}");
    }
    report
}

fn expected(prefix: &str, language: &str) -> Value {
    let payment = json!({"amount": 100, "settled": false});
    let order = |number: u32| {
        json!({
            "order_id": format!("{prefix}-{language}-{number}"), "state": "completed", "total": 100,
            "currency": "USD", "payment": payment,
            "notification": {"state": "none", "sent": 0, "refused": 0},
        })
    };
    json!({
        "orders": [order(1), order(2), order(3)],
        "activities": {"payment": payment, "mails": {"sent": 2, "refused": 0}},
        "declined": {"failure": ["PaymentDeclined", "Payment declined", true]},
        "mistaken": ["InvalidInput", true],
    })
}

async fn open(name: &str) -> Shop {
    let faults = FaultOptions {
        decline_amounts: vec![DECLINED],
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    Shop::open_with(name, gateway, Behavior::default()).await
}

/// Runs both clients at the same time, and checks what the payment worker logs about their
/// mistakes.
async fn both(shop: &Shop, queues: &[&str], payments: &Worker) {
    let [python, go] = CLIENTS;
    let reports = tokio::join!(report(shop, python, queues), report(shop, go, queues));
    for (language, report) in [(python, reports.0), (go, reports.1)] {
        assert_eq!(without_charges(report), expected(&shop.queue, language));
        for (number, state) in [(1, "paid"), (4, "paid"), (5, "cancelled")] {
            let id = format!("{}-{language}-{number}", shop.queue);
            assert_eq!(shop.stored_state(&id).await, state, "{id}");
            payments
                .says(&format!("processing payment for order {id}"))
                .await;
        }
    }
    // Nobody is mailed twice, and each of the two mailings without an order goes to both.
    assert_eq!(
        shop.smtp.counts().values().copied().collect::<Vec<_>>(),
        [2, 2]
    );
    let metrics = payments.metrics().await;
    let invalid =
        "taskqueue_worker_activities_total{activity=\"process_payment\",outcome=\"invalid\"} 2";
    assert!(metrics.contains(invalid), "{metrics}");
    payments.says("input refused: order_id is missing").await;
}

#[tokio::test]
async fn one_worker_serves_clients_in_other_languages() {
    let shop = open("reference").await;
    let worker = shop.worker().await;
    both(&shop, &["reference"], &worker).await;
    worker.drain().await;
}

#[tokio::test]
async fn one_fleet_per_role_serves_clients_in_other_languages() {
    let shop = open("reference-fleets").await;
    let roles = ["orders", "inventory", "payments", "notifications"];
    let queues = roles.map(|role| format!("reference-{role}"));
    let [_, inventory, payments, notifications] = &queues;
    let mut workers = Vec::new();
    for (role, queue) in roles.iter().zip(&queues) {
        // As in crds/examples/orders.yaml: only the workflow's worker knows the other queues.
        let mut more = vec![
            ("ORDER_WORKER_ROLE", *role),
            ("TEMPORAL_TASK_QUEUE", queue.as_str()),
        ];
        if *role == "orders" {
            more.extend([
                ("ORDER_WORKER_INVENTORY_QUEUE", inventory.as_str()),
                ("ORDER_WORKER_PAYMENTS_QUEUE", payments.as_str()),
                ("ORDER_WORKER_NOTIFICATIONS_QUEUE", notifications.as_str()),
            ]);
        }
        workers.push(shop.worker_with(&more).await);
    }
    let named: Vec<&str> = queues.iter().map(String::as_str).collect();
    both(&shop, &named, &workers[2]).await;
    for worker in workers {
        let log = worker.drain().await;
        assert!(!log.contains("not registered"), "{log}");
    }
}
