//! What the tests of several crates share. Only used as a dev-dependency.
//!
//! | module | purpose | feature |
//! | --- | --- | --- |
//! | `exposure` | finds parts of a secret in a text | |
//! | `malformed` | resources that the API server must refuse | |
//! | `scripted` | a scripted Temporal | `scripted` |
//! | `fleet` | one queue and its fleet, under a clock that the test moves | `fleet` |
//!
//! `scripted` and `fleet` use types of taskqueue-temporal and taskqueue-scaling. So these two
//! crates can use them only in integration tests and benches: a unit test would see the types of
//! its own crate twice.

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
#[cfg(feature = "test-fleet")]
pub mod test_fleet;
