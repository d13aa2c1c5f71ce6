//! A whole real system on one Linux machine: Kubernetes, Temporal, PostgreSQL, SMTP, Prometheus and
//! a payment gateway, in namespaces of its own. [`Sandbox`] brings it up; the command `sandbox` and
//! the cluster tests both use it.

mod architecture;
mod binaries;
pub mod buildah;
mod cargo;
mod cgroup;
mod checkout;
pub mod clients;
mod components;
mod config;
mod error;
mod example_worker;
mod external_cluster;
pub mod files;
mod forward;
mod image;
mod image_root;
mod images;
mod kubernetes_version;
mod machine;
mod manifests;
mod names;
mod net;
mod operator;
mod order_client;
mod paths;
mod pki;
mod process;
mod programs;
mod progress;
mod provision;
pub mod run;
mod run_id;
mod sandbox;
mod scrape_targets;
mod sleeper;
mod status;
mod supervisor;
mod table;
mod temporal_image;
mod test_image;
mod which;

pub use architecture::Architecture;
pub use binaries::ImageBinaries;
pub use cargo::{cargo, executables};
pub use checkout::checkout;
pub use error::{Attempt, Error, Result, last_lines};
pub use example_worker::Language;
pub use external_cluster::ExternalCluster;
pub use image::Image;
pub use image_root::lay_out;
pub use images::Loaded;
pub use kubernetes_version::KubernetesVersion;
pub use machine::Machine;
pub use manifests::{SERVICES, SERVICES_NAMESPACE};
pub use names::{NODE, OPERATOR_LEASE, OPERATOR_NAMESPACE, OPERATOR_RELEASE};
pub use net::{FORWARDS, Forward, NODE_ADDRESS, Ports};
pub use paths::{Name, Paths};
pub use process::Process;
pub use programs::Programs;
pub use progress::{Progress, Step};
pub use provision::{
    order_clients::OrderClients, release::provision as provision_release, tools::Tool,
};
pub use run_id::run_id;
pub use sandbox::Sandbox;
pub use sleeper::{Sleeper, Tasks};
pub use status::{ComponentStatus, Phase, Status};
pub use supervisor::control_client::Action;
pub use table::{Column, table};
pub use which::find as find_program;

/// What the supervisor's own processes run. Only the command line calls them.
#[doc(hidden)]
pub mod own_processes {
    use crate::{Machine, Result, scrape_targets, supervisor};

    /// `sandbox supervise`.
    pub fn supervise(machine: &Machine) -> Result<()> {
        supervisor::daemon::run(machine)
    }

    /// `sandbox enter`.
    pub fn enter(machine: &Machine) -> Result<()> {
        supervisor::daemon::become_namespaces(&machine.paths)
    }

    /// `sandbox api-proxy`.
    pub fn api_proxy(machine: &Machine) -> Result<()> {
        supervisor::daemon::become_api_proxy(machine)
    }

    /// `sandbox discover`.
    pub fn discover(machine: &Machine) -> Result<()> {
        scrape_targets::run(machine)
    }

    /// `sandbox init`.
    pub fn init(machine: &Machine) -> Result<()> {
        supervisor::init::run(machine)
    }
}
