#![doc = include_str!("../README.md")]

mod compat;
mod connection;
mod drain;
mod endpoint;
mod environment;
mod interceptor;
mod logs;
mod loopback;
mod metrics;
mod options;
mod process;
mod run;
mod settings;
mod tls;
mod tunnel;
mod worker;

#[cfg(feature = "testing")]
pub mod testing;

pub use connection::{ConnectError, Connector};
pub use environment::{Environment, SettingError};
pub use interceptor::{INVALID_INPUT, WORKER_SHUTDOWN};
pub use logs::LogOutput;
pub use process::{main, run_command};
pub use run::run;
pub use settings::{
    ApiKey, Headers, LogFormat, Pem, ProxySettings, TemporalSettings, TlsSettings, WorkerSettings,
};
pub use tunnel::ProxyError;
pub use worker::Worker;
