//! The commands for people. They read; none writes to a cluster.

pub mod check;
pub mod cluster;
pub mod explain;
pub mod figures;
pub mod output;
pub mod simulate;
pub mod top;
pub mod view;
