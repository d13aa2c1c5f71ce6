//! One supervisor for all components of a sandbox.
//!
//! The command line starts the daemon ([`lifecycle`]); the daemon ([`daemon`]) enters namespaces of
//! its own and starts the init process there ([`init`]), which keeps the components running
//! ([`runner`]) and takes requests ([`control_server`], asked through [`control_client`]).

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
