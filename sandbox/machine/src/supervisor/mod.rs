//! One supervisor for all components of a sandbox.
//!
//! The command line starts the daemon ([`lifecycle`]); the daemon ([`daemon`]) enters namespaces of
//! its own and starts the init process there ([`init`]), which keeps the components running
//! ([`runner`]) and takes requests ([`control_server`], asked through [`control_client`]).
//!
//! Why not a crate: process-wrap 10 puts one process into a group or a session.
//! watchexec-supervisor 6 starts, stops and restarts one command, on tokio. What remains is most of
//! this module: the namespaces, the order of start, readiness probes, pauses between restarts, and
//! reaping orphaned processes.

mod component_states;
pub(crate) mod control_client;
mod control_server;
pub(crate) mod daemon;
pub(crate) mod failure;
pub(crate) mod init;
pub(crate) mod lifecycle;
mod namespaces;
pub(crate) mod probe;
mod processes;
mod reaper;
mod runner;
