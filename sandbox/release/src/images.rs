//! The images of a release as OCI archives, one for all architectures. Starts buildah.

use std::path::Path;

use sandbox_machine::{Architecture, Paths, Result, buildah, checkout};

use crate::{
    folder::{Published, VERSION, image_archive},
    oci::Layout,
    program::Program,
    revision::Revision,
};

/// What the images of a release are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingredients<'a> {
    /// What the stage `build` of the Dockerfile makes.
    pub(crate) binaries: &'a Path,
    pub(crate) architectures: &'a [Architecture],
    /// Registry and path of the images.
    pub(crate) registry: &'a str,
    pub(crate) source: &'a str,
    pub(crate) revision: &'a Revision,
}

/// Makes the archive of an image in `folder`.
pub(crate) fn archive(
    paths: &Paths,
    program: Program,
    from: Ingredients<'_>,
    folder: &Path,
) -> Result<Published> {
    let reference = format!("{}/{}:{VERSION}", from.registry, program.binary());
    let archive = image_archive(program);
    let dockerfile = checkout()?.join("Dockerfile");
    buildah::oci_archive(
        paths,
        buildah::Image {
            file: &dockerfile,
            // The last stage copies from the stage `build` alone.
            context: from.binaries,
            target: Some(program.binary()),
            name: &reference,
            base: None,
            build: Some(from.binaries),
        },
        buildah::Published {
            architectures: from.architectures,
            labels: &[
                ("org.opencontainers.image.version", VERSION),
                ("org.opencontainers.image.revision", &from.revision.name),
                ("org.opencontainers.image.source", from.source),
            ],
            created: from.revision.time,
        },
        &folder.join(&archive),
    )?;
    let digest = Layout::open(&folder.join(&archive))?.digest;
    Ok(Published {
        name: program.binary().into(),
        reference,
        archive,
        digest,
    })
}
