//! The database: orders, stock, reservations, payments, mails. One set of statements for PostgreSQL
//! and SQLite. Every method is idempotent and does its work in one transaction.

mod describe;
mod health;
mod mails;
mod orders;
mod payments;
mod pool;
mod stock;

pub use describe::{describe, describe_migration};
pub use mails::{MOST_COPIES, MailCounts};
pub use orders::StoredOrder;
pub use payments::PaymentState;
pub use pool::{ANSWER_TIMEOUT, Backend, Store};
