//! Builds the sleeper, the worker that the soak and the cluster tests run beside the order workers:
//! a program in Go and its image. Writes to the cache folder.

use std::path::PathBuf;

use crate::{
    buildah,
    error::{Error, Result},
    files::{make_folder, write_file},
    paths::Paths,
    progress::Progress,
    provision::{go, lock::lock, plan::Module},
    which,
};

/// The built sleeper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Built {
    /// The program, which also starts its tasks.
    pub(crate) program: PathBuf,
    /// The folder that its image is made from.
    pub(crate) folder: PathBuf,
    /// The tag of its image, which changes with the program.
    pub(crate) tag: String,
}

fn module() -> Module {
    macro_rules! part {
        ($name:literal) => {
            (
                $name,
                include_str!(concat!("../../modules/sleeper/", $name)),
            )
        };
    }
    Module {
        name: "sleeper",
        programs: &[("sleeper", ".")],
        versioned_by: "go.temporal.io/sdk",
        version_symbol: None,
        files: &[
            part!("go.mod"),
            part!("go.sum"),
            part!("main.go"),
            part!("Dockerfile"),
        ],
    }
}

impl Built {
    /// How to make the image of this name.
    pub(crate) fn image<'a>(
        &'a self,
        file: &'a std::path::Path,
        name: &'a str,
    ) -> buildah::Image<'a> {
        buildah::Image {
            file,
            context: &self.folder,
            target: None,
            name,
            base: None,
            build: None,
        }
    }

    /// The Dockerfile of its image.
    pub(crate) fn dockerfile(&self) -> PathBuf {
        self.folder.join("Dockerfile")
    }
}

/// Builds the program, unless it is there.
pub(crate) fn provision(paths: &Paths, progress: Progress) -> Result<Built> {
    make_folder(&paths.cache)?;
    let _one_at_a_time = lock(paths, progress)?;
    let module = module();
    let folder = module.folder(&paths.cache);
    let tag = folder.file_name().and_then(|name| name.to_str());
    let tag = tag.and_then(|name| name.rsplit('-').next());
    let sleeper = Built {
        program: folder.join("sleeper"),
        tag: tag.unwrap_or_default().to_owned(),
        folder,
    };
    if sleeper.folder.is_dir() {
        return Ok(sleeper);
    }
    if which::find("go").is_none() {
        return Err(Error::Machine(
            "go is not installed, and the sleeper, a worker for the soak, is built with it; \
             install Go 1.26 or newer (https://go.dev/dl) and add it to PATH"
                .into(),
        ));
    }
    let build = go::Build::start(paths, &module)?;
    build.programs(progress.step(1, 1, module.name))?;
    for (name, content) in module.files {
        if *name == "Dockerfile" {
            write_file(&build.folder().join(name), content.as_bytes())?;
        }
    }
    build.finish()?;
    Ok(sleeper)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{kubernetes_version::KubernetesVersion, provision::plan};

    #[test]
    fn the_sleeper_is_pinned_and_not_part_of_a_sandbox() {
        let module = module();
        assert_eq!(module.version(), "v1.50.0");
        assert!(
            plan::modules(KubernetesVersion::default())
                .iter()
                .all(|other| other.name != module.name)
        );
        let folder = module.folder(Path::new("/c"));
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("sleeper-"), "{name}");
    }
}
