//! The commands for people: `top`, `explain`, `check`, `simulate`, `crd`, `version` and
//! `completion`. They read; none writes to a cluster.
//!
//! [`command`] is the table of contents. The program of this package is the kubectl plugin; the
//! operator's program has the same commands. Neither the operator nor Temporal's client is linked
//! in: what the operator knows comes from its metrics, the status of its fleets and its Events.

mod arguments;
pub mod check;
mod clock;
pub mod cluster;
pub mod color;
pub mod command;
pub mod completion;
pub mod explain;
pub mod figures;
pub mod output;
pub mod pace;
pub mod runtime;
pub mod simulate;
pub mod top;
pub mod version;
pub mod view;

pub use command::Command;
