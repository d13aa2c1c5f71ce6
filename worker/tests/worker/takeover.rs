//! A worker that leaves during a mailing, or is cut off from Temporal, but from nothing else.

use std::time::Duration;

use order_gateway::GatewayOptions;
use order_worker::domain::order::{NotificationState, OrderInput};
use order_worker_testkit::postgres_database;
use serde_json::json;
use taskqueue_worker::testing::{Line, temporal};
use temporalio_client::WorkflowCancelOptions;
use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState;

use crate::notifications::last_failure;
use crate::pending::{pause_of, pending};
use crate::smtp::{self, Behavior};
use crate::support::{Shop, Worker, eventually};

/// Number of recipients: mailing them takes far longer than the start of another attempt.
const ALL: usize = 600;

/// Opens a shop with a slow mail server, a worker that is mailing and reaches Temporal through a
/// line, and the order.
async fn shop_and_cut_off_worker(name: &str) -> (Shop, Worker, Line) {
    let slow = Behavior {
        delay: Duration::from_millis(100),
        ..Behavior::default()
    };
    let mut shop = Shop::open_with(name, GatewayOptions::default(), slow).await;
    shop.database_url = postgres_database().await;
    let line = Line::start(temporal()).await;
    let address = format!("127.0.0.1:{}", line.port);
    let worker = shop.worker_with(&[("TEMPORAL_ADDRESS", &address)]).await;
    (shop, worker, line)
}

fn order(name: &str) -> OrderInput {
    let recipients: Vec<String> = (0..ALL).map(|n| format!("r{n}@example.com")).collect();
    OrderInput::new(name, 100).with("recipients", json!(recipients))
}

async fn mailed(shop: &Shop, count: usize) {
    eventually("mails are sent", async || {
        (shop.smtp.mails().len() >= count).then_some(())
    })
    .await;
}

/// Waits until the cut-off worker has noticed that it lost the mailing.
async fn stopped(worker: &Worker) {
    worker.says("a later attempt sends these mails").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_attempts_never_send_mails_at_the_same_time() {
    let (shop, old, line) = shop_and_cut_off_worker("takeover").await;
    let handle = shop.place(order("takeover-1")).await;
    mailed(&shop, 10).await;
    line.cut();
    let new = shop.worker().await;
    stopped(&old).await;
    // The rest may be quick.
    shop.smtp.behave(Behavior::default());
    let result = shop.end_of(&handle).await;
    assert_eq!(
        (result.notification.state, result.notification.sent),
        (NotificationState::Sent, ALL as u64)
    );
    let (everyone, repeated) = smtp::mailed(&shop.smtp.mails());
    assert_eq!(everyone.len(), ALL);
    // The mail that was being sent at the takeover.
    assert!(repeated <= 1, "{repeated} mails were sent twice");
    new.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_mailing_ends_although_its_worker_cannot_learn_of_it() {
    let (shop, old, line) = shop_and_cut_off_worker("unheard").await;
    let handle = shop.place(order("unheard-1")).await;
    mailed(&shop, 10).await;
    line.cut();
    let new = shop.worker().await;
    handle
        .cancel(WorkflowCancelOptions::default())
        .await
        .unwrap();
    let result = shop.end_of(&handle).await;
    stopped(&old).await;
    assert_eq!(result.notification.state, NotificationState::Cancelled);
    // The count comes after the end of the mailing, except for the mail in flight.
    let (counted, sent) = (result.notification.sent, shop.smtp.mails().len() as u64);
    assert!(counted <= sent && sent <= counted + 1, "{counted} {sent}");
    assert!(sent < ALL as u64, "{sent}");
    new.drain().await;
}

/// After the grace period another worker takes over after a second, however many attempts there
/// were; the retry policy alone would wait 8 s.
#[tokio::test(flavor = "multi_thread")]
async fn an_activity_that_a_drain_ended_is_taken_over_after_a_second() {
    let smtp = Behavior {
        put_off: [("a@example.com".to_owned(), 3)].into(),
        silent_at: vec!["END".to_owned()],
        ..Behavior::default()
    };
    let shop = Shop::open_with("after-grace", GatewayOptions::default(), smtp).await;
    let more = [("TASKQUEUE_DRAIN_GRACE_PERIOD_SECONDS", "1")];
    let worker = shop.worker_with(&more).await;
    let input = OrderInput::new("after-grace-1", 100).with("recipients", json!(["a@example.com"]));
    let order = shop.place(input).await;
    eventually("the fourth attempt runs", async || {
        let pending = pending(&shop, "after-grace-1").await?;
        let runs = pending.state() == PendingActivityState::Started;
        (pending.attempt == 4 && runs).then_some(())
    })
    .await;
    worker.drain().await;
    let pending = pending(&shop, "after-grace-1").await.unwrap();
    let (kind, _) = last_failure(&pending);
    assert_eq!(kind, "WorkerShutdown");
    assert_eq!(pause_of(&pending), Duration::from_secs(1));
    shop.smtp.behave(Behavior::default());
    let next = shop.worker().await;
    let result = shop.end_of(&order).await;
    assert_eq!(result.notification.state, NotificationState::Sent);
    next.drain().await;
}
