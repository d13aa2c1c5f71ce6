//! Where an order stands and how it ends. Pure.

use serde::{Deserialize, Serialize};

use crate::failure::Reason;

/// Where an order stands; also the `state` of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// The workflow has started.
    #[default]
    Received,
    /// `create_order` runs.
    Creating,
    /// `reserve_inventory` runs.
    Reserving,
    /// The cancel window is open.
    Waiting,
    /// `process_payment` runs; from here on the order can no longer be cancelled.
    Paying,
    /// The outcome of the payment is unknown and is being asked of the gateway.
    Settling,
    /// `send_notification` runs; the order is paid.
    Notifying,
    /// Paid, and every mail that could be sent was sent. Final.
    Completed,
    /// What was done is being undone.
    Compensating,
    /// The payment was declined and everything before it was undone. Final.
    Declined,
    /// Something could not be reserved and everything before it was undone. Final.
    OutOfStock,
    /// Cancelled before payment and undone. Final.
    Cancelled,
    /// Failed for a technical reason and undone; the workflow's failure says why. Final.
    Failed,
    /// Whether the charge went through cannot be found out: nothing is undone, and a person must look. Final.
    Unsettled,
}

/// A payment that went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's id of the charge.
    pub charge_id: String,
    /// Charged amount in minor units.
    pub amount: i64,
    /// True if the answers were lost and the charge was found by asking the gateway.
    #[serde(default)]
    pub settled: bool,
}

/// How the mails of an order ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// There was nobody to mail.
    #[default]
    None,
    /// Every recipient was mailed.
    Sent,
    /// Some recipients were mailed. The others were refused by the mail server for good, or could
    /// not be mailed in time.
    Partial,
    /// Nobody could be mailed, or it is unknown who was.
    Failed,
    /// The workflow was cancelled while mails were sent.
    Cancelled,
}

/// What became of the mails. A failure here never undoes a paid order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Overall outcome.
    pub state: NotificationState,
    /// Recipients that were mailed.
    pub sent: u64,
    /// Recipients that the mail server refused for good.
    pub refused: u64,
    /// Why, if anything failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The result of `OrderWorkflow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResult {
    /// The order's id.
    pub order_id: String,
    /// A final state.
    pub state: OrderState,
    /// Total in minor units.
    pub total: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// The payment, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
    /// The mails.
    #[serde(default)]
    pub notification: Notification,
    /// Why the order did not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}
