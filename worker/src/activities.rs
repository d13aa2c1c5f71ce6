//! The activities, one struct per role so that a process registers exactly what its role plays.
//! All I/O of an order happens here. Every activity is safe to run again after any failure.
//!
//! What they take and return is in [`crate::order::messages`]; how it is read, in `input`.

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
