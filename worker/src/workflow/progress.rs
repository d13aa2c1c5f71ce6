//! How far an order has come: what its run writes down and what queries and signals read. Pure.

use crate::failure::Reason;
use crate::order::OrderState;

/// The progress of one order.
#[derive(Default)]
pub(super) struct Progress {
    /// Where it stands.
    pub(super) state: OrderState,
    /// Why it is being undone, if it is.
    pub(super) reason: Option<Reason>,
    /// The words of the customer who cancelled, if one did.
    pub(super) cancel_requested: Option<String>,
}
