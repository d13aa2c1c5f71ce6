//! Scaling against traces: the tables as reviewed snapshots, and the bar that they must clear.
//! Every decision also passes `taskqueue_scaling::check::violations`, because `decide` asserts it.

// Test helpers may panic, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bar;
mod before;
mod contest;
mod cuts;
mod formats;
mod rebuild;
mod recorder;
mod recurring;
mod throttled;
mod traces;
