//! Reads an OCI archive: its index, and for each platform the configuration and the files. Every
//! blob is compared with its digest. Starts tar; unpacks into a temporary folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sandbox_machine::{Attempt, Error, Result, run};
use serde_json::Value;

use crate::checksums::sha256;

/// An unpacked archive. Its folder is removed when it is dropped.
pub(crate) struct Layout {
    folder: tempfile::TempDir,
    archive: PathBuf,
    /// The digest of the index of all platforms.
    pub(crate) digest: String,
    /// One per platform, in the order of the index.
    pub(crate) platforms: Vec<Platform>,
}

/// The image for one platform.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Platform {
    /// `linux/amd64`.
    pub(crate) name: String,
    /// The image's configuration, as OCI specifies it.
    pub(crate) config: Value,
    /// The size of its layers as a registry sends them, in bytes.
    pub(crate) bytes: u64,
    layers: Vec<String>,
}

impl Layout {
    pub(crate) fn open(archive: &Path) -> Result<Self> {
        let folder = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
        unpack(archive, folder.path())?;
        let mut layout = Self {
            folder,
            archive: archive.to_owned(),
            digest: String::new(),
            platforms: Vec::new(),
        };
        let top: Value = layout.parse("index.json", &layout.folder.path().join("index.json"))?;
        layout.digest = layout.text(&top, "/manifests/0/digest")?.into();
        let index = layout.blob(&layout.digest)?;
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        for manifest in &manifests {
            let platform = layout.platform(manifest)?;
            layout.platforms.push(platform);
        }
        Ok(layout)
    }

    fn platform(&self, descriptor: &Value) -> Result<Platform> {
        let manifest = self.blob(self.text(descriptor, "/digest")?)?;
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        let mut digests = Vec::new();
        for layer in &layers {
            let digest = self.text(layer, "/digest")?;
            self.verified(digest)?;
            digests.push(digest.to_owned());
        }
        Ok(Platform {
            name: format!(
                "{}/{}",
                self.text(descriptor, "/platform/os")?,
                self.text(descriptor, "/platform/architecture")?
            ),
            config: self.blob(self.text(&manifest, "/config/digest")?)?,
            bytes: layers
                .iter()
                .filter_map(|layer| layer["size"].as_u64())
                .sum(),
            layers: digests,
        })
    }

    /// Unpacks the files of an image, without a container.
    pub(crate) fn unpack(&self, platform: &Platform, root: &Path) -> Result<()> {
        for layer in &platform.layers {
            unpack(&self.verified(layer)?, root)?;
        }
        Ok(())
    }

    /// The path of a blob that is what its digest says.
    fn verified(&self, digest: &str) -> Result<PathBuf> {
        let hash = digest.strip_prefix("sha256:").unwrap_or(digest);
        let path = self.folder.path().join("blobs/sha256").join(hash);
        if sha256(&path)? == hash {
            return Ok(path);
        }
        Err(self.damaged(format!(
            "the content of the blob {digest} does not match its digest"
        )))
    }

    fn blob(&self, digest: &str) -> Result<Value> {
        self.parse(digest, &self.verified(digest)?)
    }

    fn parse(&self, what: &str, path: &Path) -> Result<Value> {
        let text = fs::read(path).attempt(|| format!("reading {what} of {}", self.name()))?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(format!("{what}: {error}")))
    }

    fn text<'a>(&self, value: &'a Value, pointer: &str) -> Result<&'a str> {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .ok_or_else(|| self.damaged(format!("{pointer} is missing in {value}")))
    }

    fn name(&self) -> String {
        self.archive.display().to_string()
    }

    fn damaged(&self, why: String) -> Error {
        Error::source(self.name(), why)
    }
}

/// Unpacks a tar archive, compressed or not.
pub(crate) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    run::output(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(folder),
    )
    .map(drop)
}
