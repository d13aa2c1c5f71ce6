//! Where the binaries of the project's images come from. Starts cargo.

use std::path::{Path, PathBuf};

use crate::{
    cargo::{self, cargo},
    checkout::checkout,
    error::Result,
    image::Image,
    progress::Progress,
};

/// The binaries of images.
#[derive(Debug)]
pub struct ImageBinaries {
    images: Vec<Image>,
    from: Source,
}

#[derive(Debug)]
enum Source {
    Folder(PathBuf),
    Cargo(cargo::Build),
}

impl ImageBinaries {
    /// Finished static binaries in a folder. Without one, cargo begins to build them with the
    /// development profile, and goes on beside what the caller does next; if the value is dropped,
    /// it is stopped.
    pub fn of(images: &[Image], folder: Option<&Path>, progress: Progress) -> Result<Self> {
        let from = if let Some(folder) = folder {
            Source::Folder(folder.to_owned())
        } else {
            progress.say("building the binaries of the images with cargo meanwhile");
            Source::Cargo(start(images)?)
        };
        Ok(Self {
            images: images.to_vec(),
            from,
        })
    }

    /// The images.
    pub(crate) fn images(&self) -> &[Image] {
        &self.images
    }

    /// Waits until the binaries are there, and returns their paths, in the order of the images.
    pub(crate) fn paths(self, progress: Progress) -> Result<Vec<PathBuf>> {
        match self.from {
            Source::Folder(folder) => Ok(self
                .images
                .iter()
                .map(|image| folder.join(image.binary()))
                .collect()),
            Source::Cargo(build) => {
                let mut step = progress.step(1, 1, "binaries of the images");
                let mut number = 0;
                let paths = build.finish(|compiled| {
                    number = compiled;
                    step.update(&format!("{compiled} crates compiled"));
                })?;
                step.done(&format!("{number} crates compiled"));
                Ok(paths)
            }
        }
    }
}

/// Starts cargo with the features of the whole workspace, so that the tests can reuse every
/// dependency. It says nothing but errors and warnings: other work reports its own progress.
fn start(images: &[Image]) -> Result<cargo::Build> {
    let mut command = cargo();
    command
        .args(["build", "--workspace", "--quiet"])
        .current_dir(checkout()?);
    let binaries: Vec<_> = images.iter().map(|image| image.binary()).collect();
    cargo::Build::start(&mut command, &binaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_each_binary_by_its_name() {
        let folder = Some(Path::new("/b"));
        let binaries = ImageBinaries::of(&Image::ALL, folder, Progress::silent()).unwrap();
        assert_eq!(binaries.images(), Image::ALL);
        assert_eq!(
            binaries.paths(Progress::silent()).unwrap(),
            [
                Path::new("/b/taskqueue-operator"),
                Path::new("/b/order-worker")
            ]
        );
    }
}
