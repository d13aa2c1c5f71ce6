//! An existing cluster that the sandbox uses instead of its own: its context, how its pods reach
//! this machine, and the objects that the sandbox creates in it. Runs kubectl; writes below the
//! state folder and, in that cluster, to one namespace.

use std::{
    io::Write,
    net::IpAddr,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    error::{Attempt, Error, Result},
    files,
    image::Image,
    manifests::{self, SERVICES, SERVICES_NAMESPACE},
    net::Ports,
    paths::Paths,
    programs::Programs,
    run,
};

/// The label that marks the namespace of the Services as the sandbox's.
const LABEL: &str = "taskqueue.dev/sandbox";

/// An existing cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalCluster {
    /// The context of the person's kubeconfig.
    pub context: String,
    /// The address at which the cluster's pods reach this machine.
    pub host_address: IpAddr,
    /// Where images are pushed, for example `registry.example.com/team`; without it they are
    /// written to archives.
    pub registry: Option<String>,
}

impl ExternalCluster {
    /// The cluster that this sandbox was configured to use; `None` means its own.
    pub(crate) fn read(paths: &Paths) -> Result<Option<Self>> {
        files::read_json(&paths.external_cluster_file())
    }

    /// The name under which the cluster knows an image.
    pub(crate) fn reference(&self, image: Image) -> String {
        match &self.registry {
            Some(registry) => {
                let registry = registry.trim_end_matches('/');
                format!(
                    "{registry}/{}:{}",
                    image.binary(),
                    env!("CARGO_PKG_VERSION")
                )
            }
            None => image.reference(),
        }
    }

    /// Registries on this machine speak plain HTTP, as every container tool assumes.
    pub(crate) fn registry_has_tls(&self) -> bool {
        let registry = self.registry.as_deref().unwrap_or_default();
        let host = registry.split(['/', ':']).next().unwrap_or_default();
        !matches!(host, "localhost" | "127.0.0.1")
    }

    /// Copies the context, and nothing else, out of the person's kubeconfig.
    pub(crate) fn write_kubeconfig(&self, paths: &Paths, programs: &Programs) -> Result<()> {
        let mut command = Command::new(&programs.kubectl);
        command.args([
            "config",
            "view",
            "--minify",
            "--flatten",
            "--raw",
            "--output=json",
        ]);
        let config = run::output(command.args(["--context", &self.context]))?;
        files::write_secret(&paths.kubeconfig(), config.as_bytes())?;
        let mut version = Self::kubectl(paths, programs);
        run::output(version.args(["version", "--request-timeout=10s"])).map(drop)
    }

    /// Creates the Services through which the cluster's pods reach this machine.
    pub(crate) fn apply(&self, paths: &Paths, programs: &Programs, ports: &Ports) -> Result<()> {
        let services: Vec<(&str, u16, u16)> = SERVICES
            .iter()
            .filter_map(|(name, port)| Some((*name, *port, *ports.get(forward_of(name))?)))
            .collect();
        let mut namespace = manifests::namespace();
        namespace["metadata"]["labels"] = json!({LABEL: paths.name.as_str()});
        let mut items = vec![namespace];
        items.extend(manifests::backing_services(
            &self.host_address.to_string(),
            &services,
        ));
        let text = manifests::list(&items).to_string();
        let mut command = Self::kubectl(paths, programs);
        command
            .args([
                "apply",
                "--server-side",
                "--force-conflicts",
                "--field-manager=sandbox",
            ])
            .args(["--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let what = run::describe(&command);
        let mut child = command.spawn().attempt(|| format!("starting {what}"))?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(text.as_bytes())
                .attempt(|| format!("writing to {what}"))?;
        }
        let status = child.wait().attempt(|| format!("waiting for {what}"))?;
        if status.success() {
            Ok(())
        } else {
            let why = format!("{status}; see the output above");
            Err(Error::Command {
                what,
                why,
                tail: String::new(),
            })
        }
    }

    /// Removes those Services.
    pub(crate) fn remove(paths: &Paths, programs: &Programs) -> Result<()> {
        let selector = format!("{LABEL}={}", paths.name);
        let field = format!("metadata.name={SERVICES_NAMESPACE}");
        let mut command = Self::kubectl(paths, programs);
        command
            .args([
                "delete",
                "namespace",
                "--selector",
                &selector,
                "--field-selector",
                &field,
            ])
            .args([
                "--ignore-not-found",
                "--wait=false",
                "--request-timeout=10s",
            ]);
        run::output(&mut command).map(drop)
    }

    fn kubectl(paths: &Paths, programs: &Programs) -> Command {
        let mut command = Command::new(&programs.kubectl);
        command.env("KUBECONFIG", paths.kubeconfig());
        command
    }
}

/// The name of the forwarded port of a Service.
fn forward_of(service: &str) -> &str {
    if service == "payment-gateway" {
        "gateway"
    } else {
        service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(registry: Option<&str>) -> ExternalCluster {
        ExternalCluster {
            context: "kind".into(),
            host_address: "192.0.2.1".parse().unwrap(),
            registry: registry.map(str::to_owned),
        }
    }

    #[test]
    fn images_carry_the_registry_if_there_is_one() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            external(Some("r.example.com/team/")).reference(Image::OrderWorker),
            format!("r.example.com/team/order-worker:{version}")
        );
        assert_eq!(
            external(None).reference(Image::OrderWorker),
            format!("localhost/order-worker:{version}")
        );
    }

    #[test]
    fn only_a_registry_on_this_machine_is_used_without_tls() {
        assert!(!external(Some("localhost:5000/a")).registry_has_tls());
        assert!(!external(Some("127.0.0.1:5000")).registry_has_tls());
        assert!(external(Some("localhost.example.com/a")).registry_has_tls());
    }

    #[test]
    fn every_service_has_a_port_outside_the_sandbox() {
        for (service, port) in SERVICES {
            let forward = crate::net::FORWARDS
                .iter()
                .find(|f| f.name == forward_of(service));
            assert_eq!(forward.map(|f| f.inside), Some(port), "{service}");
        }
    }
}
