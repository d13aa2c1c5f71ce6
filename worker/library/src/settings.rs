//! The settings that every worker has, from the environment: how to reach Temporal
//! ([`TemporalSettings`]) and how to run ([`WorkerSettings`]).

mod credentials;
mod temporal;
mod worker;

pub use credentials::{ApiKey, Headers, Pem, ProxySettings, TlsSettings};
pub use temporal::TemporalSettings;
pub use worker::{LogFormat, WorkerSettings};
