//! Orders that are cancelled in the middle of a step: nothing is undone before the step has really
//! ended. Afterwards orders, stock, ledger and mails are consistent.

use std::time::Duration;

use order_gateway::{FaultOptions, GatewayOptions, Status};
use order_worker::commands::OrderHandle;
use order_worker::domain::order::{NotificationState, OrderInput, OrderResult, OrderState};
use order_worker::domain::workflow::{OrderWorkflow, Words};
use order_worker_testkit::postgres_database;
use serde_json::json;
use sqlx::Row;
use temporalio_client::{
    WorkflowCancelOptions, WorkflowExecuteUpdateOptions, WorkflowExecutionStatus,
};

use crate::history::{contains_in_order, events_of, place_of, summary};
use crate::hold::{Hold, Step};
use crate::orders::{reason, status_of, unpaid};
use crate::pending::{asked_to_stop, failed_attempts};
use crate::smtp::Behavior;
use crate::support::{Shop, Worker, eventually};

/// How long the gateway delays every answer: less than the worker's request timeout.
const KEPT_BACK: Duration = Duration::from_secs(8);

/// An order of three lamps with one recipient, and the stock before it.
struct Case {
    shop: Shop,
    worker: Worker,
    id: String,
    order: OrderHandle,
    lamps: Option<i64>,
}

impl Case {
    /// Places an order whose current step is blocked on its row.
    async fn held(name: &str, step: Step) -> (Self, Hold) {
        let mut shop = Shop::open(name).await;
        shop.database_url = postgres_database().await;
        let worker = shop.worker().await;
        let id = format!("{name}-1");
        let mut hold = Hold::of(&shop, step, &id).await;
        let case = Self::place(shop, worker, id, "tok_good").await;
        hold.waited_for().await;
        (case, hold)
    }

    /// Places an order and waits until the gateway has been asked to charge it.
    async fn paying(name: &str, card: &str, gateway: GatewayOptions) -> Self {
        let shop = Shop::open_with(name, gateway, Behavior::default()).await;
        let worker = shop.worker().await;
        let case = Self::place(shop, worker, format!("{name}-1"), card).await;
        eventually("the order is being paid", async || {
            case.shop.charge(&case.id)
        })
        .await;
        case
    }

    async fn place(shop: Shop, worker: Worker, id: String, card: &str) -> Self {
        let store = shop.store().await;
        let lamps = store.available("lamp").await.unwrap();
        store.close().await;
        let input = OrderInput::new(&id, 100)
            .with("card", card)
            .with("items", json!([{"sku": "lamp", "quantity": 3}]))
            .with("recipients", json!(["a@example.com"]));
        let order = shop.place(input).await;
        Self {
            shop,
            worker,
            id,
            order,
            lamps,
        }
    }

    /// Cancels the workflow.
    async fn cancel(&self) {
        let options = WorkflowCancelOptions::builder().reason("fraud").build();
        self.order.cancel(options).await.unwrap();
    }

    async fn summary(&self) -> Vec<String> {
        summary(&events_of(&self.order).await)
    }

    async fn end(&self) -> OrderResult {
        self.shop.end_of(&self.order).await
    }

    fn cancelled(&self) -> OrderResult {
        let why = reason("CancelledByRequest", "fraud");
        unpaid(&self.id, OrderState::Cancelled, why)
    }

    /// Checks that only the order's row is left.
    async fn is_undone(&self) {
        let store = self.shop.store().await;
        assert_eq!(store.available("lamp").await.unwrap(), self.lamps);
        let kept = sqlx::query("SELECT COUNT(*) FROM reservations WHERE state <> 'released'");
        let kept = kept.fetch_one(store.pool()).await.unwrap();
        assert_eq!(kept.get::<i64, _>(0), 0);
        store.close().await;
        assert_eq!(self.shop.stored_state(&self.id).await, "cancelled");
        assert_eq!(self.shop.smtp.mails(), vec![]);
    }

    /// Checks that the order is paid and sold, although nobody was mailed.
    async fn is_sold(&self) {
        let store = self.shop.store().await;
        let left = store.available("lamp").await.unwrap();
        assert_eq!(left, self.lamps.map(|lamps| lamps - 3));
        store.close().await;
        assert_eq!(self.shop.stored_state(&self.id).await, "paid");
        assert_eq!(self.shop.smtp.mails(), vec![]);
    }

    /// The status of the order's charge in the ledger, and the number of attempts.
    fn charged(&self) -> Option<(Status, u32)> {
        let entry = self.shop.charge(&self.id)?;
        Some((entry.status, entry.attempts))
    }
}

/// Checks that compensation begins only after the cancelled step has ended.
fn undone_after(summary: &[String], step: Step) {
    let activity = step.activity();
    let ended = ["completed", "failed", "timed out", "cancelled"]
        .iter()
        .find_map(|end| place_of(summary, &format!("{activity} {end}")));
    let asked = place_of(summary, &format!("{activity} asked to stop"));
    let cancel = place_of(summary, "cancel_order_activity scheduled");
    let release = place_of(summary, "release_inventory scheduled");
    assert!(asked.is_some() && asked < ended, "{summary:?}");
    assert!(ended.is_some() && ended < cancel, "{summary:?}");
    // Compensation undoes only the steps that may have run, the last one first.
    match step {
        Step::Create => assert_eq!(release, None, "{summary:?}"),
        Step::Reserve => assert!(ended < release && release < cancel, "{summary:?}"),
    }
}

/// Checks that the blocked order ends as cancelled and leaves nothing behind.
async fn ends_undone(case: Case, step: Step) {
    assert_eq!(case.end().await, case.cancelled());
    let status = status_of(&case.shop, &case.id).await;
    assert_eq!(status, WorkflowExecutionStatus::Canceled);
    undone_after(&case.summary().await, step);
    case.is_undone().await;
    assert_eq!(case.charged(), None);
    case.worker.drain().await;
}

async fn a_held_step_is_undone(name: &str, step: Step) {
    let (case, hold) = Case::held(name, step).await;
    case.cancel().await;
    asked_to_stop(&case.shop, &case.id).await;
    hold.let_go().await;
    ends_undone(case, step).await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_while_it_is_recorded_is_undone_afterwards() {
    a_held_step_is_undone("held-create", Step::Create).await;
}

#[tokio::test]
async fn an_order_that_is_cancelled_while_stock_is_reserved_is_undone_afterwards() {
    a_held_step_is_undone("held-reserve", Step::Reserve).await;
}

/// The database does not answer a step in time. Temporal does not retry the step, because the
/// workflow is cancelled; so the order ends as cancelled.
async fn a_step_that_fails_late_is_undone(name: &str, step: Step) {
    let (case, hold) = Case::held(name, step).await;
    case.cancel().await;
    asked_to_stop(&case.shop, &case.id).await;
    let failed = format!("{} failed: StoreUnavailable", step.activity());
    eventually("the step fails", async || {
        contains_in_order(&case.summary().await, &[&failed]).then_some(())
    })
    .await;
    hold.let_go().await;
    ends_undone(case, step).await;
}

#[tokio::test]
async fn an_order_that_can_no_longer_be_recorded_is_cancelled() {
    a_step_that_fails_late_is_undone("late-create", Step::Create).await;
}

#[tokio::test]
async fn an_order_whose_stock_can_no_longer_be_reserved_is_cancelled() {
    a_step_that_fails_late_is_undone("late-reserve", Step::Reserve).await;
}

async fn a_customer_cancels_in_a_step(name: &str, step: Step) {
    let (case, hold) = Case::held(name, step).await;
    let words = Words::from("too dear");
    let answer = case
        .order
        .execute_update(
            OrderWorkflow::cancel_order,
            words,
            WorkflowExecuteUpdateOptions::default(),
        )
        .await;
    assert_eq!(answer.unwrap(), case.id);
    hold.let_go().await;
    let why = reason("CancelledByCustomer", "too dear");
    let cancelled = unpaid(&case.id, OrderState::Cancelled, why);
    assert_eq!(case.end().await, cancelled);
    let status = status_of(&case.shop, &case.id).await;
    assert_eq!(status, WorkflowExecutionStatus::Completed);
    // The running step finishes; the next one does not start.
    let summary = case.summary().await;
    let completed = format!("{} completed", step.activity());
    let way = ["update", &completed, "cancel_order_activity completed"];
    assert!(contains_in_order(&summary, &way), "{summary:?}");
    assert_eq!(place_of(&summary, "process_payment"), None);
    if step == Step::Create {
        assert_eq!(place_of(&summary, "reserve_inventory"), None);
    }
    case.is_undone().await;
    assert_eq!(case.charged(), None);
    case.worker.drain().await;
}

#[tokio::test]
async fn a_customer_cancels_while_the_order_is_recorded() {
    a_customer_cancels_in_a_step("customer-create", Step::Create).await;
}

#[tokio::test]
async fn a_customer_cancels_while_stock_is_reserved() {
    a_customer_cancels_in_a_step("customer-reserve", Step::Reserve).await;
}

fn delaying_answers() -> GatewayOptions {
    GatewayOptions {
        delay: KEPT_BACK,
        ..GatewayOptions::default()
    }
}

#[tokio::test]
async fn a_payment_that_is_not_made_before_the_cancellation_is_never_made() {
    let case = Case::paying("unmade", "tok_broken", delaying_answers()).await;
    case.cancel().await;
    asked_to_stop(&case.shop, &case.id).await;
    // No settlement starts while a request is in flight.
    assert_eq!(place_of(&case.summary().await, "settle_payment"), None);
    assert_eq!(case.end().await, case.cancelled());
    let summary = case.summary().await;
    let way = [
        "process_payment asked to stop",
        "process_payment failed: PaymentUnavailable",
        "settle_payment completed",
        "release_inventory completed",
        "cancel_order_activity completed",
    ];
    assert!(contains_in_order(&summary, &way), "{summary:?}");
    assert_eq!(case.charged(), Some((Status::Voided, 1)));
    case.is_undone().await;
    case.worker.drain().await;
}

#[tokio::test]
async fn a_payment_whose_answer_is_lost_at_the_cancellation_stays_made() {
    let case = Case::paying("made", "tok_lost", delaying_answers()).await;
    case.cancel().await;
    asked_to_stop(&case.shop, &case.id).await;
    let result = case.end().await;
    assert_eq!(
        (result.state, result.notification.state),
        (OrderState::Completed, NotificationState::Cancelled)
    );
    assert!(result.payment.is_some_and(|payment| payment.settled));
    assert_eq!(case.charged(), Some((Status::Charged, 1)));
    let summary = case.summary().await;
    assert_eq!(place_of(&summary, "release_inventory"), None, "{summary:?}");
    case.is_sold().await;
    case.worker.drain().await;
}

#[tokio::test]
async fn a_payment_that_waits_for_its_next_attempt_is_not_made_after_the_cancellation() {
    let faults = FaultOptions {
        retry_after_seconds: 600,
        ..FaultOptions::default()
    };
    let gateway = GatewayOptions {
        faults,
        ..GatewayOptions::default()
    };
    let case = Case::paying("waiting", "tok_rate_limited", gateway).await;
    failed_attempts(&case.shop, &case.id, "process_payment", 1).await;
    case.cancel().await;
    assert_eq!(case.end().await, case.cancelled());
    let summary = case.summary().await;
    let way = [
        "process_payment cancelled",
        "settle_payment completed",
        "release_inventory completed",
        "cancel_order_activity completed",
    ];
    assert!(contains_in_order(&summary, &way), "{summary:?}");
    assert_eq!(case.charged(), Some((Status::Voided, 1)));
    case.is_undone().await;
    case.worker.drain().await;
}
