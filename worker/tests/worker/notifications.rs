//! Mails: the text that arrives, refusals, a mail server in trouble, resuming from heartbeats.
//! (`load` kills workers in the middle.)

use std::collections::BTreeMap;

use order_worker::gateway::GatewayOptions;
use order_worker::order::{Notification, NotificationState, OrderInput, OrderState, Reason};
use order_worker::workflow::OrderWorkflow;
use serde_json::json;
use temporalio_client::WorkflowDescribeOptions;

use crate::authority::Authority;
use crate::smtp::{Behaviour, SmtpServer};
use crate::support::{Shop, eventually};

fn recipients(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("r{n}@example.com")).collect()
}

fn once(recipients: &[String]) -> BTreeMap<String, u32> {
    recipients
        .iter()
        .map(|recipient| (recipient.clone(), 1))
        .collect()
}

/// The heartbeat of the order's only pending activity, as the server knows it.
async fn heartbeat(shop: &Shop, order_id: &str) -> Option<serde_json::Value> {
    let handle = shop
        .client
        .get_workflow_handle::<OrderWorkflow>(format!("order-{order_id}"));
    let described = handle
        .describe(WorkflowDescribeOptions::default())
        .await
        .unwrap();
    let pending = described.raw().pending_activities.first()?;
    let payload = pending.heartbeat_details.as_ref()?.payloads.first()?;
    serde_json::from_slice(&payload.data).ok()
}

#[tokio::test]
async fn each_recipient_gets_the_mail() {
    let shop = Shop::open("mails").await;
    let worker = shop.worker().await;
    let result = shop
        .run(
            OrderInput::new("mails-1", 12345)
                .with("recipients", json!(["a@example.com", "b@example.com"]))
                .with("subject", "Grüße")
                .with("body", "Paid.\n.\nYours\n"),
        )
        .await;
    assert_eq!(
        result.notification,
        Notification {
            state: NotificationState::Sent,
            sent: 2,
            refused: 0,
            reason: None
        }
    );
    let mails = shop.smtp.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].to, "a@example.com");
    assert_eq!(mails[1].to, "b@example.com");
    assert_eq!(mails[0].subject, "=?utf-8?b?R3LDvMOfZQ==?=");
    assert_eq!(mails[0].body, "Paid.\n.\nYours");
    assert_ne!(mails[0].message_id, mails[1].message_id);
    worker.drain().await;
}

#[tokio::test]
async fn a_mail_that_fails_for_good_is_reported_and_never_cancels_a_paid_order() {
    let refuse = vec!["gone@example.com".to_owned()];
    let smtp = Behaviour {
        refuse,
        ..Behaviour::default()
    };
    let shop = Shop::open_with("refused", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let order = |id: &str, to: &[&str]| {
        OrderInput::new(id, 100)
            .with("recipients", json!(to))
            .with("body", "text")
    };
    let (some, all) = tokio::join!(
        shop.run(order(
            "some-1",
            &["here@example.com", "gone@example.com", "there@example.com"]
        )),
        shop.run(order("all-1", &["gone@example.com"])),
    );
    let reason = Some(Reason {
        kind: "MailRefused".to_owned(),
        message: "the mail server refused the mail with 550".to_owned(),
    });
    assert_eq!(some.state, OrderState::Completed);
    assert_eq!(
        some.notification,
        Notification {
            state: NotificationState::Partial,
            sent: 2,
            refused: 1,
            reason: reason.clone()
        }
    );
    assert_eq!(all.state, OrderState::Completed);
    assert_eq!(
        all.notification,
        Notification {
            state: NotificationState::Failed,
            sent: 0,
            refused: 1,
            reason
        }
    );
    assert_eq!(shop.stored_state("all-1").await, "paid");
    worker.drain().await;
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_tried_five_times_and_reported() {
    let shop = Shop::open("away").await;
    // Nothing listens here.
    let url = format!("smtp://127.0.0.1:{}", crate::servers::free_port());
    let worker = shop.worker_with(&[("SMTP_URL", &url)]).await;
    let result = shop
        .run(OrderInput::new("away-1", 100).with("recipients", json!(["a@example.com"])))
        .await;
    assert_eq!(result.state, OrderState::Completed);
    assert_eq!(
        result.notification,
        Notification {
            state: NotificationState::Failed,
            reason: Some(Reason {
                kind: "MailUnavailable".to_owned(),
                message: "the mail server of SMTP_URL cannot be reached: Connection refused (os error 111)".to_owned(),
            }),
            ..Notification::default()
        }
    );
    let metrics = worker.metrics().await;
    assert!(
        metrics.contains("order_worker_mails_total{outcome=\"unavailable\"} 5"),
        "{metrics}"
    );
    worker.drain().await;
}

#[tokio::test]
async fn a_retry_goes_on_where_the_last_heartbeat_stood() {
    let break_at = BTreeMap::from([("r3@example.com".to_owned(), 1)]);
    let smtp = Behaviour {
        break_at,
        ..Behaviour::default()
    };
    let shop = Shop::open_with("resume", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let all = recipients(5);
    let handle = shop
        .place(OrderInput::new("resume-1", 100).with("recipients", json!(all)))
        .await;
    let stood = json!({"message": "Sending 3/5", "done": 2});
    eventually("the heartbeat of the failed attempt", async || {
        (heartbeat(&shop, "resume-1").await.as_ref() == Some(&stood)).then_some(())
    })
    .await;
    let result = shop.end_of(&handle).await;
    assert_eq!(result.notification.sent, 5);
    assert_eq!(shop.smtp.counts(), once(&all));
    let log = worker.drain().await;
    assert!(log.contains("going on with the mails"), "{log}");
    assert!(log.contains("\"resumed\":2"), "{log}");
}

#[tokio::test]
async fn mails_go_over_tls_to_a_server_that_is_trusted() {
    let shop = Shop::open("smtps").await;
    let (trusted, unknown) = (Authority::new(), Authority::new());
    let ca = shop.dir.path().join("mail-ca.crt");
    std::fs::write(&ca, &trusted.ca).unwrap();
    let right = SmtpServer::start_tls(trusted.open_server_for("localhost")).await;
    let wrong = SmtpServer::start_tls(unknown.open_server_for("localhost")).await;
    let url = |server: &SmtpServer| format!("smtps://localhost:{}", server.address.port());
    let queue = "smtps-wrong";
    // The system's certificates, as far as the worker is concerned.
    let ca = ca.to_str().unwrap();
    let worker = shop
        .worker_with(&[("SMTP_URL", url(&right).as_str()), ("SSL_CERT_FILE", ca)])
        .await;
    let suspicious = shop
        .worker_with(&[
            ("ORDER_WORKER_ROLE", "notifications"),
            ("TEMPORAL_TASK_QUEUE", queue),
            ("SMTP_URL", url(&wrong).as_str()),
            ("SSL_CERT_FILE", ca),
        ])
        .await;
    let order = |id: &str| OrderInput::new(id, 100).with("recipients", json!(["a@example.com"]));
    let queues = json!({ "notifications": queue });
    let (sent, refused) = tokio::join!(
        shop.run(order("smtps-1")),
        shop.run(order("smtps-2").with("task_queues", queues))
    );
    assert_eq!(sent.notification.state, NotificationState::Sent);
    assert_eq!(right.counts(), once(&["a@example.com".to_owned()]));
    // Paid all the same; not one byte of the mail went to a server that nobody vouches for.
    assert_eq!(
        (refused.state, refused.notification.state),
        (OrderState::Completed, NotificationState::Failed)
    );
    assert_eq!(
        refused.notification.reason.map(|reason| reason.kind),
        Some("MailUnavailable".to_owned())
    );
    assert_eq!(wrong.mails(), vec![]);
    worker.drain().await;
    suspicious.drain().await;
}
