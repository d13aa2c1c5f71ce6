//! Builds the pinned Go programs. Runs `go build` in a temporary folder of the cache, which gets
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

    /// Builds one program.
    pub(super) fn program(&self, name: &str, package: &str, mut step: Step) -> Result<()> {
        step.update("listing its packages");
        let total = self.packages(package)?;
        let mut command = self.go();
        command.args(["build", "-v"]).args(self.module.flags());
        command
            .arg("-o")
            .arg(self.unfinished.join(name))
            .arg(package);
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
    pub(super) fn finish(self) -> Result<()> {
        remove_folder(&self.source)?;
        fs::rename(&self.unfinished, &self.finished)
            .attempt(|| format!("renaming a new file to {}", self.finished.display()))
    }

    fn packages(&self, package: &str) -> Result<usize> {
        let listed = run::output(self.go().args(["list", "-deps", package]))?;
        Ok(listed.lines().count())
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
