//! A whole real system on one Linux machine: Kubernetes, Temporal, PostgreSQL, SMTP, Prometheus and a payment gateway,
//! in namespaces of its own. [`Sandbox`] brings it up; the command `sandbox` and the cluster tests both use it.

mod buildah;
mod cargo;
mod cgroup;
mod checkout;
pub mod clients;
mod components;
mod config;
mod control;
pub mod dashboard;
pub mod demo;
mod discovery;
mod error;
pub mod footprint;
mod foreign;
mod forward;
mod image;
mod images;
mod init;
mod manifests;
mod names;
mod net;
mod operator;
mod paths;
mod pki;
mod probe;
mod programs;
mod progress;
pub mod proof;
mod provision;
mod run;
mod sandbox;
mod sleeper;
mod state;
mod supervise;

pub use cargo::cargo;
pub use control::Action;
pub use error::{Error, Result};
pub use foreign::Foreign;
pub use image::Image;
pub use images::Loaded;
pub use manifests::{SERVICES, SERVICES_NAMESPACE};
pub use names::{NODE, OPERATOR_LEASE, OPERATOR_NAMESPACE, OPERATOR_RELEASE};
pub use net::{FORWARDS, Forward, NODE_ADDRESS, Ports};
pub use paths::{Name, Paths};
pub use programs::Programs;
pub use progress::{Progress, Step};
pub use provision::clients::Clients;
pub use sandbox::Sandbox;
pub use sleeper::{Sleeper, Tasks};
pub use state::{ComponentStatus, Phase, Process, Status};

/// What the supervisor's own processes run; they are no part of the library's use.
#[doc(hidden)]
pub mod process {
    use crate::{Paths, Result};

    /// `sandbox supervise`.
    pub fn supervise(paths: &Paths) -> Result<()> {
        crate::supervise::run(paths)
    }

    /// `sandbox enter`.
    pub fn enter(paths: &Paths) -> Result<()> {
        crate::supervise::become_namespaces(paths)
    }

    /// `sandbox api-proxy`.
    pub fn api_proxy(paths: &Paths) -> Result<()> {
        crate::supervise::become_api_proxy(paths)
    }

    /// `sandbox discover`.
    pub fn discover(paths: &Paths) -> Result<()> {
        crate::discovery::run(paths)
    }

    /// `sandbox init`.
    pub fn init(paths: &Paths) -> Result<()> {
        crate::init::run(paths)
    }
}
