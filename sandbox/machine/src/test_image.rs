//! Brings the images of workers that only tests use into the cluster, each once. Starts buildah and
//! ctr; writes below the state folder.

use crate::{
    buildah,
    error::{Error, Result},
    files,
    progress::Progress,
    provision,
    sandbox::Sandbox,
};

impl Sandbox {
    /// How the cluster names the image `name:tag`.
    pub(crate) fn test_image_reference(&self, name: &str, tag: &str) -> String {
        match self
            .external_cluster()
            .and_then(|external| external.registry.as_ref())
        {
            Some(registry) => format!("{}/{name}:{tag}", registry.trim_end_matches('/')),
            None => format!("localhost/{name}:{tag}"),
        }
    }

    /// Makes the image and brings it into the cluster, unless it was the last one of this `name`
    /// there. `image.name` is its reference.
    pub(crate) fn deliver_test_image(
        &self,
        name: &str,
        image: buildah::Image<'_>,
        progress: Progress,
    ) -> Result<()> {
        let _one_at_a_time = provision::lock::lock(self.paths(), progress)?;
        let reference = image.name.to_owned();
        let record = self.paths().state.join(format!("{name}.json"));
        if files::read_json::<String>(&record)?.as_ref() == Some(&reference) {
            return Ok(());
        }
        match self.external_cluster() {
            Some(external) if external.registry.is_some() => {
                buildah::push(self.paths(), image, &reference, external.registry_has_tls())?;
            }
            Some(_) => {
                let archive = self.paths().state.join(format!("{name}.tar"));
                buildah::archive(self.paths(), image, &archive)?;
                files::write_json(&record, &reference)?;
                return Err(Error::Usage(format!(
                    "there is a new image {reference}; load {} into every node of the cluster, \
                     then run this again",
                    archive.display()
                )));
            }
            None => {
                let archive = self.paths().run().join(format!("{name}.tar"));
                buildah::archive(self.paths(), image, &archive)?;
                self.import(&archive)?;
            }
        }
        files::write_json(&record, &reference)
    }
}
