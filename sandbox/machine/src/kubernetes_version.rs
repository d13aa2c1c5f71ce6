//! The versions of Kubernetes that a sandbox's own cluster can have. Reads and writes one file of
//! the state.

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    files,
    paths::{Name, Paths},
};

/// A minor version of Kubernetes. The patch is pinned in `modules/kubernetes-VERSION/go.mod`. All
/// of them know every flag and every field that the sandbox sets, so they differ in nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum KubernetesVersion {
    /// The oldest that the operator supports.
    #[value(name = "1.31")]
    #[serde(rename = "1.31")]
    V1_31,
    /// The one whose API the operator is compiled for. The default.
    #[default]
    #[value(name = "1.36")]
    #[serde(rename = "1.36")]
    V1_36,
    /// The newest.
    #[value(name = "1.37")]
    #[serde(rename = "1.37")]
    V1_37,
}

impl KubernetesVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 3] = [Self::V1_31, Self::V1_36, Self::V1_37];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_31 => "1.31",
            Self::V1_36 => "1.36",
            Self::V1_37 => "1.37",
        }
    }

    /// Returns an error if the sandbox has a cluster of another version than the wanted one: the
    /// data of one version need not be readable for another.
    pub(crate) fn check_change(self, name: &Name, wanted: Self, has_cluster: bool) -> Result<()> {
        if self == wanted || !has_cluster {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "the sandbox {:?} has a cluster of Kubernetes {}; choose another --name for Kubernetes \
             {}, or remove that cluster with `cargo sandbox --name {name} clean`",
            name.as_str(),
            self.name(),
            wanted.name()
        )))
    }

    /// The version that was chosen for this sandbox; without a choice, the default.
    pub(crate) fn read(paths: &Paths) -> Result<Self> {
        Ok(files::read_json(&paths.kubernetes_version_file())?.unwrap_or_default())
    }

    /// Chooses the version for this sandbox.
    pub(crate) fn write(self, paths: &Paths) -> Result<()> {
        files::write_json(&paths.kubernetes_version_file(), &self)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_has_one_name_on_the_command_line_and_in_the_state() {
        for version in KubernetesVersion::ALL {
            assert_eq!(
                KubernetesVersion::from_str(version.name(), false),
                Ok(version)
            );
            assert_eq!(json!(version), json!(version.name()));
        }
        assert_eq!(KubernetesVersion::value_variants(), KubernetesVersion::ALL);
    }

    #[test]
    fn a_cluster_that_is_there_keeps_its_version() {
        let name: Name = "t1".parse().unwrap();
        let (old, new) = (KubernetesVersion::V1_31, KubernetesVersion::V1_36);
        let check = |wanted, has_cluster| old.check_change(&name, wanted, has_cluster);
        assert!(check(old, true).is_ok());
        assert!(check(new, false).is_ok());
        assert_eq!(
            check(new, true).unwrap_err().to_string(),
            "the sandbox \"t1\" has a cluster of Kubernetes 1.31; choose another --name for \
             Kubernetes 1.36, or remove that cluster with `cargo sandbox --name t1 clean`"
        );
    }

    #[test]
    fn a_sandbox_keeps_the_version_that_was_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths {
            name: "t1".parse().unwrap(),
            cache: "/c".into(),
            state: folder.path().to_owned(),
        };
        let read = || KubernetesVersion::read(&paths).unwrap();
        assert_eq!(read(), KubernetesVersion::V1_36);
        KubernetesVersion::V1_31.write(&paths).unwrap();
        assert_eq!(read(), KubernetesVersion::V1_31);
    }
}
