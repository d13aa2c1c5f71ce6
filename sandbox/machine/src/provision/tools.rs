//! Programs in Go that are no part of a sandbox, such as those that only tests run. Each is built
//! on first use. Writes to the cache folder.

use std::path::PathBuf;

use crate::{
    error::{Error, Result},
    files::make_folder,
    paths::Paths,
    progress::Progress,
    provision::{go, lock::lock, plan::Module},
    which,
};

/// A program that only the tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Helm 3. The sandbox itself uses Helm 4.
    Helm3,
    /// Checks Grafana dashboards against Grafana's own types.
    Dashboards,
    /// Checks the workflows of GitHub.
    Actionlint,
    /// Installs kubectl plugins. Beside it is what checks their manifests.
    Krew,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Helm3, Self::Dashboards, Self::Actionlint, Self::Krew];

    fn module(self) -> Module {
        macro_rules! files {
            ($module:literal $(, $file:literal)*) => {
                &[
                    ("go.mod", include_str!(concat!("../../modules/", $module, "/go.mod"))),
                    ("go.sum", include_str!(concat!("../../modules/", $module, "/go.sum"))),
                    $(($file, include_str!(concat!("../../modules/", $module, "/", $file))),)*
                ]
            };
        }
        match self {
            Self::Helm3 => Module {
                name: "helm3",
                programs: &[("helm3", "helm.sh/helm/v3/cmd/helm")],
                versioned_by: "helm.sh/helm/v3",
                // Without it Helm calls itself v3.22, and charts see that.
                version_symbol: Some("helm.sh/helm/v3/internal/version.version"),
                files: files!("helm3"),
            },
            Self::Dashboards => Module {
                name: "dashboards",
                programs: &[("dashboards", ".")],
                versioned_by: "github.com/grafana/grafana-foundation-sdk/go",
                version_symbol: None,
                files: files!("dashboards", "main.go"),
            },
            Self::Actionlint => Module {
                name: "actionlint",
                programs: &[("actionlint", "github.com/rhysd/actionlint/cmd/actionlint")],
                versioned_by: "github.com/rhysd/actionlint",
                version_symbol: None,
                files: files!("actionlint"),
            },
            Self::Krew => Module {
                name: "krew",
                programs: &[
                    ("krew", "sigs.k8s.io/krew/cmd/krew"),
                    (
                        "validate-krew-manifest",
                        "sigs.k8s.io/krew/cmd/validate-krew-manifest",
                    ),
                ],
                versioned_by: "sigs.k8s.io/krew",
                version_symbol: None,
                files: files!("krew"),
            },
        }
    }
}

/// Builds a program and those of its module, unless they are there, and returns its path.
pub(crate) fn provision(paths: &Paths, tool: Tool, progress: Progress) -> Result<PathBuf> {
    build(paths, &tool.module(), "which tests run", progress)
}

/// Builds the programs of a module, unless they are there, and returns the path of the one that has
/// its name. `purpose` says in an error what that one is for.
pub(super) fn build(
    paths: &Paths,
    module: &Module,
    purpose: &str,
    progress: Progress,
) -> Result<PathBuf> {
    make_folder(&paths.cache)?;
    let _one_at_a_time = lock(paths, progress)?;
    let folder = module.folder(&paths.cache);
    if folder.is_dir() {
        return Ok(folder.join(module.name));
    }
    if which::find("go").is_none() {
        return Err(Error::Machine(format!(
            "go is not installed, and {}, {purpose}, is built with it; install Go 1.26 or newer \
             (https://go.dev/dl) and add it to PATH",
            module.name
        )));
    }
    let build = go::Build::start(paths, module)?;
    build.programs(progress.step(1, 1, module.label()))?;
    build.finish()?;
    Ok(folder.join(module.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kubernetes_version::KubernetesVersion, provision::plan};

    #[test]
    fn the_tools_are_pinned_and_not_part_of_a_sandbox() {
        let modules = Tool::ALL.map(Tool::module);
        let versions = modules.each_ref().map(|module| {
            assert_eq!(module.programs[0].0, module.name);
            (module.name, module.version())
        });
        let expected = [
            ("helm3", "v3.22.0"),
            ("dashboards", "v0.0.22"),
            ("actionlint", "v1.7.12"),
            ("krew", "v0.4.3"),
        ];
        assert_eq!(versions, expected);
        for module in &modules {
            let mut all = plan::modules(KubernetesVersion::default()).into_iter();
            assert!(all.all(|other| other.name != module.name));
        }
    }
}
