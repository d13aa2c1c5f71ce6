//! Scaling against traces: the tables as reviewed snapshots, and the bar that they must clear.
//! Every decision also passes `taskqueue_scaling::check::violations`, which `decide` asserts.

// The helpers of tests may panic as the tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bar;
mod before;
mod cuts;
mod traces;
