//! What an order is: the workflow's input as it arrives, the checked order that everything after
//! it works on, what its activities take and return, and the result. Pure: no I/O, no clock, no
//! randomness.

mod checked;
mod fields;
mod input;
pub mod messages;
mod names;
mod parse;
mod result;

pub use checked::{
    CardToken, DEFAULT_CURRENCY, DEFAULT_SKU, Item, MAX_ITEMS, MAX_RECIPIENTS, MAX_TOTAL, Order,
    TaskQueues, is_order_id, money,
};
pub(crate) use fields::{Fields, Misspelt, whole_number};
pub use input::OrderInput;
pub(crate) use parse::{KNOWN as ORDER_FIELDS, MAX_QUEUE_LENGTH};
pub use result::{Notification, NotificationState, OrderResult, OrderState, Payment};

#[cfg(test)]
mod tests;
