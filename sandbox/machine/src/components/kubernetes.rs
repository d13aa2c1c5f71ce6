//! The components of Kubernetes itself. Pure.

use std::time::Duration;

use crate::{
    components::{Build, Component, readiness::Probe, step, text},
    names::NODE,
    net::{NODE_ADDRESS, SERVICE_RANGE},
};

impl Build<'_> {
    pub(super) fn etcd(&self) -> Component {
        let data = format!("--data-dir={}", self.paths.state.join("etcd").display());
        Component {
            ready: Probe::Http(2379, "/health"),
            keeps_data: true,
            address: "127.0.0.1:2379".into(),
            ..Self::component(
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

    pub(super) fn api_server(&self) -> Component {
        let mut api_server = Self::component(
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
        api_server.args.extend(
            ranges
                .into_iter()
                .chain(files)
                .map(|(flag, value)| format!("{flag}={value}")),
        );
        Component {
            after: &["etcd"],
            ready: Probe::Command(self.kubectl(&["get", "--raw", "/readyz"]), Some("ok")),
            address: format!("{NODE_ADDRESS}:6443"),
            ..api_server
        }
    }

    pub(super) fn controller_manager(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("controller-manager.kubeconfig"));
        let key = format!(
            "--service-account-private-key-file={}",
            self.pki("accounts.key")
        );
        let root = format!("--root-ca-file={}", self.pki("ca.crt"));
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Tcp(10257),
            ..Self::component(
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

    pub(super) fn scheduler(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("scheduler.kubeconfig"));
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Tcp(10259),
            ..Self::component(
                "kube-scheduler",
                &self.programs.kube_scheduler,
                &[
                    &kubeconfig,
                    "--leader-elect=false",
                    "--kube-api-qps=100",
                    "--kube-api-burst=200",
                ],
            )
        }
    }

    pub(super) fn containerd(&self) -> Component {
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
            ..Self::component(
                "containerd",
                &self.programs.containerd,
                &["--config", &config],
            )
        }
    }

    pub(super) fn kubelet(&self) -> Component {
        let config = format!("--config={}", self.config("kubelet.json"));
        let kubeconfig = format!("--kubeconfig={}", self.pki("node.kubeconfig"));
        let node = format!("--hostname-override={NODE}");
        let address = format!("--node-ip={NODE_ADDRESS}");
        let root = format!("--root-dir={}", self.paths.run().join("kubelet").display());
        let certificates = format!(
            "--cert-dir={}",
            self.paths.run().join("kubelet-pki").display()
        );
        let condition = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status} \
                         {.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}";
        Component {
            after: &["kube-apiserver", "containerd"],
            ready: Probe::FreshTrue(self.kubectl(&["get", "node", NODE, "-o", condition])),
            timeout: Duration::from_mins(2),
            ..Self::component(
                "kubelet",
                &self.programs.kubelet,
                &[&config, &kubeconfig, &node, &address, &root, &certificates],
            )
        }
    }

    pub(super) fn proxy(&self) -> Component {
        let kubeconfig = format!("--kubeconfig={}", self.pki("proxy.kubeconfig"));
        let node = format!("--hostname-override={NODE}");
        Component {
            after: &["kube-apiserver"],
            ready: Probe::Http(10256, "/livez"),
            ..Self::component(
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

    pub(super) fn coredns(&self) -> Component {
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
            ..Self::component("coredns", &self.programs.coredns, &["-conf", &file])
        }
    }
}
