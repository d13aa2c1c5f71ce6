//! The promises of the README on real pods: a sandbox with a real API server, kubelet and Temporal,
//! and the operator installed by its chart. Needs the sandbox named by `TASKQUEUE_SANDBOX` (default
//! `checks`) to be up, with the images loaded and the operator installed;
//! `cargo sandbox test --only cluster` does all of this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests panic freely, and print what explains a failure"
)]

mod api_server;
mod authority;
mod availability;
mod busy;
mod clients;
mod cloud;
mod conflicts;
mod connection;
mod credentials;
mod dashboards;
mod errors;
mod faults;
mod front;
mod hanging;
mod harness;
mod helm3;
mod hints;
mod install;
mod keys;
mod languages;
mod leaders;
mod lifecycle;
mod malformed;
mod metrics_rights;
mod monitoring;
mod outage;
mod policy;
mod ports;
mod proxy;
mod quickstart;
mod recorded_load;
mod refusals;
mod restarts;
mod rights;
mod rollouts;
mod scaling;
mod scraping;
mod shared_connection;
mod soak;
mod stuck;
mod targets;
mod tunnel;
mod upgrade;
mod versions;
mod webhook;
