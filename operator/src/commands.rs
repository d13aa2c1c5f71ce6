//! The commands for people. They read; none writes to a cluster.

pub mod check;
pub mod cluster;
pub mod completion;
pub mod explain;
pub mod figures;
pub mod output;
pub mod pace;
pub mod simulate;
pub mod top;
pub mod version;
pub mod view;
