//! A worker built on the library, against a real Temporal server. The worker is
//! `examples/minimal.rs` where that is enough, and otherwise one with activities that report what
//! they see. No test is skipped: if a program is missing, the test fails and says how to get it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, in its functions as well"
)]

mod fatal;
mod minimal;
mod probe;
mod recycling;
mod support;
mod through_proxy;
