//! Makes the folder of a release. The order is that of what needs what: images, then the chart that
//! pins their digests, then what names the chart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sandbox_machine::{
    Architecture, Attempt, Error, Paths, Progress, Result, checkout, files, run,
};

use crate::{
    binaries, chart, check, checksums,
    folder::{
        Built, INSTALL, KREW, NOTES, QUICK_START, Record, VERSION, bill_of_materials,
        plugin_archive,
    },
    greeting,
    images::{self, Ingredients},
    krew, notes,
    program::{PLUGIN, Program},
    quickstart,
    revision::Revision,
};

/// What to release, and where to put it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The registry and path of the images, such as `ghcr.io/owner`.
    pub registry: String,
    /// The address of the repository, such as `https://github.com/owner/taskqueue-operator`.
    pub source: String,
    /// The architectures.
    pub architectures: Vec<Architecture>,
    /// A folder that [`crate::compile`] has made. The worker of the quick start is added to it.
    /// `None` compiles.
    pub binaries: Option<PathBuf>,
    /// The folder to make. A release that is there is replaced.
    pub output: PathBuf,
}

/// Makes the folder and checks it. Returns what the check found, a line each.
pub fn make(paths: &Paths, options: &Options, progress: Progress) -> Result<Vec<String>> {
    let output = &options.output;
    if output.exists() {
        // An error unless it is a release.
        Record::read(output)?;
    }
    let unfinished = beside(output)?;
    files::remove_folder(&unfinished)?;
    files::make_folder(&unfinished)?;
    let compiled = paths.cache.join("release");
    let binaries = options.binaries.as_ref().unwrap_or(&compiled);
    if options.binaries.is_none() {
        files::remove_folder(&compiled)?;
        for architecture in &options.architectures {
            binaries::compile(paths, *architecture, &compiled, progress)?;
        }
    }
    for architecture in &options.architectures {
        greeting::compile(*architecture, binaries, progress)?;
    }
    fill(paths, options, binaries, &unfinished, progress)?;
    let found = check::check(paths, &unfinished)?;
    files::remove_folder(output)?;
    fs::rename(&unfinished, output).attempt(|| format!("naming {}", output.display()))?;
    Ok(found)
}

/// The folder in which a release is made before it gets its name: in the same place, so that the
/// name is all that changes.
fn beside(output: &Path) -> Result<PathBuf> {
    let name = output.file_name().ok_or_else(|| {
        Error::Usage(format!(
            "--output {} is not the name of a folder to make",
            output.display()
        ))
    })?;
    let mut unfinished = name.to_owned();
    unfinished.push(".unfinished");
    Ok(output.with_file_name(unfinished))
}

fn fill(
    paths: &Paths,
    options: &Options,
    binaries: &Path,
    folder: &Path,
    progress: Progress,
) -> Result<()> {
    let helm = chart::helm(paths)?;
    let revision = Revision::current()?;
    let registry = options.registry.trim_end_matches('/');
    let from = Ingredients {
        binaries,
        architectures: &options.architectures,
        registry,
        source: &options.source,
        revision: &revision,
    };
    let mut published = Vec::new();
    let programs = Program::OF_IMAGES;
    for (number, program) in programs.into_iter().enumerate() {
        let mut step = progress.step(number + 1, programs.len(), program.binary());
        step.update("building the image");
        published.push(images::archive(paths, program, from, folder)?);
        step.done("");
    }
    let record = Record {
        version: VERSION.into(),
        revision: revision.name.clone(),
        registry: registry.into(),
        source: options.source.clone(),
        architectures: options
            .architectures
            .iter()
            .map(|it| it.name().into())
            .collect(),
        images: published,
    };
    record.write(folder)?;
    chart::pack(&helm, &record, folder)?;
    write(folder, INSTALL, &chart::render(&helm, folder)?)?;
    let mut plugins = Vec::new();
    for architecture in &options.architectures {
        let built = Built::new(binaries, *architecture);
        for program in Program::ALL {
            copy(
                &built.bill_of_materials(program),
                &folder.join(bill_of_materials(program, *architecture)),
            )?;
        }
        let archive = folder.join(plugin_archive(*architecture));
        plugin(&built, revision.time, &archive)?;
        plugins.push((*architecture, checksums::sha256(&archive)?));
    }
    write(folder, KREW, &krew::manifest(&record, &plugins)?)?;
    let manifest = read(&checkout()?.join("examples").join(QUICK_START))?;
    write(
        folder,
        QUICK_START,
        &quickstart::pinned(&manifest, &record)?,
    )?;
    let changelog = read(&checkout()?.join("CHANGELOG.md"))?;
    write(folder, NOTES, &notes::notes(&changelog, &record)?)?;
    checksums::write(folder)
}

/// Packs the kubectl plugin with its licences.
fn plugin(built: &Built, time: u64, archive: &Path) -> Result<()> {
    let work = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
    copy(&built.binary(Program::Plugin), &work.path().join(PLUGIN))?;
    let licenses = built.licenses(Program::Plugin);
    for entry in fs::read_dir(&licenses).attempt(|| format!("reading {}", licenses.display()))? {
        let from = entry
            .attempt(|| format!("reading {}", licenses.display()))?
            .path();
        copy(
            &from,
            &work.path().join(from.file_name().unwrap_or_default()),
        )?;
    }
    // The same files always give the same archive.
    run::output(
        Command::new("tar")
            .args([
                "--create",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .arg(format!("--mtime=@{time}"))
            .args(["--use-compress-program", "gzip --no-name --best", "--file"])
            .arg(archive)
            .arg("--directory")
            .arg(work.path())
            .arg("."),
    )
    .map(drop)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    files::write_file(&folder.join(name), text.as_bytes())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).attempt(|| format!("reading {}", file.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .map(drop)
        .attempt(|| format!("copying {}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_made_beside_its_folder() {
        for (output, expected) in [
            ("dist", "dist.unfinished"),
            ("out/v0.1.0", "out/v0.1.0.unfinished"),
            ("dist.tmp", "dist.tmp.unfinished"),
        ] {
            assert_eq!(beside(Path::new(output)).unwrap(), Path::new(expected));
        }
        assert!(beside(Path::new("..")).is_err());
    }
}
