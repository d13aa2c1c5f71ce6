//! The record of the mails: one row for each mail that needs no further work, one row for each mail
//! that was handed over without an answer, and one row for each order that names the attempt which
//! sends the rest.

use std::collections::BTreeSet;

use sqlx::Row;

use super::pool::{Store, now};
use crate::domain::failure::Failure;

/// How many times one mail may be handed over without an answer. Each time may be a copy.
pub const MOST_COPIES: i64 = 3;

/// Counts of an order's mails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Mails sent.
    pub sent: u64,
    /// Mails refused permanently.
    pub refused: u64,
    /// Mails that were handed over, without an answer.
    pub unconfirmed: u64,
    /// The mail server's message for one of the refusals.
    pub last_refusal: Option<String>,
}

impl Store {
    /// Hands the mails of an order over to the attempt that Temporal started at this time
    /// (nanoseconds since 1970). From then on, no earlier attempt owns them. False if a later
    /// attempt owns them already.
    pub async fn take_mailing(&self, order_id: &str, started_at: i64) -> Result<bool, Failure> {
        self.in_time(async {
            let taken = sqlx::query(
                "INSERT INTO mailings (order_id, started_at) VALUES ($1, $2)
                 ON CONFLICT (order_id) DO UPDATE SET started_at = excluded.started_at
                 WHERE mailings.started_at <= excluded.started_at",
            )
            .bind(order_id)
            .bind(started_at)
            .execute(&self.pool)
            .await?
            .rows_affected();
            Ok(taken > 0)
        })
        .await
    }

    /// Whether the attempt that Temporal started at this time still owns the mails of an order.
    pub async fn has_mailing(&self, order_id: &str, started_at: i64) -> Result<bool, Failure> {
        self.in_time(async {
            let row = sqlx::query("SELECT 1 FROM mailings WHERE order_id = $1 AND started_at = $2")
                .bind(order_id)
                .bind(started_at)
                .fetch_optional(&self.pool)
                .await?;
            Ok(row.is_some())
        })
        .await
    }

    /// The recipients of an order that need no further work: mailed, refused, or tried too often
    /// without an answer.
    pub async fn mails_done(&self, order_id: &str) -> Result<BTreeSet<String>, Failure> {
        self.in_time(async {
            let rows = sqlx::query(
                "SELECT recipient FROM mails WHERE order_id = $1
                 UNION
                 SELECT recipient FROM unconfirmed_mails WHERE order_id = $1 AND times >= $2",
            )
            .bind(order_id)
            .bind(MOST_COPIES)
            .fetch_all(&self.pool)
            .await?;
            rows.into_iter().map(|row| Ok(row.try_get(0)?)).collect()
        })
        .await
    }

    /// Records that the mail server has a mail but has not answered. Returns how many times that
    /// happened to this mail.
    pub async fn mail_unconfirmed(&self, order_id: &str, recipient: &str) -> Result<i64, Failure> {
        self.in_time(async {
            let row = sqlx::query(
                "INSERT INTO unconfirmed_mails (order_id, recipient, times, updated_at)
                 VALUES ($1, $2, 1, $3)
                 ON CONFLICT (order_id, recipient) DO UPDATE
                 SET times = unconfirmed_mails.times + 1, updated_at = excluded.updated_at
                 RETURNING times",
            )
            .bind(order_id)
            .bind(recipient)
            .bind(now())
            .fetch_one(&self.pool)
            .await?;
            Ok(row.try_get(0)?)
        })
        .await
    }

    /// Takes back the last [`Store::mail_unconfirmed`]: the server has answered that it did not
    /// take the mail.
    pub async fn mail_not_taken(&self, order_id: &str, recipient: &str) -> Result<(), Failure> {
        self.in_time(async {
            sqlx::query(
                "UPDATE unconfirmed_mails SET times = times - 1, updated_at = $3
                 WHERE order_id = $1 AND recipient = $2 AND times > 0",
            )
            .bind(order_id)
            .bind(recipient)
            .bind(now())
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Records that a recipient was mailed, or why the mail server refused it permanently.
    pub async fn record_mail(
        &self,
        order_id: &str,
        recipient: &str,
        message_id: &str,
        refusal: Option<&str>,
    ) -> Result<(), Failure> {
        self.in_time(async {
            sqlx::query(
                "INSERT INTO mails (order_id, recipient, message_id, state, message, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (order_id, recipient) DO NOTHING",
            )
            .bind(order_id)
            .bind(recipient)
            .bind(message_id)
            .bind(if refusal.is_some() { "refused" } else { "sent" })
            .bind(refusal.unwrap_or_default())
            .bind(now())
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Counts the mails of an order.
    pub async fn mail_counts(&self, order_id: &str) -> Result<MailCounts, Failure> {
        self.in_time(async {
            let rows = sqlx::query(
                "SELECT state, COUNT(*), MAX(message) FROM mails WHERE order_id = $1 GROUP BY \
                 state",
            )
            .bind(order_id)
            .fetch_all(&self.pool)
            .await?;
            let mut counts = MailCounts::default();
            for row in rows {
                let count = u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or_default();
                if row.try_get::<String, _>(0)? == "sent" {
                    counts.sent = count;
                } else {
                    counts.refused = count;
                    counts.last_refusal = Some(row.try_get(2)?);
                }
            }
            let row = sqlx::query(
                "SELECT COUNT(*) FROM unconfirmed_mails
                 WHERE order_id = $1 AND times > 0 AND NOT EXISTS (
                     SELECT 1 FROM mails WHERE mails.order_id = unconfirmed_mails.order_id
                     AND mails.recipient = unconfirmed_mails.recipient)",
            )
            .bind(order_id)
            .fetch_one(&self.pool)
            .await?;
            counts.unconfirmed = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default();
            Ok(counts)
        })
        .await
    }
}
