//! The progress of an order: the run writes it, queries and signals read it. Pure.

use crate::domain::failure::Reason;
use crate::domain::order::OrderState;

/// The progress of one order.
#[derive(Default)]
pub(super) struct Progress {
    /// The current state.
    pub(super) state: OrderState,
    /// The reason for compensation, if the order is being undone.
    pub(super) reason: Option<Reason>,
    /// The reason that the customer gave for cancelling; empty text if none was given.
    pub(super) cancel_requested: Option<String>,
}
