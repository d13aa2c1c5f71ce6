//! The database: the same tests on SQLite and on PostgreSQL.

use std::collections::BTreeSet;

use order_worker::domain::failure::{Failure, FailureType, Reason};
use order_worker::domain::order::Item;
use order_worker::domain::order::messages::{CreateOrder, PaymentRequest, Reservation};
use order_worker::store::{MailCounts, PaymentState, Store, StoredOrder};
use order_worker_testkit::postgres_database;

use crate::support::{DEADLINE, temp_dir};
use sqlx::Row;
use tempfile::TempDir;

fn order(order_id: &str) -> CreateOrder {
    CreateOrder {
        order_id: order_id.to_owned(),
        total: 100,
        currency: "USD".to_owned(),
        first_run_id: None,
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

async fn orders_are_recorded_once_and_belong_to_their_workflow(store: Store) {
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
        first_run_id: String::new(),
    };
    assert_eq!(store.order("a").await.unwrap(), Some(expected));

    // Cancelled before it was recorded: the late step notices.
    assert!(store.cancel_order("wf", "late", &why()).await.unwrap());
    assert_eq!(
        kind(store.create_order("wf", &order("late")).await),
        FailureType::OrderCancelled
    );
}

async fn stock_is_reserved_completely_or_not_at_all_and_released_once(store: Store) {
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

async fn a_charge_marks_an_order_as_paid_permanently(store: Store) {
    store.create_order("wf", &order("a")).await.unwrap();
    let request = PaymentRequest {
        order_id: "a".to_owned(),
        amount: 100,
        currency: "USD".to_owned(),
        card: None,
        attempts: None,
        asked_since: None,
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

async fn a_second_charge_of_an_order_is_refused(store: Store) {
    store.create_order("wf", &order("a")).await.unwrap();
    let request = |amount: i64| PaymentRequest {
        order_id: "a".to_owned(),
        amount,
        currency: "USD".to_owned(),
        card: None,
        attempts: None,
        asked_since: None,
    };
    let record = async |key: &str, amount: i64, state: PaymentState<'_>| {
        store.record_payment(key, &request(amount), state).await
    };
    // The key was voided; the order is paid under another one.
    record("one", 100, PaymentState::Voided).await.unwrap();
    let charged = PaymentState::Charged("ch_2");
    assert!(record("two", 90, charged).await.unwrap());
    let row = sqlx::query("SELECT idempotency_key, charge_id, amount FROM payments");
    let row = row.fetch_one(store.pool()).await.unwrap();
    let kept: (String, String, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(kept, ("two".to_owned(), "ch_2".to_owned(), 90));

    assert!(!record("two", 90, charged).await.unwrap());
    assert!(!record("three", 90, PaymentState::Voided).await.unwrap());
    let twice = record("three", 90, PaymentState::Charged("ch_3")).await;
    let twice = twice.unwrap_err();
    assert_eq!(twice.kind, FailureType::OrderConflict);
    assert_eq!(
        twice.message,
        "order a was already paid under the key two: refund the charge ch_3"
    );
}

async fn a_reset_run_may_find_its_order_paid(store: Store) {
    let run = |first_run_id: &str, total: i64| CreateOrder {
        first_run_id: Some(first_run_id.to_owned()),
        total,
        ..order("a")
    };
    store.create_order("wf", &run("first", 100)).await.unwrap();
    let request = PaymentRequest {
        order_id: "a".to_owned(),
        amount: 100,
        currency: "USD".to_owned(),
        card: None,
        attempts: None,
        asked_since: None,
    };
    let charged = PaymentState::Charged("ch_1");
    store
        .record_payment("wf-charge", &request, charged)
        .await
        .unwrap();
    assert!(!store.create_order("wf", &run("first", 100)).await.unwrap());
    for other in [
        run("first", 500),
        run("second", 100),
        run("", 100),
        order("a"),
    ] {
        let refused = store.create_order("wf", &other).await;
        assert_eq!(kind(refused), FailureType::OrderConflict);
    }
}

async fn a_mail_without_a_response_is_given_up_after_three_attempts(store: Store) {
    let to = "x@example.com";
    for times in 1..=3 {
        assert!(store.mails_done("a").await.unwrap().is_empty());
        assert_eq!(store.mail_unconfirmed("a", to).await.unwrap(), times);
    }
    let counts = |sent, unconfirmed| MailCounts {
        sent,
        unconfirmed,
        ..MailCounts::default()
    };
    let done = BTreeSet::from([to.to_owned()]);
    assert_eq!(store.mails_done("a").await.unwrap(), done);
    assert_eq!(store.mail_counts("a").await.unwrap(), counts(0, 1));
    // The answer was that the server did not take it.
    store.mail_not_taken("a", to).await.unwrap();
    assert!(store.mails_done("a").await.unwrap().is_empty());
    store.record_mail("a", to, "<1>", None).await.unwrap();
    assert_eq!(store.mail_counts("a").await.unwrap(), counts(1, 0));
    assert_eq!(store.mail_counts("b").await.unwrap(), counts(0, 0));
}

async fn this_version_starts_with_a_newer_schema(store: Store) {
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
async fn a_value_that_the_database_cannot_store_is_not_retried_forever() {
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
            unconfirmed: 0,
            last_refusal: Some("no such mailbox".to_owned())
        }
    );
    assert_eq!(
        store.mail_counts("nobody").await.unwrap(),
        MailCounts::default()
    );
}

async fn the_attempt_that_started_last_owns_the_mailing(store: Store) {
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
async fn a_connection_in_use_does_not_prevent_a_process_from_exiting(store: Store) {
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
    orders_are_recorded_once_and_belong_to_their_workflow
    stock_is_reserved_completely_or_not_at_all_and_released_once
    stock_is_never_oversold
    a_charge_marks_an_order_as_paid_permanently
    a_second_charge_of_an_order_is_refused
    a_reset_run_may_find_its_order_paid
    a_mail_without_a_response_is_given_up_after_three_attempts
    this_version_starts_with_a_newer_schema
    a_mail_is_recorded_once
    the_attempt_that_started_last_owns_the_mailing
    a_connection_in_use_does_not_prevent_a_process_from_exiting
}

#[tokio::test]
async fn an_in_memory_database_serves_one_process() {
    let store = Store::open("sqlite::memory:", 4).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.create_order("wf", &order("a")).await.unwrap());
    assert!(store.order("a").await.unwrap().is_some());
}
