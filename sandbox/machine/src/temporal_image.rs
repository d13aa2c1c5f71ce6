//! Brings Temporal's command line into the cluster as an image, as its makers publish it: the quick
//! start runs a server of its own from it. Starts buildah and ctr; writes below the state folder.

use crate::{
    buildah,
    error::Result,
    files::{make_folder, write_file},
    progress::Progress,
    provision::plan::{TEMPORAL_VERSION, temporal_folder},
    sandbox::Sandbox,
};

/// The entry point and the user are those of the published image.
const DOCKERFILE: &str =
    "FROM scratch\nCOPY temporal /temporal\nUSER 1000\nENTRYPOINT [\"/temporal\"]\n";

impl Sandbox {
    /// The reference of the image, which is in the cluster. Its tag is the version of Temporal's
    /// command line.
    pub fn temporal_image(&self, progress: Progress) -> Result<String> {
        let reference = self.test_image_reference("temporal", TEMPORAL_VERSION);
        let folder = self.paths().image_builds();
        make_folder(&folder)?;
        let dockerfile = folder.join("temporal.Dockerfile");
        write_file(&dockerfile, DOCKERFILE.as_bytes())?;
        let image = buildah::Image {
            file: &dockerfile,
            context: &temporal_folder(&self.paths().cache),
            target: None,
            name: &reference,
            base: None,
            build: None,
        };
        self.deliver_test_image("temporal", image, progress)?;
        Ok(reference)
    }
}
