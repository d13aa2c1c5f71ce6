//! The limits in the settings: activities per second of a task queue, slots, pollers; and what the
//! server knows about them.

use std::time::Duration;

use futures::{StreamExt, stream};
use order_gateway::{FaultOptions, GatewayOptions};
use order_worker::domain::order::{OrderInput, OrderState};
use serde_json::json;
use taskqueue_exposition::Sample;
use temporalio_client::WorkflowFetchHistoryOptions;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::workflowservice::v1::ListWorkersRequest;

use crate::smtp::Behavior;
use crate::support::{Shop, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn payments_per_second_are_limited_for_the_whole_queue() {
    const LIMIT: f64 = 5.0;
    const ORDERS: u32 = 45;
    let shop = Shop::open("limit-orders").await;
    let orders = shop.worker().await;
    // Two workers share one limit.
    let more = [
        ("ORDER_WORKER_ROLE", "payments"),
        ("TEMPORAL_TASK_QUEUE", "limit-payments"),
        ("TASKQUEUE_WORKER_QUEUE_ACTIVITIES_PER_SECOND", "5"),
    ];
    let payments = [shop.worker_with(&more).await, shop.worker_with(&more).await];
    let place = |n: u32| {
        let order = OrderInput::new(&format!("limit-{n}"), 100);
        let queues = json!({"payments": "limit-payments"});
        shop.place(order.with("task_queues", queues))
    };
    let handles: Vec<_> = stream::iter(0..ORDERS)
        .map(place)
        .buffered(20)
        .collect()
        .await;
    let mut started = Vec::new();
    for handle in &handles {
        assert_eq!(shop.end_of(handle).await.state, OrderState::Completed);
        started.push(payment_started(handle).await);
    }
    started.sort_by(f64::total_cmp);
    let took = started[started.len() - 1] - started[0];
    // Each of the four partitions of a queue may burst by about one second's tasks.
    let burst = 2.0 * LIMIT;
    let least = (f64::from(ORDERS) - burst) / LIMIT;
    println!("{ORDERS} payments at {LIMIT} per second in {took:.1} s, at least {least:.1} s");
    assert!(took >= least, "{took}");
    for worker in payments.into_iter().chain([orders]) {
        worker.drain().await;
    }
}

/// When the order's payment started, in seconds, by the server's clock.
async fn payment_started(handle: &order_worker::commands::OrderHandle) -> f64 {
    let history = handle.fetch_history(WorkflowFetchHistoryOptions::default());
    let mut payment = None;
    for event in history.into_events().await.unwrap() {
        match event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(scheduled))
                if scheduled
                    .activity_type
                    .as_ref()
                    .is_some_and(|kind| kind.name == "process_payment") =>
            {
                payment = Some(event.event_id);
            }
            Some(Attributes::ActivityTaskStartedEventAttributes(started))
                if Some(started.scheduled_event_id) == payment =>
            {
                let time = event.event_time.unwrap();
                let seconds = Duration::new(
                    time.seconds.try_into().unwrap(),
                    time.nanos.try_into().unwrap(),
                );
                return seconds.as_secs_f64();
            }
            _ => {}
        }
    }
    panic!("the payment never started");
}

/// The samples of a metric.
fn samples<'a>(metrics: &'a str, name: &str) -> Vec<Sample<'a>> {
    let parsed = metrics.lines().filter_map(Sample::parse);
    parsed.filter(|sample| sample.name == name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_reports_the_configured_and_the_used_slots() {
    let faults = FaultOptions {
        slow: Duration::from_secs(20),
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    let shop = Shop::open_with("slots", gateway, Behavior::default()).await;
    let worker = shop
        .worker_with(&[
            ("TASKQUEUE_WORKER_ACTIVITY_SLOTS", "7"),
            ("TASKQUEUE_WORKER_WORKFLOW_SLOTS", "11"),
            ("TASKQUEUE_WORKER_MAX_POLLERS", "2"),
            ("TASKQUEUE_WORKER_HEARTBEAT_INTERVAL_SECONDS", "1"),
            ("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "1"),
        ])
        .await;
    for n in 0..3 {
        let order = OrderInput::new(&format!("slots-{n}"), 100);
        shop.place(order.with("card", "tok_slow")).await;
    }
    eventually("the server sees three activity slots in use", async || {
        let (used, available) = activity_slots(&shop).await?;
        (used == 3 && available == 4).then_some(())
    })
    .await;
    let metrics = worker.metrics().await;
    let slots = samples(&metrics, "temporal_worker_task_slots_available");
    let free = slots
        .iter()
        .find(|sample| sample.label("worker_type") == Some("ActivityWorker") && sample.value > 0.0);
    assert_eq!(free.map(|sample| sample.value), Some(4.0), "{slots:?}");
    let pollers = samples(&metrics, "temporal_num_pollers");
    assert!(!pollers.is_empty(), "{metrics}");
    assert!(
        pollers.iter().all(|sample| sample.value <= 2.0),
        "{pollers:?}"
    );
    worker.drain().await;
}

/// Used and available activity slots of the queue's activity worker, as reported to the server.
async fn activity_slots(shop: &Shop) -> Option<(i32, i32)> {
    let mut request = ListWorkersRequest {
        namespace: "default".to_owned(),
        query: format!("TaskQueue = '{}'", shop.queue),
        ..ListWorkersRequest::default()
    }
    .into_request();
    request.set_timeout(Duration::from_secs(5));
    let mut service = shop.client.connection().workflow_service();
    let listed = service.list_workers(request).await.ok()?.into_inner();
    #[expect(deprecated, reason = "the only list that holds slots")]
    let workers = listed.workers_info;
    workers.into_iter().find_map(|worker| {
        let slots = worker.worker_heartbeat?.activity_task_slots_info?;
        (slots.current_used_slots > 0)
            .then_some((slots.current_used_slots, slots.current_available_slots))
    })
}
