//! The order system: a Temporal workflow and its activities, the worker process that runs them, the
//! commands that start and watch orders, and a payment gateway stand-in.
//!
//! `workflow` makes the decisions (deterministic). `activities` do all I/O of an order, through
//! `store`, `payment` and `mail`. `run` is the process around them.

pub mod activities;
pub mod cli;
pub mod commands;
pub mod connection;
pub mod failure;
pub mod gateway;
pub mod http;
pub mod logs;
pub mod mail;
pub mod metrics;
pub mod order;
pub mod payment;
pub mod run;
pub mod settings;
pub mod store;
pub mod tls;
pub mod workflow;
