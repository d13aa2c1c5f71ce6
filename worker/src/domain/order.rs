//! The order: the workflow's raw input, the checked order that all later code uses, the inputs and
//! results of the activities, and the result of the workflow. Pure: no I/O, no clock, no
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
pub(crate) use fields::{Fields, Rules, whole_number};
pub use input::OrderInput;
pub(crate) use parse::{KNOWN as ORDER_FIELDS, MAX_QUEUE_LENGTH};
pub use result::{Notification, NotificationState, OrderResult, OrderState, Payment};

#[cfg(test)]
mod tests;
