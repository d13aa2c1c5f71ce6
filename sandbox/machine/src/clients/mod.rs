//! Clients of the servers that run in a sandbox.

pub mod http;
pub mod prometheus;
pub mod temporal;
