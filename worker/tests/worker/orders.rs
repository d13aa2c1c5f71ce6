//! Orders from end to end: the smallest one, every payment outcome, every way of compensation.

use std::time::Duration;

use order_gateway::{FaultOptions, GatewayOptions, Status};
use order_worker::commands::{outcome, start_order};
use order_worker::domain::failure::Reason;
use order_worker::domain::order::{
    Notification, NotificationState, OrderInput, OrderResult, OrderState, Payment,
};
use order_worker::domain::workflow::{OrderStatus, OrderWorkflow, Words};
use serde_json::json;
use temporalio_client::errors::WorkflowUpdateError;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecuteUpdateOptions,
    WorkflowExecutionStatus, WorkflowQueryOptions, WorkflowSignalOptions,
};

use crate::pending::{failed_attempts, pause_of};
use crate::smtp::Behavior;
use crate::support::{Shop, eventually};

#[expect(clippy::unnecessary_wraps, reason = "as results hold it")]
pub(crate) fn reason(kind: &str, message: &str) -> Option<Reason> {
    Some(Reason {
        kind: kind.to_owned(),
        message: message.to_owned(),
    })
}

pub(crate) fn unpaid(order_id: &str, state: OrderState, reason: Option<Reason>) -> OrderResult {
    OrderResult {
        order_id: order_id.to_owned(),
        state,
        total: 100,
        currency: "USD".to_owned(),
        payment: None,
        notification: Notification::default(),
        reason,
    }
}

pub(crate) async fn status_of(shop: &Shop, order_id: &str) -> WorkflowExecutionStatus {
    let handle = shop
        .client
        .get_workflow_handle::<OrderWorkflow>(format!("order-{order_id}"));
    handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .unwrap()
        .status()
}

pub(crate) async fn state_of(shop: &Shop, order_id: &str) -> OrderState {
    let handle = shop
        .client
        .get_workflow_handle::<OrderWorkflow>(format!("order-{order_id}"));
    handle
        .query(OrderWorkflow::state, (), WorkflowQueryOptions::default())
        .await
        .map_or(OrderState::Received, |status: OrderStatus| status.state)
}

#[tokio::test]
async fn the_smallest_order_completes() {
    let shop = Shop::open("test").await;
    let worker = shop.worker().await;
    let input: OrderInput = serde_json::from_value(json!({"id": "test-1", "total": 100})).unwrap();
    let started = start_order(&shop.client, "test", "test-order-1", input)
        .await
        .unwrap();
    let result = outcome("test-order-1", &started.handle).await.unwrap();
    assert_eq!(
        result,
        OrderResult {
            payment: Some(Payment {
                charge_id: "ch_00000001".to_owned(),
                amount: 100,
                settled: false
            }),
            ..unpaid("test-1", OrderState::Completed, None)
        }
    );
    assert_eq!(shop.stored_state("test-1").await, "paid");
    worker.drain().await;
}

#[tokio::test]
async fn a_declined_card_is_charged_once_and_everything_is_undone() {
    let shop = Shop::open("declined").await;
    let worker = shop.worker().await;
    let before = shop.store().await.available("lamp").await.unwrap();
    let result = shop
        .run(
            OrderInput::new("declined-1", 100)
                .with("card", "tok_declined")
                .with("items", json!([{"sku": "lamp", "quantity": 3}])),
        )
        .await;
    assert_eq!(
        result,
        unpaid(
            "declined-1",
            OrderState::Declined,
            reason("PaymentDeclined", "Payment declined")
        )
    );
    let charge = shop.charge("declined-1").unwrap();
    assert_eq!((charge.status, charge.attempts), (Status::Declined, 1));
    assert_eq!(shop.stored_state("declined-1").await, "cancelled");
    assert_eq!(shop.store().await.available("lamp").await.unwrap(), before);
    assert_eq!(
        status_of(&shop, "declined-1").await,
        WorkflowExecutionStatus::Completed
    );
    worker.drain().await;
}

#[tokio::test]
async fn a_failing_gateway_is_called_three_times_and_then_the_payment_is_settled() {
    let shop = Shop::open("trouble").await;
    let worker = shop.worker().await;
    let place = |id: &str, card: &str| shop.run(OrderInput::new(id, 100).with("card", card));
    let (flaky, broken, lost) = tokio::join!(
        place("flaky-1", "tok_flaky"),
        place("broken-1", "tok_broken"),
        place("lost-1", "tok_lost"),
    );

    // Two errors, then the charge.
    assert_eq!(flaky.state, OrderState::Completed);
    let charge = shop.charge("flaky-1").unwrap();
    assert_eq!((charge.status, charge.attempts), (Status::Charged, 3));

    // Permanent errors: nothing was charged, the key is voided, the order is undone, and the reason
    // is given.
    assert_eq!(
        broken,
        unpaid(
            "broken-1",
            OrderState::Failed,
            reason("PaymentUnavailable", "the gateway answered 500")
        )
    );
    assert_eq!(
        status_of(&shop, "broken-1").await,
        WorkflowExecutionStatus::Failed
    );
    let charge = shop.charge("broken-1").unwrap();
    assert_eq!((charge.status, charge.attempts), (Status::Voided, 3));
    assert_eq!(shop.stored_state("broken-1").await, "cancelled");

    // Charged although every answer was an error: the order continues.
    assert_eq!(lost.state, OrderState::Completed);
    assert!(lost.payment.is_some_and(|payment| payment.settled));
    let charge = shop.charge("lost-1").unwrap();
    assert_eq!((charge.status, charge.attempts), (Status::Charged, 3));
    assert_eq!(shop.stored_state("lost-1").await, "paid");
    let log = worker.drain().await;
    assert!(log.contains("payment not made"), "{log}");
    assert!(!log.contains("tok_"), "a card token is in the log: {log}");
}

#[tokio::test]
async fn a_rate_limit_is_honoured() {
    let faults = FaultOptions {
        retry_after_seconds: 10,
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    let shop = Shop::open_with("limited", gateway, Behavior::default()).await;
    let worker = shop.worker().await;
    let order = shop
        .place(OrderInput::new("limited-1", 100).with("card", "tok_rate_limited"))
        .await;
    // The retry policy alone would retry after one second.
    let paying = failed_attempts(&shop, "limited-1", "process_payment", 1).await;
    assert_eq!(pause_of(&paying), Duration::from_secs(10));
    let result = shop.end_of(&order).await;
    assert_eq!(result.state, OrderState::Completed);
    assert_eq!(
        shop.charge("limited-1").map(|charge| charge.attempts),
        Some(2)
    );
    worker.drain().await;
}

#[tokio::test]
async fn an_order_that_cannot_be_reserved_is_not_charged() {
    let shop = Shop::open("stock").await;
    let worker = shop.worker().await;
    let order = |id: &str, sku: &str, quantity: u32| {
        OrderInput::new(id, 100).with(
            "items",
            json!([{"sku": "book"}, {"sku": sku, "quantity": quantity}]),
        )
    };
    let books = shop.store().await.available("book").await.unwrap();
    let (out, unknown) = tokio::join!(
        shop.run(order("out-1", "rare-vase", 6)),
        shop.run(order("unknown-1", "dragon", 1))
    );
    assert_eq!(
        out,
        unpaid(
            "out-1",
            OrderState::OutOfStock,
            reason("OutOfStock", "fewer than 6 pieces of rare-vase are left")
        )
    );
    assert_eq!(
        unknown,
        unpaid(
            "unknown-1",
            OrderState::OutOfStock,
            reason("UnknownSku", "the SKU dragon is unknown")
        )
    );
    assert_eq!(shop.gateway.entries(), vec![]);
    assert_eq!(shop.stored_state("out-1").await, "cancelled");
    assert_eq!(shop.store().await.available("book").await.unwrap(), books);
    worker.drain().await;
}

#[tokio::test]
async fn an_invalid_order_fails_at_once_and_names_the_mistake() {
    let shop = Shop::open("wrong").await;
    let worker = shop.worker().await;
    let result = shop
        .run(OrderInput::from_value(
            json!({"order_id": "wrong-1", "total": 1.5}),
        ))
        .await;
    assert_eq!(
        (result.state, result.reason),
        (
            OrderState::Failed,
            reason(
                "InvalidOrder",
                "total must be a whole number of minor units (100 is 1.00), not a fraction"
            )
        )
    );
    let result = shop
        .run(OrderInput::from_value(json!(["not", "an", "order"])))
        .await;
    assert_eq!(
        result.reason,
        reason("InvalidOrder", "the order must be a JSON object")
    );
    worker.drain().await;
}

#[tokio::test]
async fn a_second_start_does_not_run_the_order_twice() {
    let shop = Shop::open("twice").await;
    let worker = shop.worker().await;
    let start = || {
        start_order(
            &shop.client,
            "twice",
            "order-twice-1",
            OrderInput::new("twice-1", 100),
        )
    };
    let (one, two) = tokio::join!(start(), start());
    let mut fresh = [one.unwrap().fresh, two.unwrap().fresh];
    fresh.sort_unstable();
    assert_eq!(fresh, [false, true]);
    let first = start().await.unwrap();
    let result = shop.end_of(&first.handle).await;
    // Also after it has ended.
    let again = start().await.unwrap();
    assert!(!again.fresh);
    assert_eq!(shop.end_of(&again.handle).await, result);
    assert_eq!(
        shop.charge("twice-1").map(|charge| charge.attempts),
        Some(1)
    );

    // The same order under another workflow id is refused, and the first one is not changed.
    let other = start_order(
        &shop.client,
        "twice",
        "elsewhere",
        OrderInput::new("twice-1", 100),
    )
    .await;
    let other = shop.end_of(&other.unwrap().handle).await;
    assert_eq!(
        other.reason,
        reason("OrderConflict", "order twice-1 belongs to another workflow")
    );
    assert_eq!(shop.stored_state("twice-1").await, "paid");
    worker.drain().await;
}

#[tokio::test]
async fn an_order_can_be_cancelled_until_it_is_paid() {
    let shop = Shop::open("cancel").await;
    let worker = shop.worker().await;
    let patient = |id: &str| OrderInput::new(id, 100).with("cancel_window_seconds", 600);
    let update = shop.place(patient("update-1")).await;
    let signal = shop.place(patient("signal-1")).await;
    let workflow = shop.place(patient("workflow-1")).await;
    for id in ["update-1", "signal-1", "workflow-1"] {
        eventually("the cancel window is open", async || {
            (state_of(&shop, id).await == OrderState::Waiting).then_some(())
        })
        .await;
    }

    let cancel = |reason: &str| (Words::from(reason), WorkflowExecuteUpdateOptions::default());
    let (text, options) = cancel("too dear");
    let answer = update
        .execute_update(OrderWorkflow::cancel_order, text, options)
        .await
        .unwrap();
    assert_eq!(answer, "update-1");
    assert_eq!(
        shop.end_of(&update).await,
        unpaid(
            "update-1",
            OrderState::Cancelled,
            reason("CancelledByCustomer", "too dear")
        )
    );

    let text = Words::from("changed\0my mind");
    signal
        .signal(
            OrderWorkflow::cancel_order_signal,
            text,
            WorkflowSignalOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(
        shop.end_of(&signal).await,
        unpaid(
            "signal-1",
            OrderState::Cancelled,
            reason("CancelledByCustomer", "changed my mind")
        )
    );

    // Cancelling the workflow itself: compensation runs although everything else is cancelled.
    let options = WorkflowCancelOptions::builder().reason("fraud").build();
    workflow.cancel(options).await.unwrap();
    assert_eq!(
        shop.end_of(&workflow).await,
        unpaid(
            "workflow-1",
            OrderState::Cancelled,
            reason("CancelledByRequest", "fraud")
        )
    );
    assert_eq!(
        status_of(&shop, "workflow-1").await,
        WorkflowExecutionStatus::Canceled
    );

    for id in ["update-1", "signal-1", "workflow-1"] {
        assert_eq!(shop.stored_state(id).await, "cancelled");
    }
    assert_eq!(shop.gateway.entries(), vec![]);
    worker.drain().await;
}

#[tokio::test]
async fn a_cancellation_during_the_payment_is_too_late() {
    let faults = FaultOptions {
        slow: Duration::from_secs(3),
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    let shop = Shop::open_with("late", gateway, Behavior::default()).await;
    let worker = shop.worker().await;
    let input = OrderInput::new("late-1", 100)
        .with("card", "tok_slow")
        .with("recipients", json!(["late@example.com"]));
    let handle = shop.place(input).await;
    eventually("the order is being paid", async || shop.charge("late-1")).await;

    let update = handle
        .execute_update(
            OrderWorkflow::cancel_order,
            Words::from("too late"),
            WorkflowExecuteUpdateOptions::default(),
        )
        .await;
    assert!(
        matches!(update, Err(WorkflowUpdateError::Failed(_))),
        "{update:?}"
    );

    // The charge goes through, so the order is paid and stays paid; only the mail is not sent.
    handle
        .cancel(WorkflowCancelOptions::default())
        .await
        .unwrap();
    let result = shop.end_of(&handle).await;
    assert_eq!(
        (result.state, result.notification.state),
        (OrderState::Completed, NotificationState::Cancelled)
    );
    assert_eq!(shop.stored_state("late-1").await, "paid");
    assert_eq!(shop.smtp.mails(), vec![]);
    worker.drain().await;
}
