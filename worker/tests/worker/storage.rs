//! The database: the same tests on SQLite and on PostgreSQL.

use std::collections::BTreeSet;

use order_worker::domain::failure::{Failure, FailureType, Reason};
use order_worker::domain::order::Item;
use order_worker::domain::order::messages::{CreateOrder, PaymentRequest, Reservation};
use order_worker::store::{MailCounts, PaymentState, Store, StoredOrder};
use order_worker_testkit::postgres_database;

use crate::support::{DEADLINE, temp_dir};
use tempfile::TempDir;

fn order(order_id: &str) -> CreateOrder {
    CreateOrder {
        order_id: order_id.to_owned(),
        total: 100,
        currency: "USD".to_owned(),
    }
}

fn reservation(order_id: &str, items: &[(&str, i64)]) -> Reservation {
    Reservation {
        order_id: order_id.to_owned(),
        items: items
            .iter()
            .map(|(sku, quantity)| Item {
                sku: (*sku).to_owned(),
                quantity: *quantity,
            })
            .collect(),
    }
}

fn why() -> Reason {
    Reason {
        kind: "OutOfStock".to_owned(),
        message: "none left".to_owned(),
    }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> FailureType {
    outcome.unwrap_err().kind
}

async fn orders_are_written_once_and_belong_to_their_workflow(store: Store) {
    assert!(store.create_order("wf", &order("a")).await.unwrap());
    assert!(!store.create_order("wf", &order("a")).await.unwrap());
    let dearer = CreateOrder {
        total: 500,
        ..order("a")
    };
    let dearer = store.create_order("wf", &dearer).await;
    assert_eq!(kind(dearer), FailureType::OrderConflict);
    let other = store.create_order("other", &order("a")).await;
    assert_eq!(kind(other), FailureType::OrderConflict);
    assert!(!store.cancel_order("other", "a", &why()).await.unwrap());
    assert!(store.cancel_order("wf", "a", &why()).await.unwrap());
    assert!(!store.cancel_order("wf", "a", &why()).await.unwrap());
    let expected = StoredOrder {
        workflow_id: "wf".to_owned(),
        total: 100,
        currency: "USD".to_owned(),
        state: "cancelled".to_owned(),
        reason: "OutOfStock".to_owned(),
    };
    assert_eq!(store.order("a").await.unwrap(), Some(expected));

    // Cancelled before it was recorded: the late step notices.
    assert!(store.cancel_order("wf", "late", &why()).await.unwrap());
    assert_eq!(
        kind(store.create_order("wf", &order("late")).await),
        FailureType::OrderCancelled
    );
}

async fn stock_is_taken_whole_or_not_and_put_back_once(store: Store) {
    let both = reservation("a", &[("book", 2), ("rare-vase", 3)]);
    store.reserve(&both).await.unwrap();
    store.reserve(&both).await.unwrap();
    // Another client may list the items in another order.
    let turned = reservation("a", &[("rare-vase", 3), ("book", 2)]);
    store.reserve(&turned).await.unwrap();
    let fewer = reservation("a", &[("book", 2)]);
    assert_eq!(
        kind(store.reserve(&fewer).await),
        FailureType::OrderConflict
    );
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(2));
    assert_eq!(store.available("book").await.unwrap(), Some(999_999_998));

    let too_many = reservation("b", &[("book", 5), ("rare-vase", 3)]);
    assert_eq!(
        kind(store.reserve(&too_many).await),
        FailureType::OutOfStock
    );
    let unknown = reservation("c", &[("book", 5), ("dragon", 1)]);
    assert_eq!(kind(store.reserve(&unknown).await), FailureType::UnknownSku);
    assert_eq!(store.available("book").await.unwrap(), Some(999_999_998));

    assert!(store.release("a").await.unwrap());
    assert!(!store.release("a").await.unwrap());
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(5));
    assert_eq!(
        kind(store.reserve(&both).await),
        FailureType::OrderCancelled
    );

    // Released before it was reserved: the late step must not take anything.
    assert!(!store.release("late").await.unwrap());
    let late = reservation("late", &[("rare-vase", 1)]);
    assert_eq!(
        kind(store.reserve(&late).await),
        FailureType::OrderCancelled
    );
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(5));
}

async fn stock_is_never_oversold(store: Store) {
    // Some put their items back immediately, so that takes and releases run in parallel. If they
    // locked rows in different orders, they would deadlock.
    let buyers = (0..48).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let id = format!("buyer-{n}");
            let items = [("lamp", 1), ("rare-vase", 1)];
            store.reserve(&reservation(&id, &items)).await?;
            if n % 2 == 0 {
                store.release(&id).await?;
                return Ok(0);
            }
            Ok::<i64, Failure>(1)
        })
    });
    let mut sold = 0;
    for buyer in buyers.collect::<Vec<_>>() {
        match buyer.await.unwrap() {
            Ok(kept) => sold += kept,
            Err(failure) => assert_eq!(failure.kind, FailureType::OutOfStock, "{failure}"),
        }
    }
    assert!(sold <= 5, "{sold} of 5 were sold");
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(5 - sold));
    // Later buyers get what is left, and no more.
    for n in sold..5 {
        let last = reservation(&format!("late-{n}"), &[("lamp", 1), ("rare-vase", 1)]);
        store.reserve(&last).await.unwrap();
    }
    let none = reservation("too-late", &[("lamp", 1), ("rare-vase", 1)]);
    assert_eq!(kind(store.reserve(&none).await), FailureType::OutOfStock);
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(0));
    assert_eq!(
        store.available("lamp").await.unwrap(),
        Some(1_000_000_000 - 5)
    );
}

async fn a_charge_makes_an_order_paid_for_good(store: Store) {
    store.create_order("wf", &order("a")).await.unwrap();
    let request = PaymentRequest {
        order_id: "a".to_owned(),
        amount: 100,
        currency: "USD".to_owned(),
        card: None,
    };
    let charged = PaymentState::Charged("ch_1");
    assert!(
        store
            .record_payment("wf-charge", &request, charged)
            .await
            .unwrap()
    );
    assert!(
        !store
            .record_payment("wf-charge", &request, charged)
            .await
            .unwrap()
    );
    assert!(
        !store
            .record_payment("wf-charge", &request, PaymentState::Voided)
            .await
            .unwrap()
    );
    assert!(!store.cancel_order("wf", "a", &why()).await.unwrap());
    // The workflow runs again: sold items are neither sold again nor put back.
    let again = store.create_order("wf", &order("a")).await;
    assert_eq!(kind(again), FailureType::OrderConflict);
    let sold = reservation("a", &[("rare-vase", 2)]);
    store.reserve(&sold).await.unwrap();
    assert!(!store.release("a").await.unwrap());
    assert_eq!(store.available("rare-vase").await.unwrap(), Some(3));
    assert_eq!(
        store.order("a").await.unwrap().map(|o| o.state).as_deref(),
        Some("paid")
    );
}

async fn a_newer_schema_does_not_keep_this_version_from_starting(store: Store) {
    sqlx::query(
        "INSERT INTO _sqlx_migrations
         SELECT 9999, description, installed_on, success, checksum, execution_time
         FROM _sqlx_migrations WHERE version = 1",
    )
    .execute(store.pool())
    .await
    .unwrap();
    store.migrate().await.unwrap();
    assert!(store.create_order("wf", &order("a")).await.unwrap());
}

/// PostgreSQL only: SQLite can store a NUL.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_cannot_hold_is_not_tried_for_ever() {
    let (store, ()) = postgres().await;
    let reason = Reason {
        kind: "CancelledByCustomer".to_owned(),
        message: "a\0b".to_owned(),
    };
    let held = store.cancel_order("wf", "a", &reason).await;
    assert_eq!(kind(held), FailureType::InvalidOrder);
    store.close().await;
}

async fn a_mail_is_recorded_once(store: Store) {
    store
        .record_mail("a", "x@example.com", "<1>", None)
        .await
        .unwrap();
    store
        .record_mail("a", "x@example.com", "<1>", Some("late refusal"))
        .await
        .unwrap();
    store
        .record_mail("a", "y@example.com", "<2>", Some("no such mailbox"))
        .await
        .unwrap();
    store
        .record_mail("b", "z@example.com", "<3>", None)
        .await
        .unwrap();
    let done: BTreeSet<String> = ["x@example.com", "y@example.com"].map(str::to_owned).into();
    assert_eq!(store.mails_done("a").await.unwrap(), done);
    assert_eq!(
        store.mail_counts("a").await.unwrap(),
        MailCounts {
            sent: 1,
            refused: 1,
            last_refusal: Some("no such mailbox".to_owned())
        }
    );
    assert_eq!(
        store.mail_counts("nobody").await.unwrap(),
        MailCounts::default()
    );
}

async fn the_attempt_that_was_started_last_has_the_mailing(store: Store) {
    assert!(!store.has_mailing("a", 5).await.unwrap());
    assert!(store.take_mailing("a", 5).await.unwrap());
    assert!(store.take_mailing("a", 5).await.unwrap());
    assert!(store.has_mailing("a", 5).await.unwrap());
    assert!(store.take_mailing("a", 7).await.unwrap());
    assert!(!store.has_mailing("a", 5).await.unwrap());
    // An attempt that started earlier but arrives late takes nothing over.
    assert!(!store.take_mailing("a", 6).await.unwrap());
    assert!(store.has_mailing("a", 7).await.unwrap());
    assert!(store.take_mailing("b", 1).await.unwrap());
    assert!(store.has_mailing("a", 7).await.unwrap());
}

/// Opens the database several times at once, as several pods would.
async fn opened_by_many(url: &str) -> Store {
    let pods = (0..8).map(|_| {
        let url = url.to_owned();
        tokio::spawn(async move {
            let store = Store::open(&url, 10).await.unwrap();
            store.migrate().await.unwrap();
            store
        })
    });
    let mut last = None;
    for pod in pods.collect::<Vec<_>>() {
        if let Some(store) = last.replace(pod.await.unwrap()) {
            store.close().await;
        }
    }
    last.unwrap()
}

async fn sqlite() -> (Store, TempDir) {
    let dir = temp_dir("storage");
    let url = format!(
        "sqlite://{}?mode=rwc",
        dir.path().join("orders.db").display()
    );
    (opened_by_many(&url).await, dir)
}

async fn postgres() -> (Store, ()) {
    (opened_by_many(&postgres_database().await).await, ())
}

/// Like a connection that waits for a server which has disappeared.
async fn a_connection_in_use_does_not_keep_a_process_from_ending(store: Store) {
    let in_use = store.pool().acquire().await.unwrap();
    let closed = tokio::time::timeout(DEADLINE, store.close()).await;
    closed.expect("it waits for the connection");
    drop(in_use);
}

macro_rules! on_both {
    ($($test:ident)*) => {$(
        mod $test {
            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                let (store, _dir) = super::sqlite().await;
                super::$test(store.clone()).await;
                store.close().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgresql() {
                let (store, ()) = super::postgres().await;
                super::$test(store.clone()).await;
                store.close().await;
            }
        }
    )*};
}

on_both! {
    orders_are_written_once_and_belong_to_their_workflow
    stock_is_taken_whole_or_not_and_put_back_once
    stock_is_never_oversold
    a_charge_makes_an_order_paid_for_good
    a_newer_schema_does_not_keep_this_version_from_starting
    a_mail_is_recorded_once
    the_attempt_that_was_started_last_has_the_mailing
    a_connection_in_use_does_not_keep_a_process_from_ending
}

#[tokio::test]
async fn a_database_in_memory_serves_one_process() {
    let store = Store::open("sqlite::memory:", 4).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.create_order("wf", &order("a")).await.unwrap());
    assert!(store.order("a").await.unwrap().is_some());
}
