//! `send_notification`: one mail per recipient, with progress in the heartbeats and a record of
//! each mail, so that a retry resumes where the last attempt stopped and mails nobody twice. If the
//! mail server puts one recipient off, or breaks off during its mail, the others are still mailed.
//! `count_mails`: counts the recorded mails of a mailing that did not finish.
//!
//! Only the attempt that Temporal started last sends mails. An attempt that is cut off from
//! Temporal but not from the mail server would continue in parallel. So each attempt takes the
//! mailing over in the database, and checks before every mail that it still owns it.
//!
//! SMTP makes one exception unavoidable: if no answer comes after the mail server got the whole
//! mail, or a worker is killed or overtaken before it records the answer, the mail may have been
//! sent. It is sent again with the same Message-ID, three times in all. The record of it is made
//! while the worker waits for the answer, so that killed workers count.

#![allow(
    missing_docs,
    reason = "the macro makes undocumented constants of the activities"
)]

mod beat;
mod remaining;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use super::Sent;
use crate::domain::failure::{Failure, FailureType, Reason};
use crate::domain::metrics::Metrics;
use crate::domain::order::messages::{CountMails, MailReport, Mailing};
use crate::mail::{Mailer, Unsent, message_id};
use crate::store::{MOST_COPIES, Store};
use beat::{BEAT_INTERVAL, Beat, done_before};
use remaining::Remaining;

/// How long a cancelled attempt waits for the answer to a mail that the server has.
const LAST_ANSWER: Duration = Duration::from_secs(30);

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
    /// the attempt fails after the others are mailed. If it takes no mails, breaks off during two
    /// mails in a row, or allows none of many, the attempt fails immediately.
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
        // A slow database must not look like a dead worker.
        let beat = Beat::before(resumed, mailing.recipients.len(), resumed);
        beat.record(&ctx).await?;
        // Takes the mailing over before it reads the record: after that, the previous owner adds at
        // most the mail that it is sending.
        let take = self.store.take_mailing(&mailing.order_id, started_at(&ctx));
        unless_overtaken(&mailing, beat.during(&ctx, take).await?)?;
        let done = self.store.mails_done(&mailing.order_id);
        let done = beat
            .during(&ctx, done)
            .await?
            .map_err(Failure::into_activity)?;
        self.send_rest(&ctx, &mailing, resumed, &done).await?;
        let all = mailing.recipients.len();
        let beat = Beat::before(all, all, all);
        beat.during(&ctx, self.report(&mailing.order_id)).await?
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
        let mut remaining = Remaining::default();
        for (index, recipient) in mailing.recipients.iter().enumerate().skip(resumed) {
            let beat = Beat::before(index, all, remaining.done(index));
            if ctx.is_cancelled() {
                return Err(stopped(ctx, mailing, &beat).await);
            }
            beat.record(ctx).await?;
            if done.contains(recipient) {
                continue;
            }
            let had = self.store.has_mailing(&mailing.order_id, started_at(ctx));
            unless_overtaken(mailing, beat.during(ctx, had).await?)?;
            let sent = self.send_one(ctx, mailing, recipient, &beat).await?;
            remaining
                .note(index, sent)
                .map_err(|failure| unsent(mailing, failure))?;
        }
        remaining
            .end(all)
            .map_err(|failure| unsent(mailing, failure))
    }

    /// Sends one mail and records it. Sends heartbeats while the mail server is slow.
    async fn send_one(
        &self,
        ctx: &ActivityContext,
        mailing: &Mailing,
        recipient: &str,
        beat: &Beat,
    ) -> Result<Result<(), Unsent>, ActivityError> {
        let id = message_id(&mailing.order_id, recipient);
        let handed_over = AtomicBool::new(false);
        let mut sending = std::pin::pin!(self.mailer.send(
            &id,
            recipient,
            &mailing.subject,
            &mailing.body,
            &handed_over
        ));
        let order_id = mailing.order_id.as_str();
        let mut unconfirmed = None;
        let mut cancelled: Option<tokio::time::Instant> = None;
        let sent = loop {
            if let Ok(sent) = tokio::time::timeout(BEAT_INTERVAL, &mut sending).await {
                break sent;
            }
            beat.record(ctx).await?;
            let handed_over = handed_over.load(Ordering::Relaxed);
            if handed_over && unconfirmed.is_none() {
                let times = self.store.mail_unconfirmed(order_id, recipient);
                match beat.during(ctx, times).await? {
                    Ok(times) => unconfirmed = Some(times),
                    // To stop here would make a copy for certain.
                    Err(failure) => {
                        tracing::warn!(%order_id, "a slow mail cannot be recorded: {failure}");
                    }
                }
            }
            if ctx.is_cancelled() {
                let since = cancelled.get_or_insert_with(tokio::time::Instant::now);
                if !handed_over || since.elapsed() > LAST_ANSWER {
                    return Err(stopped(ctx, mailing, beat).await);
                }
            }
        };
        let outcome = sent.as_ref().err().map_or("sent", Unsent::outcome);
        self.metrics.mails.with_label_values(&[outcome]).inc();
        let refusal = match &sent {
            Ok(()) => None,
            Err(Unsent::Refused(words)) => Some(words.as_str()),
            Err(Unsent::Unconfirmed(_)) => {
                let times = if let Some(times) = unconfirmed {
                    times
                } else {
                    let times = self.store.mail_unconfirmed(order_id, recipient);
                    let times = beat.during(ctx, times).await?;
                    times.map_err(Failure::into_activity)?
                };
                // Another copy would do more harm than no mail.
                return Ok(if times < MOST_COPIES { sent } else { Ok(()) });
            }
            Err(_) => {
                // The server has answered that it did not take the mail.
                if unconfirmed.is_some() {
                    let undone = self.store.mail_not_taken(order_id, recipient);
                    let undone = beat.during(ctx, undone).await?;
                    undone.map_err(Failure::into_activity)?;
                }
                return Ok(sent);
            }
        };
        let record = self.store.record_mail(order_id, recipient, &id, refusal);
        let recorded = beat.during(ctx, record).await?;
        recorded.map_err(Failure::into_activity)?;
        Ok(Ok(()))
    }

    async fn report(&self, order_id: &str) -> Result<MailReport, ActivityError> {
        let counts = self
            .store
            .mail_counts(order_id)
            .await
            .map_err(Failure::into_activity)?;
        let refused = counts.last_refusal.map(|message| Reason {
            kind: FailureType::MailRefused.name().to_owned(),
            message,
        });
        let unconfirmed = || Reason {
            kind: FailureType::MailUnconfirmed.name().to_owned(),
            message: "the mail server did not say whether it accepted the mail".to_owned(),
        };
        Ok(MailReport {
            sent: counts.sent,
            refused: counts.refused,
            unconfirmed: counts.unconfirmed,
            reason: refused.or_else(|| (counts.unconfirmed > 0).then(unconfirmed)),
        })
    }
}

/// Fails the attempt; the next one may succeed.
fn unsent(mailing: &Mailing, failure: Failure) -> ActivityError {
    tracing::warn!(order_id = %mailing.order_id, "mails not sent: {failure}");
    failure.into_activity()
}

/// Ends an attempt that Temporal asked to stop. If the activity is paused or begins again, it is
/// not cancelled, and a later attempt sends the other mails.
async fn stopped(ctx: &ActivityContext, mailing: &Mailing, beat: &Beat) -> ActivityError {
    if !beat.is_paused_or_reset(ctx).await {
        return ActivityError::cancelled();
    }
    let words = "the activity was paused or reset during the mailing";
    unsent(mailing, Failure::new(FailureType::MailUnavailable, words))
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
    let words = "a later attempt sends these mails";
    Err(unsent(
        mailing,
        Failure::new(FailureType::MailUnavailable, words),
    ))
}
