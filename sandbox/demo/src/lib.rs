//! The demo: brings a sandbox up, installs the operator, applies a fleet, places orders, shows how
//! the fleet follows them, and proves from four places that every order came to the right end.
//!
//! Pure: `orders`, `readings`, `check`, `summary`, `table`, `chart`. I/O: `sources` reads, `fleet`
//! and `placing` act, `wait` waits, `screen` prints; `demo` puts them together. No figure of the
//! summary is counted here: what was expected comes from the orders, everything else is read back
//! from where it is kept.

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
