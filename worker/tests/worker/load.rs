//! Many orders and mails while everything fails at once: errors, declines and lost answers of the
//! gateway, and killed workers. Afterwards ledger, stock, orders and mails must agree exactly.
//!
//! `ORDER_WORKER_TEST_ORDERS=2000 cargo test -p order-worker load -- --nocapture` runs a larger
//! load and prints the totals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use order_gateway::{FaultOptions, GatewayOptions, Status};
use order_worker::commands::outcome;
use order_worker::domain::order::{NotificationState, OrderInput, OrderResult, OrderState};
use order_worker_testkit::postgres_database;
use serde_json::json;
use sqlx::Row;

use crate::smtp::{Behavior, mailed};
use crate::support::{Shop, Worker, eventually};

/// Each kill leaves activities to their timeouts, so the largest run needs minutes.
const ORDER_TIMEOUT: Duration = Duration::from_mins(15);

/// Maximum number of orders in flight. More would only keep the dev server busy with long polls.
const IN_FLIGHT: usize = 200;

/// Number of workers that are killed during the run.
const KILLED: usize = 2;

fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn quantity(n: usize) -> usize {
    n % 3 + 1
}

fn recipients(n: usize) -> Vec<String> {
    (0..n % 3)
        .map(|r| format!("o{n}r{r}@example.com"))
        .collect()
}

fn input(n: usize) -> OrderInput {
    OrderInput::new(&format!("load-{n}"), 100 + i64::try_from(n).unwrap())
        .with("items", json!([{"sku": "lamp", "quantity": quantity(n)}]))
        .with("recipients", json!(recipients(n)))
}

/// Places all orders and returns their results, by number.
async fn run_all(shop: &Shop, count: usize) -> Vec<OrderResult> {
    let ends = stream::iter(0..count)
        .map(|n| async move {
            let handle = shop.place(input(n)).await;
            let id = format!("order-load-{n}");
            tokio::time::timeout(ORDER_TIMEOUT, outcome(&id, &handle))
                .await
                .expect("no end")
                .unwrap()
        })
        .buffered(IN_FLIGHT);
    ends.collect().await
}

async fn kill(mut worker: Worker) {
    worker.signal("-KILL");
    worker.ended().await;
}

/// Kills a worker after a third and after two thirds of the orders are decided, and starts another
/// each time.
async fn havoc(shop: &Shop, count: usize) -> [Worker; KILLED] {
    let mut workers = [shop.worker().await, shop.worker().await];
    for (third, worker) in (1..).zip(&mut workers) {
        eventually("the orders go on", async || {
            let decided = shop
                .gateway
                .entries()
                .iter()
                .filter(|e| e.status != Status::Pending)
                .count();
            (decided >= count * third / 4).then_some(())
        })
        .await;
        kill(std::mem::replace(worker, shop.worker().await)).await;
    }
    workers
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_stock_orders_and_mails_agree_after_errors_and_kills() {
    let count = size("ORDER_WORKER_TEST_ORDERS", 150);
    let faults = FaultOptions {
        seed: 7,
        error_rate: 0.2,
        decline_rate: 0.1,
        lost_rate: 0.02,
        rate_limit_rate: 0.02,
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    let mut shop = Shop::open_with("load", gateway, Behavior::default()).await;
    shop.database_url = postgres_database().await;
    let started = Instant::now();
    let (results, workers) = tokio::join!(run_all(&shop, count), havoc(&shop, count));
    let took = started.elapsed();

    let numbers = |wanted: OrderState| -> BTreeSet<String> {
        results
            .iter()
            .filter(|r| r.state == wanted)
            .map(|r| r.order_id.clone())
            .collect()
    };
    let (completed, declined, failed) = (
        numbers(OrderState::Completed),
        numbers(OrderState::Declined),
        numbers(OrderState::Failed),
    );
    assert_eq!(completed.len() + declined.len() + failed.len(), count);

    // The ledger: each completed order is charged once with its amount, no other order is charged.
    let ledger = shop.gateway.entries();
    let with = |status: Status| -> BTreeSet<String> {
        ledger
            .iter()
            .filter(|e| e.status == status)
            .map(|e| e.order_id.clone())
            .collect()
    };
    assert_eq!(ledger.len(), count);
    assert_eq!(with(Status::Charged), completed);
    assert_eq!(with(Status::Declined), declined);
    assert_eq!(with(Status::Voided), failed);
    for entry in &ledger {
        let n: i64 = entry.order_id["load-".len()..].parse().unwrap();
        assert_eq!(entry.amount, 100 + n);
    }

    // The orders and the stock.
    let store = shop.store().await;
    let rows = sqlx::query("SELECT order_id, state FROM orders")
        .fetch_all(store.pool())
        .await;
    let orders: BTreeMap<String, String> = rows
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let paid: BTreeSet<String> = orders
        .iter()
        .filter(|(_, state)| *state == "paid")
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!((orders.len(), &paid), (count, &completed));
    let sold: usize = (0..count)
        .filter(|n| completed.contains(&format!("load-{n}")))
        .map(quantity)
        .sum();
    let left = store.available("lamp").await.unwrap().unwrap();
    assert_eq!(left, 1_000_000_000 - i64::try_from(sold).unwrap());

    // The mails: every recipient of a completed order, nobody else. A kill may fall between the
    // mail server's answer and the record, which is one millisecond per mail.
    let expected: BTreeSet<String> = (0..count)
        .filter(|n| completed.contains(&format!("load-{n}")))
        .flat_map(recipients)
        .collect();
    let mails = shop.smtp.mails();
    let (mailed, repeated) = mailed(&mails);
    assert_eq!(mailed, expected);
    assert!(repeated <= KILLED, "{repeated} mails were sent twice");
    store.close().await;

    println!(
        "{count} orders in {took:.1?}, {KILLED} workers killed: {} completed, {} declined, {} \
         failed and \
         undone; ledger {} charged, {} declined, {} voided, {} attempts; {sold} lamps sold; {} \
         mails to {} recipients, {repeated} of them sent twice",
        completed.len(),
        declined.len(),
        failed.len(),
        with(Status::Charged).len(),
        with(Status::Declined).len(),
        with(Status::Voided).len(),
        ledger.iter().map(|e| e.attempts).sum::<u32>(),
        mails.len(),
        expected.len(),
    );
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mails_survive_a_killed_worker() {
    const ALL: usize = 10_000;
    let mut shop = Shop::open("ten-thousand").await;
    shop.database_url = postgres_database().await;
    let first = shop.worker().await;
    let everyone: Vec<String> = (0..ALL).map(|n| format!("r{n}@example.com")).collect();
    let started = Instant::now();
    let handle = shop
        .place(OrderInput::new("ten-thousand", 100).with("recipients", json!(&everyone)))
        .await;
    eventually("a third of the mails is sent", async || {
        (shop.smtp.mails().len() >= ALL / 3).then_some(())
    })
    .await;
    kill(first).await;
    let before = shop.smtp.mails().len();
    let second = shop.worker().await;
    let result = tokio::time::timeout(ORDER_TIMEOUT, outcome("order-ten-thousand", &handle));
    let result = result.await.expect("no end").unwrap();
    let sent = (result.notification.state, result.notification.sent);
    assert_eq!(sent, (NotificationState::Sent, ALL as u64));

    let (mailed, repeated) = mailed(&shop.smtp.mails());
    assert_eq!(mailed, everyone.into_iter().collect());
    assert!(repeated <= 1, "{repeated} mails were sent twice");
    println!(
        "{ALL} mails in {:.1?}, worker killed after {before}, {repeated} sent twice",
        started.elapsed(),
    );
    second.drain().await;
}
