//! Builds images without a network and without an engine: buildah with its own storage. Writes to
//! the cache folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    architecture::Architecture,
    error::{Error, Result},
    files::{make_folder, remove_folder, write_file},
    paths::Paths,
    run, which,
};

/// An image to be built.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    /// The Dockerfile.
    pub file: &'a Path,
    /// The folder that it copies from.
    pub context: &'a Path,
    /// The stage, if the file has several.
    pub target: Option<&'a str>,
    /// Repository and tag.
    pub name: &'a str,
    /// The root of the image that the last stage begins from (`ARG BASE`); `None` = the default of
    /// the Dockerfile.
    pub base: Option<&'a Path>,
    /// What replaces the stage `build`; `None` = the file has no such stage.
    pub build: Option<&'a Path>,
}

/// What images of several architectures have in common.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// The architectures.
    pub architectures: &'a [Architecture],
    /// Labels beside those of the Dockerfile, by name.
    pub labels: &'a [(&'a str, &'a str)],
    /// The time in the image and of its files, in seconds since 1970.
    pub created: u64,
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

/// Builds an image for each architecture, and writes them with an index to one OCI archive. The
/// same files always give the same archive, up to the times in its tar headers.
pub fn oci_archive(
    paths: &Paths,
    image: Image<'_>,
    published: Published<'_>,
    archive: &Path,
) -> Result<()> {
    const INDEX: &str = "localhost/index";
    let storage = Storage::open(paths)?;
    for architecture in published.architectures {
        let mut extra = vec![
            "--format=oci".to_owned(),
            format!("--timestamp={}", published.created),
            format!("--manifest={INDEX}"),
            format!("--arch={}", architecture.name()),
            format!("--build-arg=TARGETARCH={}", architecture.name()),
        ];
        let labels = published.labels.iter();
        extra.extend(labels.map(|(name, value)| format!("--label={name}={value}")));
        storage.build_with(image, &extra)?;
    }
    remove_file(archive);
    let destination = format!("oci-archive:{}:{}", archive.display(), image.name);
    storage.run(&["manifest", "push", "--quiet", "--all", INDEX, &destination])
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

/// The storage of builds that were killed, if no build is running.
pub(crate) fn unfinished(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    let storage = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(STORAGE) && name.ends_with(".tmp")
    });
    storage.map(|entry| entry.path()).collect()
}

/// What the name of a [`Storage`] begins with.
const STORAGE: &str = "buildah.";

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
            .join(format!("{STORAGE}{}.tmp", std::process::id()));
        make_folder(&folder)?;
        Ok(Self { program, folder })
    }

    /// Builds for this machine, in the format that `docker load` reads.
    fn build(&self, image: Image<'_>) -> Result<()> {
        let architecture = Architecture::HOST.name();
        // The same binary always gives the same image.
        let extra = [
            "--timestamp=0".to_owned(),
            "--format=docker".to_owned(),
            format!("--build-arg=TARGETARCH={architecture}"),
            format!("--tag={}", image.name),
        ];
        self.build_with(image, &extra)
    }

    fn build_with(&self, image: Image<'_>, extra: &[String]) -> Result<()> {
        let mut replaced = Vec::new();
        if let Some(root) = image.base {
            self.base(root)?;
            replaced.push(format!("--build-arg=BASE={BASE}"));
        }
        if let Some(folder) = image.build {
            replaced.push(format!("--build-context=build={}", folder.display()));
        }
        let mut args = vec!["build", "--quiet", "--isolation=chroot"];
        if let Some(target) = image.target {
            args.extend(["--target", target]);
        }
        args.extend(replaced.iter().chain(extra).map(String::as_str));
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

#[cfg(test)]
mod tests {
    use super::unfinished;

    #[test]
    fn only_the_storage_of_builds_is_unfinished() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["buildah.17.tmp", "buildah-1.40", "temporal.tmp", "bin"] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
        }
        assert_eq!(
            unfinished(cache.path()),
            [cache.path().join("buildah.17.tmp")]
        );
    }
}
