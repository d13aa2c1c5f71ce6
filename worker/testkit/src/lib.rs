//! Shared by the tests and benches of the order worker: a PostgreSQL server, and the description of
//! a binary. Starts programs and opens sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test or a measurement that cannot go on panics"
)]

pub mod binary;
mod postgres;

pub use postgres::{postgres_database, postgres_program};
