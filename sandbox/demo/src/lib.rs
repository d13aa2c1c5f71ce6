//! The demo: brings a sandbox up, installs the operator, applies a fleet, places orders, shows how
//! the fleet follows them, and verifies from four sources that every order ended correctly.
//!
//! Pure: `orders`, `readings`, `check`, `summary`, `table`, `chart`. I/O: `sources` reads, `fleet`
//! and `placing` act, `wait` waits, `screen` prints; `demo` combines them. No value of the summary
//! is counted here: the expected values come from the orders, all others are read back from their
//! source.

mod chart;
mod check;
pub mod dashboard;
mod demo;
mod error;
mod fleet;
mod orders;
mod placing;
mod readings;
mod screen;
mod sources;
mod summary;
mod table;
mod wait;

pub use demo::{Options, run};
pub use error::Error;
