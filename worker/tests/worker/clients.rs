//! What other programs may send: invalid inputs for the workflow and every activity, unknown
//! fields, and a workflow id that runs again.

use order_worker::commands::outcome;
use order_worker::domain::order::{OrderInput, OrderState};
use order_worker::domain::workflow::{OrderWorkflow, SentOrder};
use serde_json::json;
use temporalio_client::errors::ActivityResultError;
use temporalio_client::{
    ActivityStartOptions, UntypedSignal, UntypedWorkflow, WorkflowExecutionStatus,
    WorkflowSignalOptions, WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_common::UntypedActivity;
use temporalio_common::data_converters::RawValue;
use temporalio_common::error::IncomingError;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_sdk::ActivityCloseTimeouts;

use crate::history::events_of;
use crate::orders::{reason, status_of, unpaid};
use crate::support::{DEADLINE, Shop, eventually};

/// A payload of another program: untyped, with any encoding and data.
fn payload(encoding: &str, data: &[u8]) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), encoding.as_bytes().to_vec())].into(),
        data: data.to_vec(),
        ..Payload::default()
    }
}

#[tokio::test]
async fn malformed_requests_of_other_clients_stop_no_order() {
    let shop = Shop::open("nonsense").await;
    let worker = shop.worker().await;
    let nothing = vec![];
    let two = vec![payload("json/plain", b"1"), payload("json/plain", b"2")];
    let protobuf = vec![payload("binary/protobuf", b"\x08\x01")];
    let start = |id: &'static str, payloads: Vec<Payload>| {
        let options = WorkflowStartOptions::new("nonsense", id.to_owned()).build();
        let workflow = UntypedWorkflow::new("OrderWorkflow");
        shop.client
            .start_workflow(workflow, RawValue::new(payloads), options)
    };
    for (id, payloads) in [
        ("sent-without", nothing.clone()),
        ("sent-two", two.clone()),
        ("sent-protobuf", protobuf.clone()),
    ] {
        start(id, payloads).await.unwrap();
        let handle = shop.client.get_workflow_handle::<OrderWorkflow>(id);
        let ended = outcome(id, &handle).await.unwrap();
        assert_eq!(
            ended.reason,
            reason("InvalidOrder", "the order must be a JSON object"),
            "{id}"
        );
    }

    for (id, payloads, words) in [
        ("mute", nothing, ""),
        ("number", vec![payload("json/plain", b"7")], "7"),
        ("protobuf", protobuf, ""),
        ("two", two, ""),
    ] {
        let input = OrderInput::new(id, 100).with("cancel_window_seconds", 600);
        let order = shop.place(input).await;
        let untyped = shop
            .client
            .get_workflow_handle::<UntypedWorkflow>(format!("order-{id}"));
        let signal = UntypedSignal::new("cancel_order");
        untyped
            .signal(
                signal,
                RawValue::new(payloads),
                WorkflowSignalOptions::default(),
            )
            .await
            .unwrap();
        let expected = unpaid(
            id,
            OrderState::Cancelled,
            reason("CancelledByCustomer", words),
        );
        assert_eq!(shop.end_of(&order).await, expected);
        assert_eq!(shop.stored_state(id).await, "cancelled");
    }
    worker.drain().await;
}

/// An order of a client with a codec waits for a worker that has it as well.
#[tokio::test]
async fn an_order_that_is_encrypted_waits_for_a_worker_that_can_read_it() {
    let shop = Shop::open("encrypted").await;
    let worker = shop.worker().await;
    let options = WorkflowStartOptions::new("encrypted", "order-encrypted-1".to_owned()).build();
    let input = RawValue::new(vec![payload("binary/encrypted", b"\x00\x01")]);
    let workflow = UntypedWorkflow::new("OrderWorkflow");
    let started = shop.client.start_workflow(workflow, input, options).await;
    started.unwrap();
    let handle = shop
        .client
        .get_workflow_handle::<OrderWorkflow>("order-encrypted-1");
    eventually("the workflow task has failed", async || {
        let failed = |event: &HistoryEvent| {
            matches!(
                event.attributes,
                Some(Attributes::WorkflowTaskFailedEventAttributes(_))
            )
        };
        events_of(&handle).await.iter().any(failed).then_some(())
    })
    .await;
    let status = status_of(&shop, "encrypted-1").await;
    assert_eq!(status, WorkflowExecutionStatus::Running);
    let options = WorkflowTerminateOptions::default();
    handle.terminate(options).await.unwrap();
    worker.drain().await;
}

/// All activities but `check_order`, which says of everything else that it is no order.
const ACTIVITIES: [&str; 8] = [
    "create_order",
    "cancel_order_activity",
    "reserve_inventory",
    "release_inventory",
    "process_payment",
    "settle_payment",
    "send_notification",
    "count_mails",
];

#[tokio::test]
async fn an_unreadable_activity_input_fails_at_once_regardless_of_the_retry_policy() {
    let shop = Shop::open("unreadable").await;
    let worker = shop.worker().await;
    let inputs = [
        vec![],
        vec![payload("json/plain", b"null")],
        vec![
            payload("json/plain", b"{\"order_id\":"),
            payload("json/plain", b"{}"),
        ],
        vec![payload("binary/protobuf", b"\x08\x01")],
        vec![payload(
            "json/plain",
            b"{\"order_id\":\"a b\",\"recipients\":[]}",
        )],
    ];
    for activity in ACTIVITIES {
        for (number, payloads) in inputs.iter().enumerate() {
            let id = format!("{activity}-{number}");
            // The retry policy is the server's default: unlimited attempts.
            let timeout = ActivityCloseTimeouts::ScheduleToClose(DEADLINE);
            let options = ActivityStartOptions::new("unreadable", id.clone(), timeout).build();
            let (untyped, input) = (
                UntypedActivity::new(activity),
                RawValue::new(payloads.clone()),
            );
            let handle = shop
                .client
                .start_activity(untyped, input, options)
                .await
                .unwrap();
            let ended = handle.result().await.unwrap_err();
            let ActivityResultError::ActivityFailed(IncomingError::Application(failure)) = ended
            else {
                panic!("{id}: {ended:?}");
            };
            assert_eq!(failure.type_name(), Some("InvalidInput"), "{id}");
            assert!(failure.is_non_retryable(), "{id}");
            let message = failure.to_string();
            let named = format!("the input of {activity}: ");
            assert!(message.starts_with(&named), "{id}: {message}");
        }
    }
    let metrics = worker.metrics().await;
    for activity in ACTIVITIES {
        let (name, count) = ("taskqueue_worker_activities_total", inputs.len());
        let line = format!("{name}{{activity=\"{activity}\",outcome=\"invalid\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let log = worker.drain().await;
    let refused = log.matches("input refused: ").count();
    assert_eq!(refused, ACTIVITIES.len() * inputs.len(), "{log}");
}

#[tokio::test]
async fn an_unknown_field_is_ignored_and_a_misspelt_one_is_refused() {
    let shop = Shop::open("unknown").await;
    let worker = shop.worker().await;
    let unknown = OrderInput::new("extra-1", 100)
        .with("customer_id", json!(null))
        .with("items", json!([{"sku": "lamp", "colour": "red"}]));
    let ended = shop.run(unknown).await;
    assert_eq!(ended.state, OrderState::Completed);
    worker.says("unknown fields of the order are ignored").await;
    worker.says("customer_id, items[0].colour").await;

    let before = shop.store().await.available("lamp").await.unwrap();
    let misspelt =
        OrderInput::new("unknown-2", 100).with("items", json!([{"sku": "lamp", "qty": 5}]));
    let why = reason(
        "InvalidOrder",
        "unknown field \"items[0].qty\"; did you mean quantity?",
    );
    assert_eq!(shop.run(misspelt).await.reason, why);
    assert_eq!(shop.store().await.available("lamp").await.unwrap(), before);
    worker.drain().await;
}

/// A workflow id can run again: by default with every client, and after a termination.
#[tokio::test]
async fn a_workflow_that_runs_again_does_not_change_what_was_sold() {
    let shop = Shop::open("again").await;
    let worker = shop.worker().await;
    let lamps = json!([{"sku": "lamp", "quantity": 2}]);
    let input = OrderInput::new("again-1", 100).with("items", lamps);
    let first = shop.run(input.clone()).await;
    assert_eq!(first.state, OrderState::Completed);
    let left = shop.store().await.available("lamp").await.unwrap();
    let again = async |input: OrderInput| {
        let options = WorkflowStartOptions::new("again", "order-again-1".to_owned()).build();
        let started = shop
            .client
            .start_workflow(OrderWorkflow::run, SentOrder(input), options);
        started.await.unwrap();
        // The latest run.
        let handle = shop.client.get_workflow_handle("order-again-1");
        shop.end_of(&handle).await
    };
    let window = input.clone().with("cancel_window_seconds", 600);
    for input in [input.clone(), window, input.with("total", 500)] {
        let ended = again(input).await;
        assert_eq!(
            ended.reason,
            reason("OrderConflict", "order again-1 was paid in an earlier run")
        );
    }
    assert_eq!(shop.stored_state("again-1").await, "paid");
    assert_eq!(shop.store().await.available("lamp").await.unwrap(), left);

    // Another order with the same workflow id is another charge.
    let other = again(OrderInput::new("again-2", 300)).await;
    assert_eq!(other.payment.map(|payment| payment.amount), Some(300));
    assert_eq!(shop.stored_state("again-2").await, "paid");
    let charged: Vec<i64> = shop.gateway.entries().iter().map(|e| e.amount).collect();
    assert_eq!(charged, [100, 300]);
    worker.drain().await;
}
