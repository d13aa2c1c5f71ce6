//! The components of a sandbox: the command, dependencies and readiness probe of each. Pure.

mod kubernetes;
pub(crate) mod readiness;
mod services;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    components::readiness::Probe, machine::Machine, net::NODE_ADDRESS, paths::Paths,
    programs::Programs,
};

/// A user and group by number.
pub(crate) type Owner = (u32, u32);

/// A command that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// The user that runs it; root if `None`.
    pub(crate) owner: Option<Owner>,
    /// It is skipped if this path exists.
    pub(crate) unless: Option<PathBuf>,
}

/// The signal that ends a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT: PostgreSQL's fast shutdown, which does not wait for its clients.
    Interrupt,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) name: &'static str,
    /// The components that must be ready before this one starts.
    pub(crate) after: &'static [&'static str],
    /// Run before each start.
    pub(crate) prepare: Vec<Step>,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) owner: Option<Owner>,
    pub(crate) ready: Probe,
    /// Run after each start, as soon as the probe succeeds, before the component counts as ready.
    pub(crate) then: Vec<Step>,
    pub(crate) stop: Stop,
    /// Whether it gets time to write its data when the sandbox ends.
    pub(crate) keeps_data: bool,
    /// The longest time from its start to its first successful probe.
    pub(crate) timeout: Duration,
    /// Its address inside the sandbox, shown to people.
    pub(crate) address: String,
}

/// The init process mounts folders of the state, and the folder of Temporal's program, here, for
/// users who may enter neither the state folder nor the cache.
pub(crate) const MOUNTED: &str = "/run/sandbox";
/// The folder below [`MOUNTED`] with Temporal's program.
pub(crate) const TEMPORAL: &str = "temporal";

/// The folders of the state that are mounted below [`MOUNTED`], with their owners.
pub(crate) fn mounted(owners: &Owners) -> [(&'static str, Owner); 2] {
    [("postgres", owners.postgres), ("mail", owners.nobody)]
}

/// The users of the components that must not run as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owners {
    /// Debian's user `postgres`.
    pub(crate) postgres: Owner,
    /// `nobody`.
    pub(crate) nobody: Owner,
}

/// The address of an external cluster's API inside the sandbox.
pub(crate) const API_PROXY: &str = "127.0.0.1:8001";

/// Every component of a sandbox with a cluster of its own.
pub(crate) fn cluster(machine: &Machine, owners: &Owners) -> Vec<Component> {
    let build = Build {
        paths: &machine.paths,
        programs: &machine.programs,
    };
    let mut components = vec![
        build.etcd(),
        build.api_server(),
        build.controller_manager(),
        build.scheduler(),
        build.containerd(),
        build.kubelet(),
        build.proxy(),
        build.coredns(),
    ];
    components.extend(build.services(owners));
    // CoreDNS comes after the base objects, which give the right to see pods.
    components.push(Component {
        after: &["coredns"],
        ..build.discovery()
    });
    components
}

/// The components that an external cluster lacks: the services beside the pods.
pub(crate) fn services_only(machine: &Machine, owners: &Owners) -> Vec<Component> {
    let build = Build {
        paths: &machine.paths,
        programs: &machine.programs,
    };
    let mut components = build.services(owners);
    components.push(build.discovery());
    for component in &mut components {
        // There is no bridge here.
        component.address = component.address.replace(NODE_ADDRESS, "127.0.0.1");
    }
    components
}

struct Build<'a> {
    paths: &'a Paths,
    programs: &'a Programs,
}

impl Build<'_> {
    fn services(&self, owners: &Owners) -> Vec<Component> {
        vec![
            Self::temporal(owners.nobody),
            self.postgres(owners.postgres),
            self.smtp(owners.nobody),
            self.gateway(),
            self.prometheus(),
        ]
    }

    fn component(name: &'static str, program: &Path, args: &[&str]) -> Component {
        Component {
            name,
            after: &[],
            prepare: Vec::new(),
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            owner: None,
            ready: Probe::Tcp(0),
            then: Vec::new(),
            stop: Stop::Terminate,
            keeps_data: false,
            timeout: Duration::from_mins(1),
            address: String::new(),
        }
    }

    fn pki(&self, file: &str) -> String {
        self.paths.pki().join(file).display().to_string()
    }

    fn config(&self, file: &str) -> String {
        self.paths.config().join(file).display().to_string()
    }

    fn kubectl(&self, args: &[&str]) -> Vec<String> {
        let program = text(&self.programs.kubectl);
        let kubeconfig = format!("--kubeconfig={}", self.pki("admin.kubeconfig"));
        [program, kubeconfig]
            .into_iter()
            .chain(args.iter().map(|arg| (*arg).to_owned()))
            .collect()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn step(command: &[String]) -> Step {
    Step {
        command: command.to_vec(),
        owner: None,
        unless: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<Component> {
        let paths = Paths {
            name: "t1".parse().unwrap(),
            cache: "/c".into(),
            state: "/s".into(),
        };
        let owners = Owners {
            postgres: (101, 102),
            nobody: (65534, 65534),
        };
        let machine = Machine {
            paths,
            programs: Programs::example(),
            external_cluster: None,
        };
        cluster(&machine, &owners)
    }

    #[test]
    fn a_component_waits_only_for_components_named_before_it() {
        let mut seen = BTreeSet::new();
        for component in all() {
            for needed in component.after {
                assert!(
                    seen.contains(needed),
                    "{} waits for {needed}",
                    component.name
                );
            }
            assert!(
                seen.insert(component.name),
                "{} is there twice",
                component.name
            );
        }
        assert_eq!(seen.len(), 14);
    }

    #[test]
    fn every_component_has_a_readiness_probe() {
        for component in all() {
            assert_ne!(component.ready, Probe::Tcp(0), "{}", component.name);
        }
    }

    #[test]
    fn components_that_must_not_run_as_root_have_another_user() {
        let owned: Vec<_> = all()
            .iter()
            .filter_map(|c| Some((c.name, c.owner?)))
            .collect();
        assert_eq!(
            owned,
            [
                ("temporal", (65534, 65534)),
                ("postgres", (101, 102)),
                ("smtp", (65534, 65534)),
            ]
        );
    }

    #[test]
    fn the_database_is_initialised_once() {
        let postgres = all().into_iter().find(|c| c.name == "postgres").unwrap();
        assert_eq!(
            postgres.prepare[0].unless,
            Some("/run/sandbox/postgres/data/PG_VERSION".into())
        );
    }
}
