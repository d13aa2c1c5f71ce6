//! Builds images without a network and without an engine: buildah with its own storage. Writes to
//! the cache folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    files::{make_folder, remove_folder, write_file},
    paths::Paths,
    run, which,
};

/// An image to be built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'a> {
    /// The Dockerfile.
    pub(crate) file: &'a Path,
    /// The folder that it copies from.
    pub(crate) context: &'a Path,
    /// The stage, if the file has several.
    pub(crate) target: Option<&'a str>,
    /// Repository and tag.
    pub(crate) name: &'a str,
    /// The root of the image that the last stage begins from (`ARG BASE`); `None` = the default of
    /// the Dockerfile.
    pub(crate) base: Option<&'a Path>,
    /// What replaces the stage `build`; `None` = the file has no such stage.
    pub(crate) build: Option<&'a Path>,
}

/// The image that [`Image::base`] becomes.
const BASE: &str = "localhost/base";

/// Builds an image and writes it to an archive that `ctr images import` and `docker load` read.
pub(crate) fn archive(paths: &Paths, image: Image<'_>, archive: &Path) -> Result<()> {
    let storage = Storage::open(paths)?;
    storage.build(image)?;
    remove_file(archive);
    let destination = format!("docker-archive:{}:{}", archive.display(), image.name);
    storage.run(&["push", "--quiet", image.name, &destination])
}

/// Builds an image and pushes it to `destination` (for example
/// `registry.example.com/team/order-worker:0.1.0`).
pub(crate) fn push(paths: &Paths, image: Image<'_>, destination: &str, tls: bool) -> Result<()> {
    let storage = Storage::open(paths)?;
    storage.build(image)?;
    let verify = format!("--tls-verify={tls}");
    storage.run(&[
        "push",
        "--quiet",
        &verify,
        image.name,
        &format!("docker://{destination}"),
    ])
}

fn remove_file(file: &Path) {
    // If the file is still there, the error of the push that follows is clearer.
    drop(std::fs::remove_file(file));
}

/// Storage for one build, removed afterwards: an image is one binary, so nothing can be reused.
struct Storage {
    program: PathBuf,
    folder: PathBuf,
}

impl Storage {
    fn open(paths: &Paths) -> Result<Self> {
        let program = which::find("buildah").ok_or_else(|| {
            Error::Machine("buildah is not installed; install your distribution's package".into())
        })?;
        let folder = paths
            .cache
            .join(format!("buildah.{}.tmp", std::process::id()));
        make_folder(&folder)?;
        Ok(Self { program, folder })
    }

    fn build(&self, image: Image<'_>) -> Result<()> {
        let mut replaced = Vec::new();
        if let Some(root) = image.base {
            self.base(root)?;
            replaced.push(format!("--build-arg=BASE={BASE}"));
        }
        if let Some(folder) = image.build {
            replaced.push(format!("--build-context=build={}", folder.display()));
        }
        let mut args = vec!["build", "--quiet", "--isolation=chroot"];
        // The same binary always gives the same image.
        args.extend(["--timestamp=0", "--format=docker", "--tag", image.name]);
        if let Some(target) = image.target {
            args.extend(["--target", target]);
        }
        args.extend(replaced.iter().map(String::as_str));
        let (file, context) = (
            image.file.display().to_string(),
            image.context.display().to_string(),
        );
        args.extend(["--file", &file, &context]);
        self.run(&args)
    }

    /// Makes the image [`BASE`] of a folder.
    fn base(&self, root: &Path) -> Result<()> {
        let file = self.folder.join("base.Dockerfile");
        write_file(&file, b"FROM scratch\nCOPY . /\n")?;
        self.build(Image {
            file: &file,
            context: root,
            target: None,
            name: BASE,
            base: None,
            build: None,
        })
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("--root")
            .arg(self.folder.join("root"))
            .arg("--runroot")
            .arg(self.folder.join("run"))
            .args(["--storage-driver", "vfs"])
            .args(args);
        run::output(&mut command).map(drop)
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        drop(remove_folder(&self.folder));
    }
}
