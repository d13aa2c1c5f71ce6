//! Mail servers and databases on a bad day: copies, denied relays, slow databases, and activities
//! that are paused in the middle of a mailing.

use std::collections::BTreeMap;
use std::time::Duration;

use order_gateway::GatewayOptions;
use order_worker::domain::failure::Reason;
use order_worker::domain::order::{Notification, NotificationState, OrderInput};
use serde_json::json;
use sqlx::Row;
use temporalio_client::WorkflowCancelOptions;
use temporalio_common::protos::temporal::api::enums::v1::PendingActivityState;

use crate::history::{events_of, summary};
use crate::notifications::{failed_mailing, last_failure, once, recipients};
use crate::pending::{pause, pause_of, pending, unpause};
use crate::smtp::Behavior;
use crate::support::{Shop, eventually};
use order_worker_testkit::postgres_database;

fn take_and_close(recipient: &str) -> Behavior {
    Behavior {
        take_and_close: BTreeMap::from([(recipient.to_owned(), u32::MAX)]),
        ..Behavior::default()
    }
}

#[tokio::test]
async fn a_mail_that_is_never_confirmed_is_sent_three_times_and_no_more() {
    let smtp = take_and_close("r2@example.com");
    let shop = Shop::open_with("unconfirmed", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let all = recipients(4);
    let result = shop
        .run(OrderInput::new("unconfirmed-1", 100).with("recipients", json!(all)))
        .await;
    let expected = Notification {
        state: NotificationState::Partial,
        sent: 3,
        refused: 0,
        unconfirmed: 1,
        reason: Some(Reason {
            kind: "MailUnconfirmed".to_owned(),
            message: "the mail server did not say whether it accepted the mail".to_owned(),
        }),
    };
    assert_eq!(result.notification, expected);
    let mut counts = once(&all);
    counts.insert("r2@example.com".to_owned(), 3);
    assert_eq!(shop.smtp.counts(), counts);
    let metrics = worker.metrics().await;
    let counted = "order_worker_mails_total{outcome=\"unconfirmed\"} 3";
    assert!(metrics.contains(counted), "{metrics}");
    worker.drain().await;
}

/// A worker that is killed while it waits for the answer leaves a record of the copy.
#[tokio::test]
async fn a_mail_without_an_answer_counts_although_the_worker_is_killed() {
    let silent = Behavior {
        silent_at: vec!["END".to_owned()],
        ..Behavior::default()
    };
    let shop = Shop::open_with("unconfirmed-kill", GatewayOptions::default(), silent).await;
    let worker = shop.worker().await;
    let order = shop
        .place(OrderInput::new("unconfirmed-kill-1", 100).with("recipients", json!(recipients(1))))
        .await;
    eventually("the mail is known to be unconfirmed", async || {
        let store = shop.store().await;
        let counts = store.mail_counts("unconfirmed-kill-1").await.unwrap();
        store.close().await;
        (counts.unconfirmed == 1).then_some(())
    })
    .await;
    drop(worker);
    shop.smtp.behave(take_and_close("r1@example.com"));
    let next = shop.worker().await;
    let result = shop.end_of(&order).await;
    assert_eq!(
        (result.notification.state, result.notification.unconfirmed),
        (NotificationState::Failed, 1)
    );
    // The first of the three went to the killed worker's server.
    assert_eq!(shop.smtp.mails().len(), 2);
    next.drain().await;
}

#[tokio::test]
async fn a_denied_relay_is_no_refusal_of_the_recipients() {
    let denied = Behavior {
        answers: BTreeMap::from([(
            "RCPT".to_owned(),
            "554 5.7.1 Relay access denied".to_owned(),
        )]),
        ..Behavior::default()
    };
    let shop = Shop::open_with("relay", GatewayOptions::default(), denied).await;
    let worker = shop.worker().await;
    let handle = shop
        .place(OrderInput::new("relay-1", 100).with("recipients", json!(recipients(100))))
        .await;
    let mailing = failed_mailing(&shop, "relay-1", 1).await;
    let (kind, words) = last_failure(&mailing);
    assert_eq!(kind, "MailUnavailable");
    assert!(
        words.contains("SMTP_URL does not let this worker"),
        "{words}"
    );
    assert_eq!(pause_of(&mailing), Duration::from_mins(15));
    let store = shop.store().await;
    assert_eq!(store.mail_counts("relay-1").await.unwrap().refused, 0);
    store.close().await;
    let metrics = worker.metrics().await;
    let counted = "order_worker_mails_total{outcome=\"not_allowed\"} 20\n";
    assert!(metrics.contains(counted), "{metrics}");
    handle
        .cancel(WorkflowCancelOptions::default())
        .await
        .unwrap();
    shop.end_of(&handle).await;
    worker.drain().await;
}

/// Two operations of the mailing take 8 s each: less than the limit of one, more than the heartbeat
/// timeout together.
#[tokio::test]
async fn a_slow_database_does_not_look_like_a_dead_worker() {
    const SLOW: &str = "8";
    let mut shop = Shop::open("slow-database").await;
    shop.database_url = postgres_database().await;
    let worker = shop.worker().await;
    let store = shop.store().await;
    let mut mailings = store.pool().begin().await.unwrap();
    let lock = sqlx::query("LOCK TABLE mailings IN ACCESS EXCLUSIVE MODE");
    lock.execute(&mut *mailings).await.unwrap();
    let other = shop.store().await;
    let mut mails = other.pool().begin().await.unwrap();
    let lock = sqlx::query("LOCK TABLE mails IN ACCESS EXCLUSIVE MODE");
    lock.execute(&mut *mails).await.unwrap();
    let order = shop
        .place(OrderInput::new("slow-1", 100).with("recipients", json!(recipients(1))))
        .await;
    let watch = shop.store().await;
    let waited = async |table: &str| {
        eventually(&format!("a statement waits for {table}"), async || {
            let waits = sqlx::query(
                "SELECT COUNT(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE NOT granted AND relation = CAST($1 AS regclass)
                 AND now() - query_start > CAST($2 AS int) * interval '1 second'",
            )
            .bind(table)
            .bind(SLOW);
            let row = waits.fetch_one(watch.pool()).await.unwrap();
            (row.get::<i64, _>(0) > 0).then_some(())
        })
        .await;
    };
    waited("mailings").await;
    mailings.rollback().await.unwrap();
    waited("mails").await;
    mails.rollback().await.unwrap();
    let result = shop.end_of(&order).await;
    assert_eq!(result.notification.state, NotificationState::Sent);
    let summary = summary(&events_of(&order).await);
    let second = summary.iter().find(|line| line.contains("attempt"));
    assert_eq!(second, None, "{summary:#?}");
    worker.drain().await;
}

#[tokio::test]
async fn a_mailing_that_is_paused_stops_and_goes_on() {
    const ALL: usize = 400;
    let slow = Behavior {
        delay: Duration::from_millis(50),
        ..Behavior::default()
    };
    let shop = Shop::open_with("paused", GatewayOptions::default(), slow).await;
    let worker = shop.worker().await;
    let order = shop
        .place(OrderInput::new("paused-1", 100).with("recipients", json!(recipients(ALL))))
        .await;
    eventually("mails are sent", async || {
        (shop.smtp.mails().len() >= 10).then_some(())
    })
    .await;
    let mailing = pending(&shop, "paused-1").await.unwrap();
    pause(&shop, "paused-1", &mailing.activity_id).await;
    let paused = eventually("the mailing is paused", async || {
        let pending = pending(&shop, "paused-1").await?;
        (pending.state() == PendingActivityState::Paused).then_some(pending)
    })
    .await;
    // Not by the heartbeat timeout.
    let words = "the activity was paused or reset during the mailing";
    assert_eq!(last_failure(&paused), ("MailUnavailable", words));
    let log = worker.log();
    assert!(!log.contains("Network error"), "{log}");
    shop.smtp.behave(Behavior::default());
    unpause(&shop, "paused-1", &mailing.activity_id).await;
    let result = shop.end_of(&order).await;
    assert_eq!(result.notification.state, NotificationState::Sent);
    assert_eq!(shop.smtp.counts(), once(&recipients(ALL)));
    worker.drain().await;
}
