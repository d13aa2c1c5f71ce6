//! Mails: the text that arrives, refusals, a mail server in trouble, resuming from heartbeats.
//! (`load` kills workers in the middle.)

use std::collections::BTreeMap;
use std::time::Duration;

use order_gateway::GatewayOptions;
use order_worker::domain::failure::Reason;
use order_worker::domain::order::{Notification, NotificationState, OrderInput, OrderState};
use serde_json::{Value, json};
use taskqueue_worker::testing::Authority;
use temporalio_client::WorkflowCancelOptions;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflow::v1::PendingActivityInfo;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, RespondActivityTaskFailedRequest,
};

use crate::pending::{failed_attempts, give_up, pending};
use crate::smtp::{Behavior, SmtpServer};
use crate::support::{DEADLINE, Shop, eventually};

pub(crate) fn recipients(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("r{n}@example.com")).collect()
}

pub(crate) fn once(recipients: &[String]) -> BTreeMap<String, u32> {
    recipients
        .iter()
        .map(|recipient| (recipient.clone(), 1))
        .collect()
}

/// Waits until this many attempts of the order's mailing have failed, and returns the pending
/// activity.
pub(crate) async fn failed_mailing(
    shop: &Shop,
    order_id: &str,
    attempts: i32,
) -> PendingActivityInfo {
    failed_attempts(shop, order_id, "send_notification", attempts).await
}

pub(crate) fn last_failure(pending: &PendingActivityInfo) -> (&str, &str) {
    let failure = pending.last_failure.as_ref().unwrap();
    let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info else {
        panic!("{failure:?}");
    };
    (&info.r#type, &failure.message)
}

/// The payloads of the heartbeat of the order's only pending activity.
async fn heartbeat(shop: &Shop, order_id: &str) -> Option<Vec<Value>> {
    let pending = pending(shop, order_id).await?;
    let payloads = pending.heartbeat_details?.payloads;
    let values = payloads
        .iter()
        .map(|payload| serde_json::from_slice(&payload.data));
    values.collect::<Result<_, _>>().ok()
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
            unconfirmed: 0,
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
async fn a_permanently_failed_mail_is_reported_and_never_cancels_a_paid_order() {
    let refuse = vec!["gone@example.com".to_owned()];
    let smtp = Behavior {
        refuse,
        ..Behavior::default()
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
            unconfirmed: 0,
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
            unconfirmed: 0,
            reason
        }
    );
    assert_eq!(shop.stored_state("all-1").await, "paid");
    worker.drain().await;
}

#[tokio::test]
async fn a_mail_server_that_accepts_no_mails_is_retried_until_it_does() {
    let busy = Behavior {
        answers: BTreeMap::from([("CONNECT".to_owned(), "554 busy".to_owned())]),
        ..Behavior::default()
    };
    let shop = Shop::open_with("away", GatewayOptions::default(), busy).await;
    let worker = shop.worker().await;
    let all = recipients(3);
    let handle = shop
        .place(OrderInput::new("away-1", 100).with("recipients", json!(all)))
        .await;
    let mailing = failed_mailing(&shop, "away-1", 2).await;
    assert_eq!(
        last_failure(&mailing),
        (
            "MailUnavailable",
            "the mail server of SMTP_URL answered 554 to the greeting"
        )
    );
    assert_eq!(mailing.maximum_attempts, 0);
    shop.smtp.behave(Behavior::default());
    let result = shop.end_of(&handle).await;
    let sent = Notification {
        state: NotificationState::Sent,
        sent: 3,
        ..Notification::default()
    };
    assert_eq!(result.notification, sent);
    assert_eq!(shop.smtp.counts(), once(&all));
    worker.drain().await;
}

#[tokio::test]
async fn a_recipient_who_is_put_off_delays_nobody_else() {
    let put_off = BTreeMap::from([("r3@example.com".to_owned(), 2)]);
    let smtp = Behavior {
        put_off,
        ..Behavior::default()
    };
    let shop = Shop::open_with("put-off", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let all = recipients(10);
    let handle = shop
        .place(OrderInput::new("put-off-1", 100).with("recipients", json!(all)))
        .await;
    let mailing = failed_mailing(&shop, "put-off-1", 1).await;
    assert_eq!(
        last_failure(&mailing),
        (
            "MailUnavailable",
            "1 of 10 mails are left: the mail server put it off with 450"
        )
    );
    // The next attempt begins with the recipient that this one skipped.
    let stood = vec![json!("Sending 10/10"), json!({"done": 2})];
    assert_eq!(heartbeat(&shop, "put-off-1").await, Some(stood));
    let result = shop.end_of(&handle).await;
    assert_eq!(result.notification.state, NotificationState::Sent);
    assert_eq!(shop.smtp.counts(), once(&all));
    // All the others come first.
    assert_eq!(shop.smtp.mails()[9].to, "r3@example.com");
    let metrics = worker.metrics().await;
    assert!(
        metrics.contains("order_worker_mails_total{outcome=\"put_off\"} 2"),
        "{metrics}"
    );
    worker.drain().await;
}

#[tokio::test]
async fn a_mailing_that_times_out_reports_what_was_sent() {
    let smtp = Behavior {
        refuse: vec!["r1@example.com".to_owned()],
        put_off: BTreeMap::from([("r3@example.com".to_owned(), u32::MAX)]),
        ..Behavior::default()
    };
    let shop = Shop::open_with("given-up", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let handle = shop
        .place(OrderInput::new("given-up-1", 100).with("recipients", json!(recipients(4))))
        .await;
    let mailing = failed_mailing(&shop, "given-up-1", 1).await;
    give_up(&shop, "given-up-1", &mailing).await;
    let result = shop.end_of(&handle).await;
    assert_eq!(result.state, OrderState::Completed);
    let notification = result.notification;
    assert_eq!(
        (notification.state, notification.sent, notification.refused),
        (NotificationState::Partial, 2, 1)
    );
    assert!(notification.reason.is_some());
    worker.drain().await;
}

#[tokio::test]
async fn a_recipient_that_breaks_the_mail_connection_delays_nobody_else() {
    let smtp = Behavior {
        break_at: BTreeMap::from([("r3@example.com".to_owned(), u32::MAX)]),
        ..Behavior::default()
    };
    let shop = Shop::open_with("broken-off", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let all = recipients(5);
    let handle = shop
        .place(OrderInput::new("broken-off-1", 100).with("recipients", json!(all)))
        .await;
    let mailing = failed_mailing(&shop, "broken-off-1", 1).await;
    assert_eq!(
        last_failure(&mailing),
        (
            "MailUnavailable",
            "1 of 5 mails are left: the mail server broke off"
        )
    );
    let mut others = once(&all);
    others.remove("r3@example.com");
    assert_eq!(shop.smtp.counts(), others);
    shop.smtp.behave(Behavior::default());
    let result = shop.end_of(&handle).await;
    assert_eq!(result.notification.sent, 5);
    assert_eq!(shop.smtp.counts(), once(&all));
    let metrics = worker.metrics().await;
    assert!(
        !metrics.contains("order_worker_mails_total{outcome=\"broken_off\"} 0\n"),
        "{metrics}"
    );
    worker.drain().await;
}

#[tokio::test]
async fn a_retry_resumes_at_the_last_heartbeat() {
    // The server breaks off at two mails in a row, so the attempt ends there.
    let smtp = Behavior {
        break_at: ["r3@example.com", "r4@example.com"]
            .map(|recipient| (recipient.to_owned(), 1))
            .into(),
        ..Behavior::default()
    };
    let shop = Shop::open_with("resume", GatewayOptions::default(), smtp).await;
    let worker = shop.worker().await;
    let all = recipients(5);
    let handle = shop
        .place(OrderInput::new("resume-1", 100).with("recipients", json!(all)))
        .await;
    let stood = vec![json!("Sending 4/5"), json!({"done": 2})];
    eventually("the heartbeat of the failed attempt", async || {
        (heartbeat(&shop, "resume-1").await.as_ref() == Some(&stood)).then_some(())
    })
    .await;
    let result = shop.end_of(&handle).await;
    assert_eq!(result.notification.sent, 5);
    assert_eq!(shop.smtp.counts(), once(&all));
    let log = worker.drain().await;
    assert!(log.contains("the mail server broke off"), "{log}");
    assert!(log.contains("going on with the mails"), "{log}");
    assert!(log.contains("\"resumed\":2"), "{log}");
}

/// During an upgrade, an attempt resumes from the progress of an earlier version: one payload, with
/// the text and the progress in the same object.
#[tokio::test]
async fn a_retry_resumes_at_the_progress_of_a_worker_of_an_earlier_version() {
    const QUEUE: &str = "upgrade-mails";
    let shop = Shop::open("upgrade").await;
    let worker = shop.worker().await;
    let input = OrderInput::new("upgrade-1", 100)
        .with("recipients", json!(recipients(5)))
        .with("task_queues", json!({"notifications": QUEUE}));
    let order = shop.place(input).await;
    let mut service = shop.client.connection().workflow_service();
    let poll = PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(TaskQueue {
            name: QUEUE.to_owned(),
            ..TaskQueue::default()
        }),
        identity: "earlier".to_owned(),
        ..PollActivityTaskQueueRequest::default()
    };
    let mut poll = poll.into_request();
    poll.set_timeout(DEADLINE);
    let task = service
        .poll_activity_task_queue(poll)
        .await
        .unwrap()
        .into_inner();
    let noted = Payload {
        metadata: [("encoding".to_owned(), b"json/plain".to_vec())].into(),
        data: br#"{"message":"Sending 4/5","done":3}"#.to_vec(),
        ..Payload::default()
    };
    let failed = RespondActivityTaskFailedRequest {
        task_token: task.task_token,
        namespace: "default".to_owned(),
        failure: Some(Failure {
            failure_info: Some(FailureInfo::ApplicationFailureInfo(
                ApplicationFailureInfo::default(),
            )),
            ..Failure::default()
        }),
        last_heartbeat_details: Some(Payloads {
            payloads: vec![noted],
        }),
        ..RespondActivityTaskFailedRequest::default()
    };
    let mut failed = failed.into_request();
    failed.set_timeout(DEADLINE);
    service.respond_activity_task_failed(failed).await.unwrap();
    let next = shop.worker_with(&[("TEMPORAL_TASK_QUEUE", QUEUE)]).await;
    shop.end_of(&order).await;
    // Earlier versions had no record in the database, so the worker must have used the heartbeat.
    assert_eq!(shop.smtp.counts(), once(&recipients(5)[3..]));
    next.says("going on with the mails").await;
    next.drain().await;
    worker.drain().await;
}

#[tokio::test]
async fn a_cancelled_mailing_stops_soon_and_reports_what_was_sent() {
    const ALL: usize = 2_000;
    // At most 20 mails in a second. A cancellation arrives with the next heartbeat that reaches the
    // server, after a second at most; by the SDK's default it would be 12 s and 240 mails.
    const SOON: usize = 100;
    let slow = Behavior {
        delay: Duration::from_millis(50),
        ..Behavior::default()
    };
    let shop = Shop::open_with("stopped", GatewayOptions::default(), slow).await;
    let worker = shop.worker().await;
    let handle = shop
        .place(OrderInput::new("stopped-1", 100).with("recipients", json!(recipients(ALL))))
        .await;
    eventually("mails are sent", async || {
        (shop.smtp.mails().len() >= 10).then_some(())
    })
    .await;
    handle
        .cancel(WorkflowCancelOptions::default())
        .await
        .unwrap();
    let before = shop.smtp.mails().len();
    let result = shop.end_of(&handle).await;
    let sent = shop.smtp.mails().len();
    assert!(
        (before..before + SOON).contains(&sent),
        "{sent} after {before}"
    );
    assert_eq!(result.state, OrderState::Completed);
    let expected = Notification {
        state: NotificationState::Cancelled,
        sent: sent as u64,
        refused: 0,
        unconfirmed: 0,
        reason: Some(Reason {
            kind: "CancelledByRequest".to_owned(),
            message: "the workflow was cancelled".to_owned(),
        }),
    };
    assert_eq!(result.notification, expected);
    assert_eq!(shop.smtp.counts(), once(&recipients(sent)));
    worker.drain().await;
}

#[tokio::test]
async fn mails_are_sent_over_tls_to_a_trusted_server() {
    let shop = Shop::open("smtps").await;
    let (trusted, unknown) = (Authority::new(), Authority::new());
    let ca = shop.dir.path().join("mail-ca.crt");
    std::fs::write(&ca, &trusted.ca).unwrap();
    let right = SmtpServer::start_tls(trusted.open_server_for("localhost")).await;
    let wrong = SmtpServer::start_tls(unknown.open_server_for("localhost")).await;
    let url = |server: &SmtpServer| format!("smtps://localhost:{}", server.address.port());
    let queue = "smtps-wrong";
    // Replaces the system's certificates for this worker.
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
    let sent = shop.run(order("smtps-1")).await;
    assert_eq!(sent.notification.state, NotificationState::Sent);
    assert_eq!(right.counts(), once(&["a@example.com".to_owned()]));
    // Nothing of a mail goes to a server whose certificate is not trusted.
    let handle = shop
        .place(order("smtps-2").with("task_queues", queues))
        .await;
    let mailing = failed_mailing(&shop, "smtps-2", 1).await;
    let (kind, words) = last_failure(&mailing);
    assert_eq!(kind, "MailUnavailable");
    assert!(words.contains("certificate"), "{words}");
    handle
        .cancel(WorkflowCancelOptions::default())
        .await
        .unwrap();
    let unsent = shop.end_of(&handle).await;
    assert_eq!(
        (unsent.state, unsent.notification.state),
        (OrderState::Completed, NotificationState::Cancelled)
    );
    assert_eq!(wrong.mails(), vec![]);
    worker.drain().await;
    suspicious.drain().await;
}
