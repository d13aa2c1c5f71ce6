//! The inputs and results of an order's activities, as Temporal carries them. Pure.

use serde::{Deserialize, Serialize};

use super::checked::{CardToken, Item};
use super::result::{Payment, is_zero};
use crate::domain::failure::Reason;

/// Input of `create_order`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateOrder {
    /// The order's id.
    pub order_id: String,
    /// Total in minor units.
    pub total: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The first run of the workflow, which stays the same when it is reset. Default: unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_run_id: Option<String>,
}

/// Input of `cancel_order_activity`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelOrder {
    /// The order's id.
    pub order_id: String,
    /// Why; stored with the order.
    pub reason: Reason,
}

/// Input of `reserve_inventory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The order's id.
    pub order_id: String,
    /// What to reserve, each SKU once.
    pub items: Vec<Item>,
}

/// Input of `release_inventory`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInventory {
    /// The order's id.
    pub order_id: String,
}

/// Input of `process_payment` and `settle_payment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequest {
    /// The order's id.
    pub order_id: String,
    /// Amount in minor units.
    pub amount: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// Means of payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<CardToken>,
    /// How many attempts of `process_payment` may have an unknown outcome; an attempt that the
    /// gateway answered with 429 is none of them. Default: the caller's retry policy decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// For `settle_payment`: when the first attempt to pay may have been made, in seconds since
    /// 1970. Default: lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_since: Option<i64>,
}

/// The outcome that `settle_payment` found. After `Declined` and `Voided` no charge can follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "payment")]
pub enum Settlement {
    /// The charge went through.
    Charged(Payment),
    /// The card was declined.
    Declined,
    /// There was no charge, and the gateway now refuses any charge with this key.
    Voided,
}

/// Input of `send_notification`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailing {
    /// The order's id; part of the mails' Message-IDs and records. A caller that mails about one
    /// order several times adds a name: `ID/NAME`, from its field `mailing`. Default: an id unique
    /// to this activity.
    pub order_id: String,
    /// Mail addresses, each once.
    pub recipients: Vec<String>,
    /// Subject line.
    pub subject: String,
    /// Plain text.
    pub body: String,
}

/// The second payload of a heartbeat of `send_notification`; the next attempt resumes from it. The
/// first payload is the text "Sending i/n", for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailProgress {
    /// How many recipients, counted from the first, need no further work.
    pub done: usize,
}

/// Input of `count_mails`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountMails {
    /// The order's id.
    pub order_id: String,
}

/// Result of `send_notification` and of `count_mails`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailReport {
    /// Recipients mailed, over all attempts.
    pub sent: u64,
    /// Recipients that the mail server refused permanently.
    pub refused: u64,
    /// Recipients whose mail was sent to the server three times without an answer. They may have
    /// received it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unconfirmed: u64,
    /// Why recipients were not, or perhaps not, mailed: the last refusal, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}
