//! Tests of the scaling core: tables, timelines, properties. No I/O.

// Test helpers may panic, like the tests themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capacity;
mod forecast;
mod just_started;
mod learning;
mod prior;
mod properties;
mod release;
mod sources;
mod stuck;
mod tables;
mod target;
mod timelines;
mod unknown;
