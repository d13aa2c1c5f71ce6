//! The readers over a scripted Temporal, under a paused clock: no network, no waiting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop"
)]

mod budget;
mod failures;
mod hints;
mod idle;
mod panics;
mod timing;
mod watching;
mod workers;
