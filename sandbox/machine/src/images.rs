//! Builds the project's own images: packs their binaries with the project's Dockerfile, and loads
//! them into the sandbox's containerd. Starts buildah and ctr; writes below the state folder.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    architecture::Architecture,
    binaries::ImageBinaries,
    buildah,
    checkout::checkout,
    error::{Attempt, Error, Result},
    files,
    image::Image,
    image_root::lay_out,
    progress::Progress,
    run,
    sandbox::Sandbox,
    supervisor::control_client::Action,
    which,
};

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Repository and tag.
    pub reference: String,
    /// The size of its archive in bytes.
    pub bytes: u64,
    /// Whether it differs from what was loaded before.
    pub changed: bool,
    /// Its archive, where the person has to load it into the cluster.
    pub archive: Option<PathBuf>,
}

/// What was loaded last, by reference.
type Record = BTreeMap<String, Entry>;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize)]
struct Entry {
    hash: String,
    bytes: u64,
}

impl Sandbox {
    /// Builds images and brings those that changed into the cluster; beside an external cluster
    /// they are pushed to its registry or written to archives. The gateway is started or restarted
    /// with a new order worker.
    pub fn images(&self, binaries: ImageBinaries, progress: Progress) -> Result<Vec<Loaded>> {
        let images = binaries.images().to_vec();
        let binaries = binaries.paths(progress)?;
        let mut loaded = Vec::new();
        for (number, (image, binary)) in images.iter().zip(&binaries).enumerate() {
            let reference = self.image_reference(*image);
            let mut step = progress.step(number + 1, images.len(), reference);
            step.update("building the image");
            let one = self.image(*image, binary)?;
            let unchanged = if one.changed { "" } else { ", unchanged" };
            step.done(&format!("{}{unchanged}", in_megabytes(one.bytes)));
            loaded.push(one);
        }
        Ok(loaded)
    }

    /// An error if new images have to be loaded by hand first: with an external cluster without a
    /// registry.
    pub fn check_loaded(&self, loaded: &[Loaded]) -> Result<()> {
        let new: Vec<String> = loaded
            .iter()
            .filter(|image| image.changed)
            .filter_map(|image| Some(image.archive.as_ref()?.display().to_string()))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "there are new images; load {} into every node of the cluster (for example with `kind \
             load image-archive FILE`, or on the node `ctr --namespace k8s.io images import \
             FILE`), then run this again",
            new.join(" and ")
        )))
    }

    fn image(&self, image: Image, binary: &Path) -> Result<Loaded> {
        let file = self.paths().state.join("images.json");
        let mut record: Record = files::read_json(&file)?.unwrap_or_default();
        let build = self.paths().image_builds().join(image.binary());
        let root = root(&build, image, binary)?;
        let dockerfile = checkout()?.join("Dockerfile");
        let hash = hash(&[&root.join(image.binary()), &dockerfile])?;
        let reference = self.image_reference(image);
        let known = record.get(&reference).filter(|entry| entry.hash == hash);
        let changed = known.is_none();
        let bytes = match known {
            Some(entry) => entry.bytes,
            None => self.deliver(image, &build)?,
        };
        record.insert(reference.clone(), Entry { hash, bytes });
        files::write_json(&file, &record)?;
        if image == Image::OrderWorker {
            self.gateway_program(&root, changed)?;
        }
        Ok(Loaded {
            archive: self.archive(image),
            reference,
            bytes,
            changed,
        })
    }

    /// A short text that changes with the image's content; empty before the image was built.
    pub(crate) fn image_hash(&self, image: Image) -> Result<String> {
        let record: Record =
            files::read_json(&self.paths().state.join("images.json"))?.unwrap_or_default();
        Ok(record
            .get(&self.image_reference(image))
            .map(|entry| entry.hash[..12].to_owned())
            .unwrap_or_default())
    }

    /// Where an image is written for the person to load.
    fn archive(&self, image: Image) -> Option<PathBuf> {
        let external = self
            .external_cluster()
            .filter(|external| external.registry.is_none());
        external.map(|_| self.paths().state.join(format!("{}.tar", image.binary())))
    }

    /// Builds an image and brings it to where the cluster finds it; returns its size.
    fn deliver(&self, image: Image, build: &Path) -> Result<u64> {
        let reference = self.image_reference(image);
        let dockerfile = checkout()?.join("Dockerfile");
        let plan = buildah::Image {
            file: &dockerfile,
            // The last stage copies from the stage `build` alone.
            context: build,
            target: Some(image.binary()),
            name: &reference,
            base: None,
            build: Some(build),
        };
        if let Some(external) = self
            .external_cluster()
            .filter(|external| external.registry.is_some())
        {
            buildah::push(self.paths(), plan, &reference, external.registry_has_tls())?;
            let host = Architecture::HOST.name();
            return size(&build.join(host).join(image.binary()).join(image.binary()));
        }
        if let Some(archive) = self.archive(image) {
            buildah::archive(self.paths(), plan, &archive)?;
            return size(&archive);
        }
        let archive = self.paths().run().join(format!("{}.tar", image.binary()));
        buildah::archive(self.paths(), plan, &archive)?;
        let bytes = size(&archive)?;
        self.import(&archive)?;
        Ok(bytes)
    }

    /// Loads an archive into the sandbox's containerd, and removes it.
    pub(crate) fn import(&self, archive: &Path) -> Result<()> {
        let mut import = Command::new(&self.programs().ctr);
        import
            .arg("--address")
            .arg(self.paths().containerd_socket())
            .args(["--namespace=k8s.io", "images", "import"])
            .arg(archive);
        run::output(&mut import)?;
        fs::remove_file(archive).attempt(|| format!("removing {}", archive.display()))
    }

    fn gateway_program(&self, root: &Path, changed: bool) -> Result<()> {
        let program = self.paths().gateway_program();
        if !changed && program.exists() {
            return Ok(());
        }
        let folder = program.parent().unwrap_or(Path::new("/"));
        files::make_folder(folder)?;
        // The file of a running process cannot be written, but it can be replaced.
        let beside = folder.join("order-worker.tmp");
        let from = root.join(Image::OrderWorker.binary());
        fs::copy(&from, &beside).attempt(|| format!("copying {}", from.display()))?;
        fs::rename(&beside, &program)
            .attempt(|| format!("renaming a new file to {}", program.display()))?;
        self.component("gateway", Action::Restart)
    }
}

/// Bytes as a person reads them.
fn in_megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// The size of a file in bytes.
fn size(file: &Path) -> Result<u64> {
    fs::metadata(file)
        .map(|data| data.len())
        .attempt(|| format!("reading the size of {}", file.display()))
}

/// Makes what the stage `build` of the Dockerfile would make for this machine, and returns the root
/// of the image in it: the stripped binary, the certificates and the project's own licence.
fn root(build: &Path, image: Image, binary: &Path) -> Result<PathBuf> {
    let root = build.join(Architecture::HOST.name()).join(image.binary());
    lay_out(&root, image.binary(), binary, &[])?;
    if which::find("strip").is_some() {
        run::output(Command::new("strip").arg(root.join(image.binary())))?;
    }
    Ok(root)
}

fn hash(files: &[&Path]) -> Result<String> {
    let mut hasher = Sha256::new();
    for file in files {
        let mut content = Vec::new();
        fs::File::open(file)
            .and_then(|mut file| file.read_to_end(&mut content))
            .attempt(|| format!("reading {}", file.display()))?;
        hasher.update(&content);
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(in_megabytes(12_345_678), "12.3 MB");
        assert_eq!(in_megabytes(999), "0.0 MB");
    }
}
