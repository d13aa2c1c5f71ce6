//! The paths of all programs that the sandbox runs. Reads the file system, starts nothing.

#[cfg(test)]
use std::path::Path;
use std::path::PathBuf;

use crate::{
    error::{Attempt, Result},
    kubernetes_version::KubernetesVersion,
    paths::Paths,
    provision::plan::{self, Module},
    which,
};

/// The programs, each as an absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// This program.
    pub own: PathBuf,
    /// The store of the Kubernetes API.
    pub etcd: PathBuf,
    /// The Kubernetes API.
    pub kube_apiserver: PathBuf,
    /// The controllers of Kubernetes.
    pub kube_controller_manager: PathBuf,
    /// Puts pods on nodes.
    pub kube_scheduler: PathBuf,
    /// The node's agent.
    pub kubelet: PathBuf,
    /// Makes Services reachable.
    pub kube_proxy: PathBuf,
    /// The command line of Kubernetes.
    pub kubectl: PathBuf,
    /// Runs containers.
    pub containerd: PathBuf,
    /// The command line of containerd.
    pub ctr: PathBuf,
    /// The cluster's DNS.
    pub coredns: PathBuf,
    /// Installs charts.
    pub helm: PathBuf,
    /// Checks manifests against schemas.
    pub kubeconform: PathBuf,
    /// The archive of the image of the process that holds a pod's namespaces.
    pub pause_archive: PathBuf,
    /// Temporal's command line and development server.
    pub temporal: PathBuf,
    /// The folder of PostgreSQL's programs.
    pub postgres_folder: PathBuf,
    /// The Python that has aiosmtpd.
    pub python: PathBuf,
    /// Prometheus.
    pub prometheus: PathBuf,
    /// Checks rules and configurations of Prometheus.
    pub promtool: PathBuf,
    /// Starts containers.
    pub runc: PathBuf,
    /// The folder of the CNI plugins.
    pub cni_folder: PathBuf,
    /// Builds images.
    pub buildah: PathBuf,
}

impl Programs {
    /// Where the programs are once provisioning is done, for the version of Kubernetes that was
    /// chosen for this sandbox. Does not check that they are there.
    pub fn locate(paths: &Paths) -> Result<Self> {
        let modules = plan::modules(KubernetesVersion::read(paths)?);
        let built = |module: &str, program: &str| {
            modules
                .iter()
                .find(|candidate| candidate.name == module)
                .map_or_else(PathBuf::new, |found: &Module| {
                    found.folder(&paths.cache).join(program)
                })
        };
        // What is missing here is either installed by `up` or not needed by this sandbox.
        let system = |program: &str| which::find(program).unwrap_or_else(|| program.into());
        let own = std::env::current_exe().attempt(|| "finding the sandbox's own program".into())?;
        Ok(Self {
            own,
            etcd: built("etcd", "etcd"),
            kube_apiserver: built("kubernetes", "kube-apiserver"),
            kube_controller_manager: built("kubernetes", "kube-controller-manager"),
            kube_scheduler: built("kubernetes", "kube-scheduler"),
            kubelet: built("kubernetes", "kubelet"),
            kube_proxy: built("kubernetes", "kube-proxy"),
            kubectl: built("kubectl", "kubectl"),
            containerd: built("containerd", "containerd"),
            ctr: built("containerd", "ctr"),
            coredns: built("coredns", "coredns"),
            helm: built("helm", "helm"),
            kubeconform: built("kubeconform", "kubeconform"),
            pause_archive: built("pause", "pause.tar"),
            temporal: plan::temporal_folder(&paths.cache).join("temporal"),
            postgres_folder: which::postgres_folder()
                .unwrap_or_else(|| "/usr/lib/postgresql/bin".into()),
            python: PathBuf::from(plan::PYTHON),
            prometheus: system("prometheus"),
            promtool: system("promtool"),
            runc: system("runc"),
            cni_folder: PathBuf::from(plan::CNI_FOLDER),
            buildah: system("buildah"),
        })
    }

    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let program = |name: &str| Path::new("/bin").join(name);
        Self {
            own: program("sandbox"),
            etcd: program("etcd"),
            kube_apiserver: program("kube-apiserver"),
            kube_controller_manager: program("kube-controller-manager"),
            kube_scheduler: program("kube-scheduler"),
            kubelet: program("kubelet"),
            kube_proxy: program("kube-proxy"),
            kubectl: program("kubectl"),
            containerd: program("containerd"),
            ctr: program("ctr"),
            coredns: program("coredns"),
            helm: program("helm"),
            kubeconform: program("kubeconform"),
            pause_archive: program("pause.tar"),
            temporal: program("temporal"),
            postgres_folder: "/bin".into(),
            python: program("python3"),
            prometheus: program("prometheus"),
            promtool: program("promtool"),
            runc: program("runc"),
            cni_folder: "/bin".into(),
            buildah: program("buildah"),
        }
    }
}
