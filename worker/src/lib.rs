//! The order system: a Temporal workflow and its activities, the worker process that runs them, and
//! the commands that start and watch orders.
//!
//! `domain` has the orders; its activities do their I/O through `store`, `payment` and `mail`.
//! `commands` has the worker and the client. How a worker runs is the business of the library
//! `taskqueue-worker`.

pub mod commands;
pub mod domain;
pub mod mail;
pub mod payment;
pub mod store;
