//! What runs in a sandbox: each component's command, what it waits for, and what shows that it is ready. Pure: it
//! only describes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    discovery,
    net::{NODE_ADDRESS, SERVICE_RANGE},
    paths::Paths,
    pki::NODE,
    probe::Probe,
    programs::Programs,
};

/// A user and group by number.
pub(crate) type Owner = (u32, u32);

/// A command that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// As whom it runs; root if not given.
    pub(crate) owner: Option<Owner>,
    /// It is left out where this path exists.
    pub(crate) unless: Option<PathBuf>,
}

/// How a component is asked to end.
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
    /// It is given time to write its data when the sandbox ends.
    pub(crate) keeps_data: bool,
    /// How long it may take from its start to its first answer.
    pub(crate) patience: Duration,
    /// Where it is reached inside the sandbox, for people.
    pub(crate) address: String,
}

/// Where the init process shows folders of the state to users who may not enter the state folder.
pub(crate) const MOUNTED: &str = "/run/sandbox";

/// The folders below [`MOUNTED`], with their owners.
pub(crate) fn mounted(owners: &Owners) -> [(&'static str, Owner); 2] {
    [("postgres", owners.postgres), ("mail", owners.mail)]
}

/// As whom the components that must not be root run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owners {
    /// Debian's user `postgres`.
    pub(crate) postgres: Owner,
    /// `nobody`.
    pub(crate) mail: Owner,
}

/// Every component of a sandbox with a cluster of its own.
pub(crate) fn cluster(paths: &Paths, programs: &Programs, owners: &Owners) -> Vec<Component> {
    let build = Build { paths, programs };
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
    components.extend(services(paths, programs, owners));
    components.extend([build.discovery(), build.prometheus()]);
    components
}

/// What runs beside the pods and does not need a cluster.
pub(crate) fn services(paths: &Paths, programs: &Programs, owners: &Owners) -> Vec<Component> {
    let build = Build { paths, programs };
    vec![build.temporal(), build.postgres(owners.postgres), build.smtp(owners.mail), build.gateway()]
}

struct Build<'a> {
    paths: &'a Paths,
    programs: &'a Programs,
}

impl Build<'_> {
    fn component(&self, name: &'static str, program: &Path, args: &[&str]) -> Component {
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
            patience: Duration::from_secs(60),
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
        [program, kubeconfig].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
    }

    fn etcd(&self) -> Component {
        let data = format!("--data-dir={}", self.paths.state.join("etcd").display());
        Component {
            ready: Probe::Http(2379, "/health"),
            keeps_data: true,
            address: "127.0.0.1:2379".into(),
            ..self.component(
                "etcd",
                &self.programs.etcd,
                &[
                    &data,
                    "--unsafe-no-fsync",
                    "--log-level=warn",
                    "--listen-client-urls=http://127.0.0.1:2379",
                    "--advertise-client-urls=http://127.0.0.1:2379",
                    "--listen-peer-urls=http://127.0.0.1:2380",
                ],
            )
        }
    }

    fn api_server(&self) -> Component {
        let mut api_server = self.component(
            "kube-apiserver",
            &self.programs.kube_apiserver,
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=0.0.0.0",
                "--secure-port=6443",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--service-account-issuer=https://kubernetes.default.svc",
                // `kubectl exec` and `logs` go to the node's address.
                "--kubelet-preferred-address-types=InternalIP",
            ],
        );
        let ranges = [
            ("--advertise-address", NODE_ADDRESS.to_owned()),
            ("--service-cluster-ip-range", SERVICE_RANGE.to_owned()),
        ];
        let files = [
            ("--tls-cert-file", "apiserver.crt"),
            ("--tls-private-key-file", "apiserver.key"),
            ("--client-ca-file", "ca.crt"),
            ("--service-account-key-file", "accounts.pub"),
            ("--service-account-signing-key-file", "accounts.key"),
            ("--kubelet-client-certificate", "kubelet-client.crt"),
            ("--kubelet-client-key", "kubelet-client.key"),
        ]
        .map(|(flag, file)| (flag, self.pki(file)));
        api_server
            .args
            .extend(ranges.into_iter().chain(files).map(|(flag, value)| format!("{flag}={value}")));
        Component {
            after: &["etcd"],
            ready: Probe::Command(self.kubectl(&["get", "--raw", "/readyz"]), Some("ok")),
            address: format!("{NODE_ADDRESS}:6443"),
            ..api_server
        }
    }

    fn controller_manager(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("controller-manager.kubeconfig"));
        let key = format!("--service-account-private-key-file={}", self.pki("accounts.key"));
        let root = format!("--root-ca-file={}", self.pki("ca.crt"));
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Tcp(10257),
            ..self.component(
                "kube-controller-manager",
                &self.programs.kube_controller_manager,
                &[
                    &kubeconfig,
                    &key,
                    &root,
                    "--leader-elect=false",
                    "--use-service-account-credentials=true",
                    "--kube-api-qps=100",
                    "--kube-api-burst=200",
                ],
            )
        }
    }

    fn scheduler(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("scheduler.kubeconfig"));
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Tcp(10259),
            ..self.component(
                "kube-scheduler",
                &self.programs.kube_scheduler,
                &[&kubeconfig, "--leader-elect=false", "--kube-api-qps=100", "--kube-api-burst=200"],
            )
        }
    }

    fn containerd(&self) -> Component {
        let config = self.config("containerd.toml");
        let socket = self.paths.containerd_socket();
        let import = [
            text(&self.programs.ctr),
            format!("--address={}", socket.display()),
            "--namespace=k8s.io".into(),
            "images".into(),
            "import".into(),
            text(&self.programs.pause_archive),
        ];
        Component {
            ready: Probe::Socket(socket),
            then: vec![step(&import)],
            ..self.component("containerd", &self.programs.containerd, &["--config", &config])
        }
    }

    fn kubelet(&self) -> Component {
        let config = format!("--config={}", self.config("kubelet.json"));
        let kubeconfig = format!("--kubeconfig={}", self.pki("node.kubeconfig"));
        let node = format!("--hostname-override={NODE}");
        let address = format!("--node-ip={NODE_ADDRESS}");
        let root = format!("--root-dir={}", self.paths.run().join("kubelet").display());
        let certificates = format!("--cert-dir={}", self.paths.run().join("kubelet-pki").display());
        let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} {.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}";
        Component {
            after: &["kube-apiserver", "containerd"],
            ready: Probe::FreshTrue(self.kubectl(&["get", "node", NODE, "-o", condition])),
            patience: Duration::from_secs(120),
            ..self.component(
                "kubelet",
                &self.programs.kubelet,
                &[&config, &kubeconfig, &node, &address, &root, &certificates],
            )
        }
    }

    fn proxy(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("proxy.kubeconfig"));
        let node = format!("--hostname-override={NODE}");
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Http(10256, "/livez"),
            ..self.component(
                "kube-proxy",
                &self.programs.kube_proxy,
                &[
                    &kubeconfig,
                    &node,
                    "--proxy-mode=iptables",
                    "--cluster-cidr=10.244.0.0/16",
                    "--conntrack-max-per-core=0",
                    "--conntrack-tcp-timeout-established=0s",
                    "--conntrack-tcp-timeout-close-wait=0s",
                ],
            )
        }
    }

    fn coredns(&self) -> Component {
        let file = self.config("Corefile");
        let base = self.config("base.json");
        let apply = self.kubectl(&[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=sandbox",
            "--filename",
            &base,
        ]);
        Component {
            after: &["kube-apiserver"],
            prepare: vec![step(&apply)],
            ready: Probe::Http(8181, "/ready"),
            address: format!("{NODE_ADDRESS}:53"),
            ..self.component("coredns", &self.programs.coredns, &["-conf", &file])
        }
    }

    fn temporal(&self) -> Component {
        let namespace = [
            text(&self.programs.temporal),
            "operator".into(),
            "namespace".into(),
            "describe".into(),
            "--address=127.0.0.1:7233".into(),
            "--namespace=default".into(),
            "--command-timeout=3s".into(),
        ];
        Component {
            ready: Probe::Command(namespace.to_vec(), None),
            address: format!("{NODE_ADDRESS}:7233"),
            ..self.component(
                "temporal",
                &self.programs.temporal,
                &[
                    "server",
                    "start-dev",
                    "--ip=0.0.0.0",
                    "--port=7233",
                    "--ui-port=8233",
                    "--metrics-port=7243",
                    "--ui-disable-news-fetch",
                    "--log-format=json",
                    "--log-level=warn",
                ],
            )
        }
    }

    fn postgres(&self, owner: Owner) -> Component {
        let folder = &self.programs.postgres_folder;
        let data = format!("{MOUNTED}/postgres/data");
        let program = |name: &str| text(&folder.join(name));
        let initdb = Step {
            command: [
                &program("initdb"),
                "--no-sync",
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--pgdata",
                &data,
            ]
            .map(str::to_owned)
            .to_vec(),
            owner: Some(owner),
            unless: Some(Path::new(&data).join("PG_VERSION")),
        };
        let sql = |statement: &str| {
            format!("{} -h 127.0.0.1 -U postgres -d postgres -tA -c \"{statement}\"", program("psql"))
        };
        // CREATE DATABASE knows no IF NOT EXISTS.
        let script = format!(
            "set -e\n{} | grep -q 1 || {}\n{} | grep -q 1 || {}\n",
            sql("SELECT 1 FROM pg_roles WHERE rolname = 'orders'"),
            sql("CREATE ROLE orders LOGIN"),
            sql("SELECT 1 FROM pg_database WHERE datname = 'orders'"),
            sql("CREATE DATABASE orders OWNER orders"),
        );
        let hba = format!("hba_file={MOUNTED}/postgres/pg_hba.conf");
        let ready = ["-h", "127.0.0.1", "-U", "postgres", "-d", "postgres", "-c", "SELECT 1"];
        Component {
            prepare: vec![initdb],
            ready: Probe::Command(
                [program("psql")].into_iter().chain(ready.map(str::to_owned)).collect(),
                None,
            ),
            then: vec![step(&["/bin/sh".into(), "-c".into(), script])],
            owner: Some(owner),
            stop: Stop::Interrupt,
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:5432"),
            ..self.component(
                "postgres",
                &folder.join("postgres"),
                &[
                    "-D",
                    &data,
                    "-c",
                    &hba,
                    "-c",
                    "listen_addresses=*",
                    "-c",
                    "unix_socket_directories=",
                    "-c",
                    "max_connections=500",
                    // The data need not survive the machine; the sandbox must be quick.
                    "-c",
                    "fsync=off",
                    "-c",
                    "synchronous_commit=off",
                    "-c",
                    "full_page_writes=off",
                ],
            )
        }
    }

    fn smtp(&self, owner: Owner) -> Component {
        let maildir = format!("{MOUNTED}/mail/Maildir");
        Component {
            ready: Probe::Greeting(2525, "220 "),
            owner: Some(owner),
            address: format!("{NODE_ADDRESS}:2525"),
            ..self.component(
                "smtp",
                &self.programs.python,
                &[
                    "-m",
                    "aiosmtpd",
                    "--nosetuid",
                    "--smtputf8",
                    "--listen",
                    "0.0.0.0:2525",
                    "--class",
                    "aiosmtpd.handlers.Mailbox",
                    &maildir,
                ],
            )
        }
    }

    fn gateway(&self) -> Component {
        let program = self.paths.gateway_program();
        let ledger = format!("--ledger={}", program.with_file_name("ledger.jsonl").display());
        Component {
            ready: Probe::Http(8090, "/livez"),
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:8090"),
            ..self.component(
                "gateway",
                &program,
                // A payment provider does not forget what it charged because it was restarted.
                &["gateway", "--listen=0.0.0.0:8090", &ledger],
            )
        }
    }

    fn discovery(&self) -> Component {
        Component {
            // CoreDNS comes after the base objects, which give the right to see pods.
            after: &["coredns"],
            ready: Probe::File(discovery::targets_file(self.paths)),
            ..self.component(
                "discovery",
                &self.programs.own,
                &["--name", self.paths.name.as_str(), "discover"],
            )
        }
    }

    fn prometheus(&self) -> Component {
        let config = format!("--config.file={}", self.config("prometheus.json"));
        let data = format!("--storage.tsdb.path={}", self.paths.state.join("prometheus").display());
        Component {
            ready: Probe::Http(9090, "/-/ready"),
            keeps_data: true,
            address: format!("{NODE_ADDRESS}:9090"),
            ..self.component(
                "prometheus",
                &self.programs.prometheus,
                &[
                    &config,
                    &data,
                    "--web.listen-address=0.0.0.0:9090",
                    "--storage.tsdb.retention.time=2d",
                    "--log.level=warn",
                ],
            )
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn step(command: &[String]) -> Step {
    Step { command: command.to_vec(), owner: None, unless: None }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all() -> Vec<Component> {
        let paths = Paths { name: "t1".parse().unwrap(), cache: "/c".into(), state: "/s".into() };
        let owners = Owners { postgres: (101, 102), mail: (65534, 65534) };
        cluster(&paths, &Programs::example(), &owners)
    }

    #[test]
    fn a_component_waits_only_for_components_named_before_it() {
        let mut seen = BTreeSet::new();
        for component in all() {
            for needed in component.after {
                assert!(seen.contains(needed), "{} waits for {needed}", component.name);
            }
            assert!(seen.insert(component.name), "{} is there twice", component.name);
        }
        assert_eq!(seen.len(), 14);
    }

    #[test]
    fn every_component_has_something_that_shows_it_is_ready() {
        for component in all() {
            assert_ne!(component.ready, Probe::Tcp(0), "{}", component.name);
        }
    }

    #[test]
    fn what_may_not_be_root_is_not() {
        let owned: Vec<_> =
            all().iter().filter_map(|c| Some((c.name, c.owner?))).collect();
        assert_eq!(owned, [("postgres", (101, 102)), ("smtp", (65534, 65534))]);
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
