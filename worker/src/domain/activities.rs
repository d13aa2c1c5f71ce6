//! The activities. Each role has its own struct, so that a process registers exactly the activities
//! of its role. All I/O of an order happens here. Every activity is idempotent: it can run again
//! after any failure.
//!
//! [`crate::domain::order::messages`] has their inputs and results; `input` reads the inputs.

mod input;
mod inventory;
mod notifications;
mod orders;
mod payments;

pub use input::Sent;
pub use inventory::InventoryActivities;
pub use notifications::NotificationActivities;
pub use orders::OrderActivities;
pub use payments::PaymentActivities;
