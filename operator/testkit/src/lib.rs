//! What the tests of several crates share. Only used as a dev-dependency.
//!
//! | module | purpose | feature |
//! | --- | --- | --- |
//! | `api_server` | a scripted Kubernetes API server | `kubernetes` |
//! | `exposure` | finds parts of a secret in a text | |
//! | `malformed` | resources that the API server must refuse | |
//! | `port_forward` | the API server's end of a port-forward | `port-forward` |
//! | `resource` | a `TaskQueueWorker` with any queues | `kubernetes` |
//! | `scripted` | a scripted Temporal | `scripted` |
//! | `test_fleet` | one queue and its fleet, under a clock that the test moves | `test-fleet` |
//!
//! `resource`, `scripted` and `test_fleet` use types of taskqueue-api, taskqueue-temporal and
//! taskqueue-scaling. So these crates can use them only in integration tests and benches: a unit
//! test would see the types of its own crate twice.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "the helpers of tests may panic as the tests do"
)]

#[cfg(feature = "kubernetes")]
pub mod api_server;
pub mod exposure;
pub mod malformed;
#[cfg(feature = "port-forward")]
pub mod port_forward;
#[cfg(feature = "kubernetes")]
pub mod resource;
#[cfg(feature = "scripted")]
pub mod scripted;
#[cfg(feature = "test-fleet")]
pub mod test_fleet;
