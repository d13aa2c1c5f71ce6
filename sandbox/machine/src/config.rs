//! The configuration files of the components, rendered from the sandbox's paths. Pure, except
//! [`write`], which writes them below the state folder.

use serde_json::{Value, json};

use crate::{
    error::Result,
    files, manifests,
    names::{OPERATOR_RELEASE, PAUSE_IMAGE},
    net::{DNS_SERVICE, NODE_ADDRESS, POD_RANGE},
    paths::Paths,
};

/// The recording rules and alerts of the chart: the sandbox's Prometheus evaluates them as a
/// cluster's would.
const RULES: &str = include_str!("../../../charts/taskqueue-operator/files/rules.yaml");

/// Facts about the machine on which the configuration depends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFacts {
    /// Where `runc` is.
    pub(crate) runc: String,
    /// Where the CNI plugins are.
    pub(crate) cni_plugins: String,
    /// Whether containerd can put overlay file systems on the state folder.
    pub(crate) overlay: bool,
}

/// Writes every configuration file of a cluster and of everything beside it.
pub(crate) fn write(paths: &Paths, host: &HostFacts) -> Result<()> {
    let folder = paths.config();
    files::make_folder(&folder.join("cni"))?;
    let json_files = [
        ("cni/10-pods.conflist", cni()),
        ("kubelet.json", kubelet(paths)),
        ("base.json", manifests::base()),
    ];
    for (file, content) in json_files {
        files::write_json(&folder.join(file), &content)?;
    }
    let text_files = [
        ("containerd.toml", containerd(paths, host)),
        ("Corefile", corefile(paths)),
        ("resolv.conf", format!("nameserver {NODE_ADDRESS}\n")),
    ];
    for (file, content) in text_files {
        files::write_file(&folder.join(file), content.as_bytes())?;
    }
    write_services(paths)
}

/// Writes the configuration files of what runs beside the pods.
pub(crate) fn write_services(paths: &Paths) -> Result<()> {
    let folder = paths.config();
    files::make_folder(&folder)?;
    files::write_json(&folder.join("prometheus.json"), &prometheus(paths))?;
    files::write_file(&folder.join("rules.yaml"), RULES.as_bytes())?;
    files::write_file(&folder.join("pg_hba.conf"), PG_HBA.as_bytes())
}

/// Only the sandbox's own network reaches this server, so it needs no password.
const PG_HBA: &str = "local all all trust\n\
host all all 127.0.0.1/32 trust\n\
host all all 10.250.0.0/24 trust\n\
host all all 10.244.0.0/16 trust\n";

fn containerd(paths: &Paths, host: &HostFacts) -> String {
    let root = paths.state.join("containerd");
    let socket = paths.containerd_socket();
    let cni = paths.config().join("cni");
    let snapshotter = if host.overlay { "overlayfs" } else { "native" };
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "/run/containerd.ttrpc"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  # Some machines lack CAP_SYS_RESOURCE; without this line no pod starts there.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{cni}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = "{runc}"
      SystemdCgroup = false
"#,
        root = root.display(),
        socket = socket.display(),
        cni = cni.display(),
        plugins = host.cni_plugins,
        runc = host.runc,
    )
}

fn cni() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(paths: &Paths) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1",
        "containerRuntimeEndpoint": format!("unix://{}", paths.containerd_socket().display()),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": paths.pki().join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": paths.config().join("resolv.conf"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", paths.cgroup()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        // The sandbox must not evict its images or pods because the disk of the machine is nearly
        // full.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": false,
        "maxPods": 250,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "podLogsDir": paths.run().join("pods"),
    })
}

fn corefile(paths: &Paths) -> String {
    // A name outside the cluster is answered at once with "no such name": nothing outside is
    // reachable, and pods that search through their domains must not wait for it.
    format!(
        "cluster.local:53 in-addr.arpa:53 {{
    bind {NODE_ADDRESS}
    errors
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig} sandbox
        ttl 5
    }}
}}
.:53 {{
    bind {NODE_ADDRESS}
    errors
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig = paths.pki().join("coredns.kubeconfig").display(),
    )
}

fn prometheus(paths: &Paths) -> Value {
    let pods = json!({"files": [paths.targets_file()]});
    json!({
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "5s"},
        "rule_files": [paths.config().join("rules.yaml")],
        "scrape_configs": [
            // A busy Temporal takes seconds to answer, and each scrape costs it time.
            {
                "job_name": "temporal",
                "scrape_interval": "10s",
                "scrape_timeout": "10s",
                "static_configs": [{"targets": ["127.0.0.1:7243"]}],
            },
            // The label `namespace` of the operator's series is the fleet's, as the chart's
            // ServiceMonitor has it.
            {
                "job_name": OPERATOR_RELEASE,
                "honor_labels": true,
                "file_sd_configs": [pods],
                "relabel_configs": [{
                    "action": "keep", "source_labels": ["app"], "regex": OPERATOR_RELEASE,
                }],
            },
            {
                "job_name": "pods",
                "file_sd_configs": [pods],
                "relabel_configs": [{
                    "action": "drop", "source_labels": ["app"], "regex": OPERATOR_RELEASE,
                }],
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn paths() -> Paths {
        Paths {
            name: "t1".parse().unwrap(),
            cache: "/c".into(),
            state: "/s/t1".into(),
        }
    }

    #[test]
    fn everything_that_two_sandboxes_could_share_contains_the_name() {
        let host = HostFacts {
            runc: "/usr/sbin/runc".into(),
            cni_plugins: "/usr/lib/cni".into(),
            overlay: true,
        };
        let containerd = containerd(&paths(), &host);
        assert!(containerd.contains("root = \"/s/t1/containerd\""));
        assert!(containerd.contains("address = \"/s/t1/run/containerd.sock\""));
        assert!(containerd.contains("snapshotter = \"overlayfs\""));
        let kubelet = kubelet(&paths());
        assert_eq!(kubelet["cgroupRoot"], "/taskqueue-sandbox-t1");
        assert_eq!(kubelet["podLogsDir"], "/s/t1/run/pods");
    }

    #[test]
    fn pods_get_the_address_of_the_dns_service() {
        assert_eq!(kubelet(&paths())["clusterDNS"], json!([DNS_SERVICE]));
        assert!(corefile(&paths()).contains("kubeconfig /s/t1/pki/coredns.kubeconfig sandbox"));
    }

    #[test]
    fn coredns_is_built_with_the_plugins_that_the_corefile_names_and_no_other() {
        let corefile = corefile(&paths());
        let named: BTreeSet<&str> = corefile
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let built: BTreeSet<&str> = include_str!("../modules/coredns/main.go")
            .lines()
            .filter_map(|line| line.split_once("github.com/coredns/coredns/plugin/"))
            .map(|(_, plugin)| plugin.trim_end_matches('"'))
            .collect();
        assert_eq!(built, named);
    }

    #[test]
    fn containerd_copies_files_without_overlay_file_systems() {
        let host = HostFacts {
            runc: "/r".into(),
            cni_plugins: "/p".into(),
            overlay: false,
        };
        assert!(containerd(&paths(), &host).contains("snapshotter = \"native\""));
    }

    #[test]
    fn coredns_has_the_plugins_that_its_configuration_names_and_no_other() {
        let program = include_str!("../modules/coredns/main.go");
        let built: BTreeSet<&str> = program
            .lines()
            .filter_map(|line| line.split_once("/coredns/plugin/"))
            .map(|(_, name)| name.trim_end_matches('"'))
            .collect();
        let corefile = corefile(&paths());
        let named: BTreeSet<&str> = corefile
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(char::is_alphabetic))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(built, named);
    }

    #[test]
    fn prometheus_scrapes_temporal_and_the_annotated_pods() {
        let config = prometheus(&paths());
        let jobs: Vec<_> = config["scrape_configs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["job_name"].as_str().unwrap())
            .collect();
        assert_eq!(jobs, ["temporal", "taskqueue-operator", "pods"]);
    }
}
