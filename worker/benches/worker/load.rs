//! The load: single activities and whole orders, with a limited number in flight.

use futures::{StreamExt, stream};
use order_worker::commands::{outcome, start_order};
use order_worker::domain::activities::OrderActivities;
use order_worker::domain::order::messages::CreateOrder;
use order_worker::domain::order::{OrderInput, OrderState};
use temporalio_client::{ActivityStartOptions, Client};
use temporalio_sdk::ActivityCloseTimeouts;

/// Tasks in flight, twice the workers' slots.
const CONCURRENCY: usize = 200;

/// The cost of one round of one kind of work.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    pub(crate) per_second: f64,
    /// Processor time per task, in milliseconds.
    pub(crate) milliseconds: f64,
}

/// Runs `create_order` without a workflow: one SQL statement each.
pub(crate) async fn run_activities(client: &Client, queue: &str, name: &str, count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(CONCURRENCY, |n| async move {
            let order_id = format!("{name}-a{n}");
            let timeout = ActivityCloseTimeouts::StartToClose(std::time::Duration::from_mins(1));
            let options = ActivityStartOptions::new(queue, order_id.clone(), timeout).build();
            let input = CreateOrder {
                order_id,
                total: 100,
                currency: "USD".to_owned(),
                first_run_id: None,
            };
            let handle = client
                .start_activity(OrderActivities::create_order, input.into(), options)
                .await
                .unwrap();
            handle.result().await.unwrap();
        })
        .await;
}

/// Runs whole orders: `check_order`, `create_order`, `reserve_inventory`, `process_payment`.
pub(crate) async fn run_orders(client: &Client, queue: &str, name: &str, count: usize) {
    stream::iter(0..count)
        .for_each_concurrent(CONCURRENCY, |n| async move {
            let order_id = format!("{name}-b{n}");
            let workflow_id = format!("order-{order_id}");
            let input = OrderInput::new(&order_id, 100);
            let started = start_order(client, queue, &workflow_id, input)
                .await
                .unwrap();
            let result = outcome(&workflow_id, &started.handle).await.unwrap();
            assert_eq!(result.state, OrderState::Completed, "{result:?}");
        })
        .await;
}
