//! Builds the pinned Go programs. Runs `go` in a temporary folder of the cache, which gets
//! its final name only when the build is complete.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    error::{Attempt, Error, Result, last_lines},
    files::{make_folder, remove_folder, write_file},
    paths::Paths,
    progress::Step,
    provision::plan::Module,
    run::{self, TAIL},
};

/// The compiler spends much of its time on debug information, which the linker leaves out (`-w`).
/// Without it the programs are the same, so the names of their folders do not depend on it.
const NO_DEBUG_INFORMATION: &str = "-gcflags=all=-dwarf=false";

/// A module that is being built.
pub(super) struct Build<'a> {
    module: &'a Module,
    source: PathBuf,
    unfinished: PathBuf,
    finished: PathBuf,
}

impl<'a> Build<'a> {
    /// Lays out the module's sources.
    pub(super) fn start(paths: &Paths, module: &'a Module) -> Result<Self> {
        let finished = module.folder(&paths.cache);
        let source = finished.with_extension("src.tmp");
        let unfinished = finished.with_extension("bin.tmp");
        for folder in [&source, &unfinished] {
            remove_folder(folder)?;
            make_folder(folder)?;
        }
        for (name, content) in module.files {
            write_file(&source.join(name), content.as_bytes())?;
        }
        Ok(Self {
            module,
            source,
            unfinished,
            finished,
        })
    }

    /// Where the programs are until the build is finished.
    pub(super) fn folder(&self) -> &Path {
        &self.unfinished
    }

    /// Where the module's sources are until then.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }

    /// Downloads what the programs are made of. Done before [`Self::programs`], it only saves time.
    pub(super) fn download(&self) -> Result<()> {
        self.list().map(drop)
    }

    /// Builds the module's programs, all with one command: while one is linked, packages of the
    /// others are compiled.
    pub(super) fn programs(&self, mut step: Step) -> Result<()> {
        step.update("listing its packages");
        let total = self.list()?;
        let mut command = self.go();
        command.args(["build", "-v"]).args(self.module.flags());
        command.arg("-o").arg(match self.module.programs {
            [(name, _)] => self.unfinished.join(name),
            // Go names them after their packages.
            _ => self.unfinished.clone(),
        });
        command.arg(NO_DEBUG_INFORMATION).args(self.package_paths());
        let what = run::describe(&command);
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .attempt(|| format!("starting {what}"))?;
        let mut printed = Vec::new();
        if let Some(errors) = child.stderr.take() {
            // With -v, go prints the name of each package that it compiles.
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                printed.push(line);
                step.update(&format!(
                    "{} of up to {total} packages compiled",
                    printed.len()
                ));
            }
        }
        let status = child.wait().attempt(|| format!("waiting for {what}"))?;
        if !status.success() {
            let tail = last_lines(&printed.join("\n"), TAIL);
            return Err(Error::Command {
                what,
                why: status.to_string(),
                tail,
            });
        }
        let compiled = match printed.len() {
            0 => "found in Go's build cache".to_owned(),
            number => format!("{number} packages compiled"),
        };
        step.done(&compiled);
        Ok(())
    }

    /// Gives the folder its final name.
    pub(super) fn finish(&self) -> Result<()> {
        remove_folder(&self.source)?;
        fs::rename(&self.unfinished, &self.finished)
            .attempt(|| format!("renaming a new file to {}", self.finished.display()))
    }

    /// Counts the packages that the programs are made of. Downloads those that are missing.
    fn list(&self) -> Result<usize> {
        let mut command = self.go();
        command.args(["list", "-deps"]).args(self.package_paths());
        Ok(run::output(&mut command)?.lines().count())
    }

    fn package_paths(&self) -> impl Iterator<Item = &'static str> {
        self.module.programs.iter().map(|(_, package)| *package)
    }

    fn go(&self) -> Command {
        let mut command = Command::new("go");
        command.current_dir(&self.source).stdin(Stdio::null());
        command
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly");
        command
    }
}
