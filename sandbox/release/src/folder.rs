//! The names in the folder of a release, and its record. Reads and writes the record.

use std::path::{Path, PathBuf};

use sandbox_machine::{Architecture, Error, Image, Result, files};
use serde::{Deserialize, Serialize};

/// The version of everything in this repository.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of the chart, and of its release.
pub(crate) const CHART: &str = "taskqueue-operator";
/// The image of the operator.
pub(crate) const OPERATOR: &str = "taskqueue-operator";
/// The image of the quick start's worker.
pub(crate) const GREETING_WORKER: &str = "greeting-worker";
/// The checksums of all other files.
pub(crate) const CHECKSUMS: &str = "SHA256SUMS";
/// What the release is for people.
pub(crate) const NOTES: &str = "RELEASE_NOTES.md";
/// The operator as plain YAML.
pub(crate) const INSTALL: &str = "install.yaml";
/// The manifest of the quick start.
pub(crate) const QUICK_START: &str = "quickstart.yaml";
/// The manifest of the plugin for Krew.
pub(crate) const KREW: &str = "tqw.yaml";
/// The program of the kubectl plugin.
pub(crate) const PLUGIN: &str = "kubectl-tqw";
/// The notices of everything that the binaries are made of.
pub(crate) const NOTICES: &str = "THIRD-PARTY.txt";

/// What a release is: the file `release.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: String,
    /// The commit, with `-dirty` if the checkout had changes.
    pub(crate) revision: String,
    /// The registry and path that the images will have, such as `ghcr.io/owner`.
    pub(crate) registry: String,
    /// Where the repository is.
    pub(crate) source: String,
    /// Their names in images.
    pub(crate) architectures: Vec<String>,
    pub(crate) images: Vec<Published>,
}

/// An image of the release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// Its binary, and the last part of its repository.
    pub(crate) name: String,
    /// Registry, repository and tag.
    pub(crate) reference: String,
    /// Its archive in the folder.
    pub(crate) archive: String,
    /// The digest of its index, which a registry keeps.
    pub(crate) digest: String,
}

impl Record {
    const FILE: &str = "release.json";

    pub(crate) fn read(folder: &Path) -> Result<Self> {
        files::read_json(&folder.join(Self::FILE))?.ok_or_else(|| {
            Error::Usage(format!(
                "{} has no {}, so it is not the folder of a release; `cargo sandbox release` makes \
                 one",
                folder.display(),
                Self::FILE
            ))
        })
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(Self::FILE), self)
    }

    /// The architectures of the release. An error if this version does not know one.
    pub(crate) fn architectures(&self) -> Result<Vec<Architecture>> {
        let known = |name: &String| {
            Architecture::of_name(name).ok_or_else(|| {
                Error::Usage(format!("{} names the architecture {name:?}", Self::FILE))
            })
        };
        self.architectures.iter().map(known).collect()
    }

    /// The address below which the files of the release are, once it is published.
    pub(crate) fn files(&self) -> String {
        format!("{}/releases/download/v{VERSION}", self.source)
    }

    /// The image of that name.
    pub(crate) fn image(&self, image: &str) -> Result<&Published> {
        let found = self.images.iter().find(|it| it.name == image);
        found.ok_or_else(|| Error::Usage(format!("{} has no image {image}", Self::FILE)))
    }
}

/// The images of a release, each by the name of its binary, of its stage in the Dockerfile, and of
/// its repository.
pub(crate) fn images() -> [&'static str; 3] {
    let [operator, order_worker] = Image::ALL.map(Image::binary);
    [operator, order_worker, GREETING_WORKER]
}

/// The package of the chart.
pub(crate) fn package() -> String {
    format!("{CHART}-{VERSION}.tgz")
}

/// The OCI archive of an image.
pub(crate) fn image_archive(image: &str) -> String {
    format!("{image}-{VERSION}.oci.tar")
}

/// The archive of the plugin.
pub(crate) fn plugin_archive(architecture: Architecture) -> String {
    format!("{PLUGIN}-{VERSION}-linux-{}.tar.gz", architecture.name())
}

/// The bill of materials of an image's binary, in CycloneDX's JSON.
pub(crate) fn bill_of_materials(image: &str, architecture: Architecture) -> String {
    format!("{image}-{VERSION}-linux-{}.cdx.json", architecture.name())
}

/// What the stage `build` of the Dockerfile makes, in a folder per architecture.
#[derive(Debug, Clone)]
pub(crate) struct Built(PathBuf);

impl Built {
    pub(crate) fn new(folder: &Path, architecture: Architecture) -> Self {
        Self(folder.join(architecture.name()))
    }

    /// The root of an image.
    pub(crate) fn root(&self, image: &str) -> PathBuf {
        self.0.join(image)
    }

    /// The binary of an image, in its root.
    pub(crate) fn binary(&self, image: &str) -> PathBuf {
        self.root(image).join(image)
    }

    /// The licences in the root of an image.
    pub(crate) fn licenses(&self, image: &str) -> PathBuf {
        self.root(image).join("licenses")
    }

    /// The bill of materials of an image's binary.
    pub(crate) fn bill_of_materials(&self, image: &str) -> PathBuf {
        self.0.join(format!("{image}.cdx.json"))
    }
}
