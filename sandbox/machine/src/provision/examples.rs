//! Builds what the images of `examples/workers` are made of, on this machine instead of in the
//! stage `build` of their Dockerfiles: an image is built without a network. Writes to the cache
//! folder, never to the checkout.

mod debian;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::{
    checkout::checkout,
    error::{Attempt, Error, Result},
    files::{make_folder, remove_folder},
    paths::Paths,
    progress::{Progress, Step},
    provision::{apt, lock::lock},
    run, which,
};

pub(crate) use table::{Example, GO, JAVA, PYTHON, TYPESCRIPT};

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// The files of the example: the context of the build.
    pub(crate) context: PathBuf,
    /// What the stage `build` of its Dockerfile would make.
    pub(crate) build: PathBuf,
    /// The root of the image that it is based on; `None` = the Dockerfile's default.
    pub(crate) base: Option<PathBuf>,
    /// The tag of its image, which changes with everything above.
    pub(crate) tag: String,
}

/// Builds what is missing of an example. The machine has been provisioned.
pub(crate) fn provision(paths: &Paths, example: &Example, progress: Progress) -> Result<Built> {
    make_folder(&paths.cache)?;
    let _one_at_a_time = lock(paths, progress)?;
    let source = checkout()?.join("examples/workers").join(example.folder);
    let tag = hash(example, &source)?;
    let base = match example.base {
        [] => None,
        packages => Some(debian::root(paths, packages, progress)?),
    };
    let folder = paths
        .cache
        .join("bin")
        .join(format!("example-{}-{tag}", example.folder));
    if !folder.is_dir() {
        let missing = apt::missing_of(example.packages);
        if !missing.is_empty() {
            apt::install(&missing, progress.step(1, 1, "packages"))?;
        }
        build(
            example,
            &source,
            &folder,
            progress.step(1, 1, example.folder),
        )?;
    }
    Ok(Built {
        context: folder.join("context"),
        build: folder.join("build"),
        base,
        tag,
    })
}

/// Changes with everything that the image depends on, except for the versions of Debian's packages.
fn hash(example: &Example, source: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut add = |part: &[u8]| {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    };
    for name in example.files {
        let file = source.join(name);
        add(name.as_bytes());
        add(&fs::read(&file).attempt(|| format!("reading {}", file.display()))?);
    }
    let commands = example.commands.iter().flat_map(|command| command.iter());
    for word in example.base.iter().chain(commands) {
        add(word.as_bytes());
    }
    Ok(hex::encode(&hasher.finalize()[..6]))
}

/// Runs the example's commands in a copy of its files. The folder gets its final name when it is
/// complete.
fn build(example: &Example, source: &Path, finished: &Path, mut step: Step) -> Result<()> {
    let unfinished = finished.with_extension("tmp");
    let (context, build) = (unfinished.join("context"), unfinished.join("build"));
    let work = unfinished.join("work");
    remove_folder(&unfinished)?;
    make_folder(&build)?;
    for name in example.files {
        copy(&source.join(name), &context.join(name))?;
        copy(&source.join(name), &work.join(name))?;
    }
    for command in example.commands {
        step.update(&command.join(" "));
        run_in(&work, &build, command)?;
    }
    remove_folder(&work)?;
    fs::rename(&unfinished, finished).attempt(|| format!("naming {}", finished.display()))?;
    step.done("built");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to)
        .map(drop)
        .attempt(|| format!("copying {}", from.display()))
}

/// Runs one command of the table, in which `{work}` and `{build}` are folders.
fn run_in(work: &Path, build: &Path, command: &[&str]) -> Result<()> {
    let mut words = command.iter().map(|word| {
        word.replace("{work}", &work.to_string_lossy())
            .replace("{build}", &build.to_string_lossy())
    });
    let program = words.next().unwrap_or_default();
    if !program.starts_with('/') && which::find(&program).is_none() {
        return Err(Error::Machine(format!(
            "{program} is not installed, and an example worker is built with it; install it and \
             put it into PATH"
        )));
    }
    run::output(
        Command::new(&program)
            .args(words)
            .current_dir(work)
            .env("CGO_ENABLED", "0")
            .env("GOWORK", "off"),
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_has_the_files_of_its_image() {
        for example in [&GO, &PYTHON, &TYPESCRIPT, &JAVA] {
            let source = checkout()
                .unwrap()
                .join("examples/workers")
                .join(example.folder);
            assert!(example.files.contains(&"Dockerfile"), "{}", example.folder);
            assert_eq!(hash(example, &source).unwrap().len(), 12);
        }
    }

    #[test]
    fn a_command_runs_in_its_folder_and_knows_where_to_write() {
        let folder = tempfile::tempdir().unwrap();
        let (work, build) = (folder.path().join("work"), folder.path().join("build"));
        make_folder(&work).unwrap();
        make_folder(&build).unwrap();
        fs::write(work.join("a"), "content").unwrap();
        run_in(&work, &build, &["cp", "a", "{build}/b"]).unwrap();
        assert_eq!(fs::read(build.join("b")).unwrap(), b"content");
        let error = run_in(&work, &build, &["no-such-program"]).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}
