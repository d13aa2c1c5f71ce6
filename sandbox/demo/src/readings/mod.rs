//! The data read back about the orders from four sources (ledger, database, mail, Temporal), and
//! its parsing. Pure: the answers are passed in as text.

mod database;
mod ledger;
mod mail;
mod temporal;

pub(super) use database::{Database, LiveOrders, STOCK, live_orders, stock};
pub(super) use ledger::{LedgerEntry, ledger};
pub(super) use mail::{Mail, mail};
pub(super) use temporal::{
    Ended, Execution, OrderResult, closed_and_open, execution, list_page, task_queue_stats,
};
/// The parts that the tests put readings together from.
#[cfg(test)]
pub(super) use {
    database::{DatabaseOrder, Payment, Reservation, SentMail},
    temporal::{ResultNotification, ResultPayment, Wait},
};

use crate::orders::Pieces;

/// Everything that was read back about one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Readings {
    /// The keys of the payment gateway's ledger that belong to the run.
    pub(super) ledger: Vec<LedgerEntry>,
    /// The rows of the database that belong to the run, and the stock as it is now.
    pub(super) database: Database,
    /// The stock before the run.
    pub(super) stock_before: Pieces,
    /// The mails that lie in the mail server and belong to the run.
    pub(super) mails: Vec<Mail>,
    /// The workflows of the run.
    pub(super) executions: Vec<Execution>,
}
