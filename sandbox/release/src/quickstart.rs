//! The manifest of the quick start with the worker's image of the release. Pure.

use sandbox_machine::{Error, Result};

use crate::{
    chart,
    folder::{QUICK_START, Record, VERSION},
    program::{GREETING_WORKER, Program},
};

/// The manifest of the repository, changed to what a person has who has no clone of it.
pub(crate) fn pinned(manifest: &str, record: &Record) -> Result<String> {
    let built = format!("image: localhost/{GREETING_WORKER}:{VERSION}\n");
    let published = format!("image: {}\n", image(record)?);
    let manifest = chart::replace(QUICK_START, manifest, &built, &published)?;
    let (here, there) = (
        format!("apply -f examples/{QUICK_START}\n"),
        format!("apply -f {QUICK_START}\n"),
    );
    chart::replace(QUICK_START, &manifest, &here, &there)
}

/// The worker's image with its digest.
pub(crate) fn image(record: &Record) -> Result<String> {
    let image = record.image(Program::GreetingWorker)?;
    Ok(format!("{}@{}", image.reference, image.digest))
}

/// An error unless the manifest has that image alone beside Temporal's, which is not ours.
pub(crate) fn check(manifest: &str, record: &Record) -> Result<()> {
    let images = manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    let found: Vec<&str> = images
        .filter(|image| !image.starts_with("temporalio/"))
        .collect();
    let expected = image(record)?;
    if found == [&expected] {
        return Ok(());
    }
    Err(Error::source(
        QUICK_START,
        format!("its images are {found:?} instead of [{expected:?}]"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Published;

    fn record() -> Record {
        Record {
            version: VERSION.into(),
            revision: String::new(),
            registry: "registry.example.com/team".into(),
            source: String::new(),
            architectures: Vec::new(),
            plugins: Vec::new(),
            images: vec![Published {
                name: GREETING_WORKER.into(),
                reference: format!("registry.example.com/team/{GREETING_WORKER}:{VERSION}"),
                archive: String::new(),
                digest: "sha256:0123".into(),
            }],
        }
    }

    #[test]
    fn the_worker_is_pulled_from_the_registry_by_its_digest() {
        let manifest = std::fs::read_to_string(
            sandbox_machine::checkout()
                .unwrap()
                .join("examples")
                .join(QUICK_START),
        )
        .unwrap();
        assert!(check(&manifest, &record()).is_err());
        let pinned = pinned(&manifest, &record()).unwrap();
        check(&pinned, &record()).unwrap();
        let changed: Vec<(&str, &str)> = manifest
            .lines()
            .zip(pinned.lines())
            .filter(|(before, after)| before != after)
            .collect();
        let image = format!(
            "          image: registry.example.com/team/greeting-worker:{VERSION}@sha256:0123"
        );
        assert_eq!(
            changed.iter().map(|(_, after)| *after).collect::<Vec<_>>(),
            ["#   kubectl apply -f quickstart.yaml", &image]
        );
    }
}
