//! Orders: what an order is, its workflow and activities, the failures and metrics of both.
//!
//! `workflow` makes the decisions (deterministic). `activities` do all I/O of an order, through
//! `store`, `payment` and `mail`.

pub mod activities;
pub mod failure;
pub mod metrics;
pub mod order;
pub mod workflow;
