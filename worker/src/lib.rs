//! The order system: a Temporal workflow and its activities, the worker process that runs them, and
//! the commands that start and watch orders.
//!
//! `domain` has the orders; its activities do their I/O through `store`, `payment` and `mail`. `run`
//! is the process around them.

pub mod commands;
pub mod connection;
pub mod domain;
pub mod http;
pub mod logs;
pub mod mail;
pub mod payment;
pub mod run;
pub mod settings;
pub mod store;
pub mod tls;
