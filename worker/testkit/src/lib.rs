//! Shared by the tests and benches of the order worker: test servers, waiting for a condition, and
//! the description of a binary. Starts programs and opens sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test or a measurement that cannot go on panics"
)]

pub mod binary;
pub mod servers;
mod wait;

pub use wait::{DEADLINE, eventually};
