//! What the tests and the benches of the order worker share: servers of their own, waiting for a
//! condition, and how a binary describes itself. Starts programs and opens sockets.

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
