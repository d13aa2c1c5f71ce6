//! What the tests of several crates share. Only dev-dependencies name this crate.
//!
//! | module | what for | feature |
//! | --- | --- | --- |
//! | `exposure` | finds parts of a secret in a text | |
//! | `malformed` | resources that the API server must refuse | |
//! | `scripted` | a Temporal that answers from a script | `scripted` |
//! | `world` | one queue and its fleet, under a clock that the test moves | `world` |
//!
//! The crates of `scripted` and `world` use them in integration tests and benches only: a unit test
//! would see the types of its own crate twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the helpers of tests may panic as the tests do"
)]

pub mod exposure;
pub mod malformed;
#[cfg(feature = "scripted")]
pub mod scripted;
#[cfg(feature = "world")]
pub mod world;
