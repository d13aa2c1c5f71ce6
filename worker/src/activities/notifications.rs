//! `send_notification`: one mail per recipient, heartbeats that carry the progress, and a record
//! per mail, so that a retry goes on where the last attempt stood and mails nobody twice. One
//! recipient that the mail server puts off holds up nobody else. `count_mails`: what the record
//! says of a mailing that did not come to its end.
//!
//! Only the attempt that Temporal started last mails. One that is cut off from Temporal but not
//! from the mail server would go on beside it; so each takes the mailing over in the database, and
//! looks before every mail whether it still has it.
//!
//! The one exception SMTP allows no way around: a worker killed or overtaken between the mail
//! server's answer and the record has that one mail sent again, with the same Message-ID.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::{CountMails, MailProgress, MailReport, Mailing};
use crate::failure::{Failure, FailureType};
use crate::mail::{Mailer, Unsent, message_id};
use crate::metrics::Metrics;
use crate::order::Reason;
use crate::store::Store;

/// How often a mail that takes long beats, well within the heartbeat timeout.
const BEAT_INTERVAL: Duration = Duration::from_secs(3);

/// The activities of the role `notifications`.
pub struct NotificationActivities {
    mailer: Mailer,
    store: Store,
    metrics: Metrics,
}

impl NotificationActivities {
    /// Activities on this mail server and database.
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
    /// Mails every recipient. A recipient that the mail server refuses for good is counted and
    /// the others are mailed; one that it puts off fails the attempt when the others are mailed; a
    /// mail server that takes no mails fails it at once.
    #[activity(name = "send_notification")]
    pub async fn send_notification(
        self: Arc<Self>,
        ctx: ActivityContext,
        mailing: Mailing,
    ) -> Result<MailReport, ActivityError> {
        let resumed = ctx
            .heartbeat_details()
            .deserialize::<MailProgress>()
            .ok()
            .flatten()
            .map_or(0, |progress| progress.done);
        if resumed > 0 {
            tracing::info!(order_id = %mailing.order_id, resumed, "going on with the mails");
        }
        // Before the record is read: who had it until now adds at most the mail in flight.
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

    /// Counts what became of an order's mails, and ends whatever attempt still sends them unknown
    /// to Temporal.
    #[activity(name = "count_mails")]
    pub async fn count_mails(
        self: Arc<Self>,
        ctx: ActivityContext,
        input: CountMails,
    ) -> Result<MailReport, ActivityError> {
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
        let mut put_off = Vec::new();
        for (index, recipient) in mailing.recipients.iter().enumerate().skip(resumed) {
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
            let progress = MailProgress {
                message: format!("Sending {}/{all}", index + 1),
                done: put_off.first().copied().unwrap_or(index),
            };
            ctx.record_heartbeat(progress.clone()).await?;
            if done.contains(recipient) {
                continue;
            }
            let had = self
                .store
                .has_mailing(&mailing.order_id, started_at(ctx))
                .await;
            unless_overtaken(mailing, had)?;
            if !self.send_one(ctx, mailing, recipient, &progress).await? {
                put_off.push(index);
            }
        }
        if put_off.is_empty() {
            return Ok(());
        }
        let message = format!("the mail server put off {} of {all} mails", put_off.len());
        tracing::warn!(order_id = %mailing.order_id, "{message}");
        Err(Failure::new(FailureType::MailUnavailable, message).into_activity())
    }

    /// One mail and its record; false if the mail server put it off. Beats while the mail server
    /// is slow.
    async fn send_one(
        &self,
        ctx: &ActivityContext,
        mailing: &Mailing,
        recipient: &str,
        progress: &MailProgress,
    ) -> Result<bool, ActivityError> {
        let id = message_id(&mailing.order_id, recipient);
        let sending = self
            .mailer
            .send(&id, recipient, &mailing.subject, &mailing.body);
        tokio::pin!(sending);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                () = tokio::time::sleep(BEAT_INTERVAL) => {
                    ctx.record_heartbeat(progress.clone()).await?;
                }
            }
        };
        let outcome = match &sent {
            Ok(()) => "sent",
            Err(Unsent::Refused(_)) => "refused",
            Err(Unsent::PutOff(_)) => "put_off",
            Err(Unsent::Unavailable(_)) => "unavailable",
        };
        self.metrics.mails.with_label_values(&[outcome]).inc();
        let refusal = match sent {
            Ok(()) => None,
            Err(Unsent::Refused(words)) => Some(words),
            Err(Unsent::PutOff(words)) => {
                tracing::debug!(order_id = %mailing.order_id, "mail not sent: {words}");
                return Ok(false);
            }
            Err(Unsent::Unavailable(words)) => {
                tracing::warn!(order_id = %mailing.order_id, "mail not sent: {words}");
                return Err(Failure::new(FailureType::MailUnavailable, words).into_activity());
            }
        };
        self.store
            .record_mail(&mailing.order_id, recipient, &id, refusal.as_deref())
            .await
            .map_err(Failure::into_activity)?;
        Ok(true)
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

/// When Temporal started this attempt, in nanoseconds since 1970.
fn started_at(ctx: &ActivityContext) -> i64 {
    let started = ctx.info().started_time.unwrap_or_else(SystemTime::now);
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Fails the attempt if it has lost its mailing to a later one. Retryable: should it be the last
/// one after all, the next has a later time.
fn unless_overtaken(mailing: &Mailing, had: Result<bool, Failure>) -> Result<(), ActivityError> {
    if had.map_err(Failure::into_activity)? {
        return Ok(());
    }
    let message = "a later attempt sends these mails";
    tracing::warn!(order_id = %mailing.order_id, "{message}");
    Err(Failure::new(FailureType::MailUnavailable, message).into_activity())
}
