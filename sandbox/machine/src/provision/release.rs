//! Installs what a release needs beside cargo, rustup and Go: compilers, buildah and an emulator
//! from the distribution, and Helm. Writes to the cache folder; installs packages.

use std::path::PathBuf;

use crate::{
    architecture::Architecture,
    error::{Error, Result},
    files::make_folder,
    kubernetes_version::KubernetesVersion,
    paths::Paths,
    progress::Progress,
    provision::{apt, lock::lock, packages::Package, plan, tools},
    which,
};

/// Installs the packages that a release for these architectures needs, and returns where Helm is:
/// `HELM` of the environment, or else the pinned version, which is built once. `compiles` tells
/// whether the programs are still to be compiled.
pub fn provision(
    paths: &Paths,
    architectures: &[Architecture],
    compiles: bool,
    progress: Progress,
) -> Result<PathBuf> {
    if which::find("go").is_none() {
        return Err(Error::Machine(
            "go is not installed, and the quick start's worker is built with it; install Go 1.26 \
             or newer (https://go.dev/dl) and add it to PATH"
                .into(),
        ));
    }
    make_folder(&paths.cache)?;
    let needed = packages(
        architectures,
        Architecture::HOST,
        compiles,
        |architecture| architecture.runner().is_some(),
    );
    if !apt::missing_of(&needed).is_empty() {
        let _one_at_a_time = lock(paths, progress)?;
        // Another command may have installed some meanwhile.
        let missing = apt::missing_of(&needed);
        if !missing.is_empty() {
            apt::install(&missing, progress.step(1, 1, "packages"))?;
        }
    }
    helm(paths, progress)
}

/// Helm: of the environment, or the pinned version. Never the one of the machine: what a release
/// contains must not depend on where it is made.
fn helm(paths: &Paths, progress: Progress) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("HELM") {
        return Ok(named.into());
    }
    let modules = plan::modules(KubernetesVersion::read(paths)?);
    let module = modules.iter().find(|module| module.name == "helm");
    let module = module.ok_or_else(|| Error::Machine("no module builds helm".into()))?;
    let built = module.folder(&paths.cache).join(module.name);
    if built.is_file() {
        return Ok(built);
    }
    tools::build(paths, module, "which packs the chart", progress)
}

/// What comes from the distribution. `runs` tells whether this machine can run programs of an
/// architecture.
fn packages(
    architectures: &[Architecture],
    host: Architecture,
    compiles: bool,
    runs: impl Fn(Architecture) -> bool,
) -> Vec<Package> {
    let mut packages = vec![
        Package {
            package: "git",
            shown_by: "git",
        },
        Package {
            package: "ca-certificates",
            shown_by: "/etc/ssl/certs/ca-certificates.crt",
        },
        Package {
            package: "buildah",
            shown_by: "buildah",
        },
    ];
    for &architecture in architectures {
        if compiles {
            let [c_compiler, c_library] = architecture.compiler_packages(host);
            packages.push(Package {
                package: c_compiler,
                shown_by: architecture.compiler(host),
            });
            packages.push(Package {
                package: c_library,
                shown_by: architecture.c_header(host),
            });
        }
        if !runs(architecture) {
            packages.push(Package {
                package: "qemu-user",
                shown_by: architecture.emulator(),
            });
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;
    use Architecture::{Amd64, Arm64};

    #[test]
    fn another_architecture_needs_its_compiler_and_an_emulator() {
        let names = |architectures: &[Architecture], compiles| -> Vec<&str> {
            packages(architectures, Amd64, compiles, |it| it == Amd64)
                .into_iter()
                .map(|package| package.package)
                .collect()
        };
        let always = ["git", "ca-certificates", "buildah"];
        let native = ["gcc", "libc6-dev"];
        let cross = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
        assert_eq!(names(&[Amd64], false), always);
        assert_eq!(names(&[Amd64], true), [&always[..], &native].concat());
        assert_eq!(
            names(&[Amd64, Arm64], true),
            [&always[..], &native, &cross, &["qemu-user"]].concat()
        );
        assert_eq!(
            names(&[Arm64], false),
            [&always[..], &["qemu-user"]].concat()
        );
    }
}
