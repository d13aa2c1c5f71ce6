//! The names in the folder of a release, and its record. Reads and writes the record.

use std::path::{Path, PathBuf};

use sandbox_machine::{Architecture, Error, Result, files};
use serde::{Deserialize, Serialize};

use crate::{
    platform::{Platform, System},
    program::{PLUGIN, Program},
};

/// The version of everything in this repository.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The name of the chart, and of its release.
pub(crate) const CHART: &str = "taskqueue-operator";
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
    /// The platforms of the kubectl plugin, such as `linux-amd64`.
    pub(crate) plugins: Vec<String>,
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

    /// The platforms of the plugin. An error if this version does not know one.
    pub(crate) fn plugins(&self) -> Result<Vec<Platform>> {
        let known = |name: &String| {
            Platform::of_name(name)
                .ok_or_else(|| Error::Usage(format!("{} names the platform {name:?}", Self::FILE)))
        };
        self.plugins.iter().map(known).collect()
    }

    /// Every program of the release, for each of its platforms.
    pub(crate) fn programs(&self) -> Result<Vec<(Program, Platform)>> {
        let of_images = self.architectures()?.into_iter().flat_map(|architecture| {
            Program::OF_IMAGES.map(|program| (program, Platform::linux(architecture)))
        });
        let plugins = self.plugins()?.into_iter();
        let plugins = plugins.map(|platform| (Program::Plugin, platform));
        Ok(of_images.chain(plugins).collect())
    }

    /// The address below which the files of the release are, once it is published.
    pub(crate) fn files(&self) -> String {
        format!("{}/releases/download/v{VERSION}", self.source)
    }

    /// The image of that program.
    pub(crate) fn image(&self, program: Program) -> Result<&Published> {
        let name = program.binary();
        let found = self.images.iter().find(|it| it.name == name);
        found.ok_or_else(|| Error::Usage(format!("{} has no image {name}", Self::FILE)))
    }
}

/// The package of the chart.
pub(crate) fn package() -> String {
    format!("{CHART}-{VERSION}.tgz")
}

/// The OCI archive of an image.
pub(crate) fn image_archive(program: Program) -> String {
    format!("{}-{VERSION}.oci.tar", program.binary())
}

/// The archive of the plugin.
pub(crate) fn plugin_archive(platform: Platform) -> String {
    format!("{PLUGIN}-{VERSION}-{}.tar.gz", platform.name())
}

/// The bill of materials of a program, in CycloneDX's JSON.
pub(crate) fn bill_of_materials(program: Program, platform: Platform) -> String {
    format!(
        "{}-{VERSION}-{}.cdx.json",
        program.binary(),
        platform.name()
    )
}

/// What the stage `build` of the Dockerfile makes, in a folder per architecture; beside them those
/// of the plugin for macOS.
#[derive(Debug, Clone)]
pub(crate) struct Built(PathBuf);

impl Built {
    pub(crate) fn new(folder: &Path, platform: Platform) -> Self {
        Self(match platform.system {
            // As images name it, so that a Dockerfile finds it (`TARGETARCH`).
            System::Linux => folder.join(platform.architecture.name()),
            System::MacOs => folder.join(platform.name()),
        })
    }

    /// The folder of a program: the root of its image, if it has one.
    pub(crate) fn root(&self, program: Program) -> PathBuf {
        self.0.join(program.binary())
    }

    /// The file of a program, in its folder.
    pub(crate) fn binary(&self, program: Program) -> PathBuf {
        self.root(program).join(program.binary())
    }

    /// The licences in the folder of a program.
    pub(crate) fn licenses(&self, program: Program) -> PathBuf {
        self.root(program).join("licenses")
    }

    /// The bill of materials of a program.
    pub(crate) fn bill_of_materials(&self, program: Program) -> PathBuf {
        self.0.join(format!("{}.cdx.json", program.binary()))
    }
}
