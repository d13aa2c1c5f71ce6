//! A database that disappears without closing its connections, and comes back.

use order_worker::domain::order::{OrderInput, OrderState};
use order_worker::domain::workflow::{OrderWorkflow, Words};
use order_worker_testkit::postgres_database;
use serde_json::json;
use taskqueue_worker::testing::Line;
use temporalio_client::{WorkflowQueryOptions, WorkflowSignalOptions};

use crate::support::{Shop, Worker, eventually};

/// More than the worker's database connections, so that some orders wait for one.
const ORDERS: usize = 20;

/// Opens a shop on PostgreSQL with a worker that reaches the database through a line.
async fn shop_and_worker(name: &str) -> (Shop, Worker, Line) {
    let mut shop = Shop::open(name).await;
    shop.database_url = postgres_database().await;
    let (before, database) = shop.database_url.rsplit_once('/').unwrap();
    let server = before.rsplit_once('@').unwrap().1;
    let line = Line::start(server.to_owned()).await;
    let url = format!("postgres://orders@127.0.0.1:{}/{database}", line.port);
    let worker = shop.worker_with(&[("DATABASE_URL", &url)]).await;
    (shop, worker, line)
}

/// Waits until an attempt of an activity has failed.
async fn given_up(worker: &Worker, activity: &str) {
    eventually("an activity gives up on the database", async || {
        let metrics = worker.metrics().await;
        metrics
            .lines()
            .filter(|line| line.starts_with("taskqueue_worker_activities_total"))
            .any(|line| line.contains(activity) && line.contains("failed"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_answering_delays_no_order_for_long() {
    let (shop, worker, line) = shop_and_worker("silence").await;
    let mut orders = Vec::new();
    for n in 0..ORDERS {
        let input = OrderInput::new(&format!("silence-{n}"), 100);
        orders.push(shop.place(input).await);
        if n == ORDERS / 2 {
            // In the middle of the work, when recently used connections are trusted.
            line.cut();
        }
    }
    given_up(&worker, "").await;
    line.mend();
    for order in &orders {
        assert_eq!(shop.end_of(order).await.state, OrderState::Completed);
    }
    let log = worker.drain().await;
    assert!(log.contains("the database did not answer within"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_undone_when_the_database_is_back() {
    let (shop, worker, line) = shop_and_worker("undone").await;
    let before = shop.store().await.available("lamp").await.unwrap();
    let input = OrderInput::new("undone-1", 100)
        .with("items", json!([{"sku": "lamp", "quantity": 3}]))
        .with("cancel_window_seconds", 600);
    let order = shop.place(input).await;
    eventually("the cancel window is open", async || {
        let status = order
            .query(OrderWorkflow::state, (), WorkflowQueryOptions::default())
            .await;
        status
            .is_ok_and(|status| status.state == OrderState::Waiting)
            .then_some(())
    })
    .await;
    line.cut();
    let signal = OrderWorkflow::cancel_order_signal;
    let options = WorkflowSignalOptions::default();
    order
        .signal(signal, Words::from("too dear"), options)
        .await
        .unwrap();
    given_up(&worker, "release_inventory").await;
    line.mend();
    assert_eq!(shop.end_of(&order).await.state, OrderState::Cancelled);
    assert_eq!(shop.stored_state("undone-1").await, "cancelled");
    assert_eq!(shop.store().await.available("lamp").await.unwrap(), before);
    worker.drain().await;
}
