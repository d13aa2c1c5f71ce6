//! `send_notification`: one mail per recipient, with progress in the heartbeats and a record of
//! each mail, so that a retry resumes where the last attempt stopped and mails nobody twice. If the
//! mail server puts one recipient off, or breaks off during its mail, the others are still mailed.
//! `count_mails`: counts the recorded mails of a mailing that did not finish.
//!
//! Only the attempt that Temporal started last sends mails. An attempt that is cut off from
//! Temporal but not from the mail server would continue in parallel. So each attempt takes the
//! mailing over in the database, and checks before every mail that it still owns it.
//!
//! SMTP makes one exception unavoidable: if a worker is killed or overtaken between the mail
//! server's answer and the record, that one mail is sent again, with the same Message-ID.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use temporalio_common::data_converters::MultiArgs2;
use temporalio_common::protos::temporal::api::common::v1::Payload;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use crate::domain::failure::{Failure, FailureType, Reason};
use crate::domain::metrics::Metrics;
use crate::domain::order::messages::{CountMails, MailProgress, MailReport, Mailing};
use crate::mail::{Mailer, Unsent, message_id};
use crate::store::Store;

/// Interval of heartbeats during a slow mail, well below the heartbeat timeout.
const BEAT_INTERVAL: Duration = Duration::from_secs(3);

/// The activities of the role `notifications`.
pub struct NotificationActivities {
    mailer: Mailer,
    store: Store,
    metrics: Metrics,
}

impl NotificationActivities {
    /// Creates the activities for this mail server and database.
    pub fn new(mailer: Mailer, store: Store, metrics: Metrics) -> Self {
        Self {
            mailer,
            store,
            metrics,
        }
    }
}

#[activities]
impl NotificationActivities {
    /// Mails every recipient. If the mail server refuses a recipient permanently, the recipient is
    /// counted and the others are mailed. If it puts a recipient off, or breaks off during a mail,
    /// the attempt fails after the others are mailed. If it takes no mails, or breaks off during
    /// two mails in a row, the attempt fails immediately.
    #[activity(name = "send_notification")]
    pub async fn send_notification(
        self: Arc<Self>,
        ctx: ActivityContext,
        mailing: Sent<Mailing>,
    ) -> Result<MailReport, ActivityError> {
        let mailing = mailing.read(&ctx)?;
        let resumed = done_before(ctx.heartbeat_details().raw());
        if resumed > 0 {
            tracing::info!(order_id = %mailing.order_id, resumed, "going on with the mails");
        }
        // Takes the mailing over before it reads the record: after that, the previous owner adds at
        // most the mail that it is sending.
        let taken = self
            .store
            .take_mailing(&mailing.order_id, started_at(&ctx))
            .await;
        unless_overtaken(&mailing, taken)?;
        let done = self
            .store
            .mails_done(&mailing.order_id)
            .await
            .map_err(Failure::into_activity)?;
        self.send_rest(&ctx, &mailing, resumed, &done).await?;
        self.report(&mailing.order_id).await
    }

    /// Counts an order's mails by outcome, and stops an attempt that still sends them without
    /// Temporal's knowledge.
    #[activity(name = "count_mails")]
    pub async fn count_mails(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: Sent<CountMails>,
    ) -> Result<MailReport, ActivityError> {
        let input = input.read(&ctx)?;
        self.store
            .take_mailing(&input.order_id, started_at(&ctx))
            .await
            .map_err(Failure::into_activity)?;
        self.report(&input.order_id).await
    }
}

impl NotificationActivities {
    async fn send_rest(
        &self,
        ctx: &ActivityContext,
        mailing: &Mailing,
        resumed: usize,
        done: &BTreeSet<String>,
    ) -> Result<(), ActivityError> {
        let all = mailing.recipients.len();
        let mut left = Left::default();
        for (index, recipient) in mailing.recipients.iter().enumerate().skip(resumed) {
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            let progress = Beat {
                message: format!("Sending {}/{all}", index + 1),
                done: left.first.unwrap_or(index),
            };
            progress.record(ctx).await?;
            if done.contains(recipient) {
                continue;
            }
            let had = self
                .store
                .has_mailing(&mailing.order_id, started_at(ctx))
                .await;
            unless_overtaken(mailing, had)?;
            let sent = self.send_one(ctx, mailing, recipient, &progress).await?;
            left.note(index, sent)
                .map_err(|words| unavailable(mailing, words))?;
        }
        match left.words {
            None => Ok(()),
            Some(words) => {
                let words = format!("{} of {all} mails are left: {words}", left.count);
                Err(unavailable(mailing, words))
            }
        }
    }

    /// Sends one mail and records it. Sends heartbeats while the mail server is slow.
    async fn send_one(
        &self,
        ctx: &ActivityContext,
        mailing: &Mailing,
        recipient: &str,
        progress: &Beat,
    ) -> Result<Result<(), Unsent>, ActivityError> {
        let id = message_id(&mailing.order_id, recipient);
        let sending = self
            .mailer
            .send(&id, recipient, &mailing.subject, &mailing.body);
        tokio::pin!(sending);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(BEAT_INTERVAL) => {
                    progress.record(ctx).await?;
                }
            }
        };
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(Unsent::Refused(_)) => "refused",
            Err(Unsent::PutOff(_)) => "put_off",
            Err(Unsent::BrokenOff(_)) => "broken_off",
            Err(Unsent::Unavailable(_)) => "unavailable",
        };
        self.metrics.mails.with_label_values(&[outcome]).inc();
        let refusal = match &sent {
            Ok(()) => None,
            Err(Unsent::Refused(words)) => Some(words.as_str()),
            Err(_) => return Ok(sent),
        };
        self.store
            .record_mail(&mailing.order_id, recipient, &id, refusal)
            .await
            .map_err(Failure::into_activity)?;
        Ok(Ok(()))
    }

    async fn report(&self, order_id: &str) -> Result<MailReport, ActivityError> {
        let counts = self
            .store
            .mail_counts(order_id)
            .await
            .map_err(Failure::into_activity)?;
        let reason = counts.last_refusal.map(|message| Reason {
            kind: FailureType::MailRefused.name().to_owned(),
            message,
        });
        Ok(MailReport {
            sent: counts.sent,
            refused: counts.refused,
            reason,
        })
    }
}

/// A heartbeat: a text for people, and how many recipients, counted from the first, need no further
/// work.
struct Beat {
    message: String,
    done: usize,
}

impl Beat {
    /// Sends two payloads, so that the first is the text alone.
    async fn record(&self, ctx: &ActivityContext) -> Result<(), ActivityError> {
        let progress = MailProgress { done: self.done };
        let details = MultiArgs2(self.message.clone(), progress);
        ctx.record_heartbeat(details).await?;
        Ok(())
    }
}

/// The progress of the last attempt: the last heartbeat payload that holds it. Earlier versions
/// sent one payload, with the text in the same object.
fn done_before(details: &[Payload]) -> usize {
    let progress = |payload: &Payload| serde_json::from_slice::<MailProgress>(&payload.data).ok();
    details
        .iter()
        .rev()
        .find_map(progress)
        .map_or(0, |progress| progress.done)
}

/// The mails of an attempt that must be retried.
#[derive(Debug, Default)]
struct Left {
    count: usize,
    /// Index of the first of them, where the next attempt begins.
    first: Option<usize>,
    /// What the mail server said about the last of them.
    words: Option<String>,
    /// Whether the mail server broke off during the previous mail.
    broke_off: bool,
}

impl Left {
    /// Notes the outcome of a mail; `index` is its place among the recipients. An error says why
    /// the attempt must stop: a mail during which the server breaks off may have been sent, and
    /// will be sent again.
    fn note(&mut self, index: usize, sent: Result<(), Unsent>) -> Result<(), String> {
        let broke_off_before = std::mem::take(&mut self.broke_off);
        let words = match sent {
            Ok(()) | Err(Unsent::Refused(_)) => return Ok(()),
            Err(Unsent::PutOff(words)) => words,
            Err(Unsent::BrokenOff(words)) if broke_off_before => return Err(words),
            Err(Unsent::BrokenOff(words)) => {
                self.broke_off = true;
                words
            }
            Err(Unsent::Unavailable(words)) => return Err(words),
        };
        self.count += 1;
        self.first.get_or_insert(index);
        self.words = Some(words);
        Ok(())
    }
}

/// Fails the attempt; the next one may succeed.
fn unavailable(mailing: &Mailing, words: impl Into<String>) -> ActivityError {
    let words = words.into();
    tracing::warn!(order_id = %mailing.order_id, "mails not sent: {words}");
    Failure::new(FailureType::MailUnavailable, words).into_activity()
}

/// When Temporal started this attempt, in nanoseconds since 1970.
fn started_at(ctx: &ActivityContext) -> i64 {
    let started = ctx.info().started_time.unwrap_or_else(SystemTime::now);
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Fails the attempt if a later one has taken its mailing over. Retryable: if this attempt was the
/// latest after all, its retry has a later start time.
fn unless_overtaken(mailing: &Mailing, had: Result<bool, Failure>) -> Result<(), ActivityError> {
    if had.map_err(Failure::into_activity)? {
        return Ok(());
    }
    Err(unavailable(mailing, "a later attempt sends these mails"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Unsent>;

    fn put_off() -> Outcome {
        Err(Unsent::PutOff("put off".to_owned()))
    }

    fn broken_off() -> Outcome {
        Err(Unsent::BrokenOff("broke off".to_owned()))
    }

    fn unavailable() -> Outcome {
        Err(Unsent::Unavailable("away".to_owned()))
    }

    #[test]
    fn an_attempt_goes_on_from_the_heartbeat_of_this_version_or_an_earlier_one() {
        let details = |payloads: &[&str]| -> Vec<Payload> {
            let payload = |text: &&str| Payload {
                data: text.as_bytes().to_vec(),
                ..Payload::default()
            };
            payloads.iter().map(payload).collect()
        };
        for (payloads, done) in [
            (&[][..], 0),
            (&[r#""Sending 4/5""#, r#"{"done":2}"#], 2),
            (&[r#"{"message":"Sending 4/5","done":3}"#], 3),
            // From another program, or invalid.
            (&[r#""Sending 4/5""#], 0),
            (&["\u{1}", r#"{"done":-1}"#], 0),
        ] {
            assert_eq!(done_before(&details(payloads)), done, "{payloads:?}");
        }
    }

    #[test]
    fn an_attempt_ends_when_the_mail_server_is_to_blame_and_not_a_recipient() {
        let refused = || Err(Unsent::Refused("refused".to_owned()));
        // The outcomes of the mails, after how many of them the attempt ends, and how many are left
        // by then.
        for (sent, ends_after, left) in [
            (vec![Ok(()), refused(), Ok(())], None, 0),
            (vec![put_off(), put_off(), put_off()], None, 3),
            (vec![broken_off(), Ok(()), broken_off(), Ok(())], None, 2),
            (vec![broken_off(), put_off(), broken_off()], None, 3),
            (vec![broken_off(), refused(), broken_off()], None, 2),
            (vec![Ok(()), broken_off(), broken_off()], Some(3), 1),
            (vec![put_off(), unavailable()], Some(2), 1),
            (vec![broken_off(), unavailable()], Some(2), 1),
        ] {
            let shown = format!("{sent:?}");
            let first = sent
                .iter()
                .position(|sent| !matches!(sent, Ok(()) | Err(Unsent::Refused(_))));
            let mut noted = Left::default();
            let ended = sent
                .into_iter()
                .enumerate()
                .position(|(index, sent)| noted.note(index, sent).is_err());
            assert_eq!(ended.map(|index| index + 1), ends_after, "{shown}");
            assert_eq!((noted.count, noted.first), (left, first), "{shown}");
            assert_eq!(noted.words.is_some(), left > 0, "{shown}");
        }
    }
}
