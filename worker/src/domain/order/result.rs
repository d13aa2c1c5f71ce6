//! The states and the result of an order. Pure.

use serde::{Deserialize, Serialize};

use crate::domain::failure::Reason;

/// The state of an order; also the `state` of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// The workflow has started.
    #[default]
    Received,
    /// `create_order` is running.
    Creating,
    /// `reserve_inventory` is running.
    Reserving,
    /// The cancel window is open.
    Waiting,
    /// `process_payment` is running. From here on the order can no longer be cancelled.
    Paying,
    /// The outcome of the payment is unknown, and the workflow is asking the gateway.
    Settling,
    /// `send_notification` is running; the order is paid.
    Notifying,
    /// Paid, and mailing has ended. Final.
    Completed,
    /// Completed steps are being undone.
    Compensating,
    /// The payment was declined and everything before it was undone. Final.
    Declined,
    /// Something could not be reserved and everything before it was undone. Final.
    OutOfStock,
    /// Cancelled before payment and undone. Final.
    Cancelled,
    /// Failed for a technical reason and undone; the workflow's failure says why. Final.
    Failed,
    /// Whether the charge went through cannot be found out. Nothing is undone, and a person must
    /// look into it. Final.
    Unsettled,
}

/// A payment that went through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's id of the charge.
    pub charge_id: String,
    /// Charged amount in minor units.
    pub amount: i64,
    /// True if the answers to the payment were lost and the gateway confirmed the charge
    /// afterwards.
    #[serde(default)]
    pub settled: bool,
}

/// The overall outcome of an order's mails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationState {
    /// There were no recipients.
    #[default]
    None,
    /// Every recipient was mailed.
    Sent,
    /// Some recipients were mailed. The mail server refused the others permanently, did not confirm
    /// their mails, or they could not be mailed in time.
    Partial,
    /// Nobody was mailed, or it is unknown who was.
    Failed,
    /// The workflow was cancelled during the mailing.
    Cancelled,
}

/// The outcome of an order's mails. A failed mailing never undoes a paid order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The overall outcome.
    pub state: NotificationState,
    /// Recipients that were mailed.
    pub sent: u64,
    /// Recipients that the mail server refused permanently.
    pub refused: u64,
    /// Recipients who may have been mailed: the mail server got the mail but did not answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unconfirmed: u64,
    /// Why, if anything failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// The result of `OrderWorkflow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderResult {
    /// The order's id.
    pub order_id: String,
    /// The final state.
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

/// Whether a count is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}
