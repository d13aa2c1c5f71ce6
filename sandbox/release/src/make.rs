//! Makes the folder of a release. The order is that of what needs what: images, then the chart that
//! pins their digests, then what names the chart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sandbox_machine::{
    Attempt, Error, Paths, Progress, Result, checkout, files, provision_release, run,
};

use crate::{
    binaries, chart, check, checksums,
    folder::{
        Built, INSTALL, KREW, NOTES, Published, QUICK_START, Record, VERSION, bill_of_materials,
        plugin_archive,
    },
    greeting,
    images::{self, Ingredients},
    krew, macos, notes,
    options::Options,
    platform::Platform,
    program::{PLUGIN, Program},
    quickstart,
    revision::Revision,
};

/// Makes the folder and checks it. Returns what the check found, a line each.
pub fn make(paths: &Paths, options: Options, progress: Progress) -> Result<Vec<String>> {
    let options = &options.checked()?;
    let output = &options.output;
    if output.exists() {
        // An error unless it is a release.
        Record::read(output)?;
    }
    let unfinished = beside(output)?;
    // What cannot succeed is said before anything is compiled.
    let sources = Sources::read()?;
    let helm = provision_release(
        paths,
        &options.architectures,
        options.binaries.is_none(),
        progress,
    )?;
    files::remove_folder(&unfinished)?;
    files::make_folder(&unfinished)?;
    let compiled = paths.cache.join("release");
    let binaries = options.binaries.as_ref().unwrap_or(&compiled);
    if options.binaries.is_none() {
        files::remove_folder(&compiled)?;
        for architecture in &options.architectures {
            let programs = &Program::OF_CARGO;
            binaries::compile(paths, *architecture, programs, &compiled, progress)?;
        }
    }
    let mut plugins = Vec::new();
    for &architecture in &options.architectures {
        greeting::compile(architecture, binaries, progress)?;
        plugins.push(Platform::linux(architecture));
    }
    if let Some(programs) = &options.macos {
        plugins.extend(macos::prepare(paths, programs, binaries, progress)?);
    }
    let ingredients = Ingredients {
        binaries,
        architectures: &options.architectures,
        registry: &options.registry,
        source: &options.source,
        revision: &sources.revision,
    };
    let images = build(paths, ingredients, &unfinished, progress)?;
    let record = Record {
        version: VERSION.into(),
        revision: sources.revision.name.clone(),
        registry: options.registry.clone(),
        source: options.source.clone(),
        architectures: options
            .architectures
            .iter()
            .map(|it| it.name().into())
            .collect(),
        plugins: plugins.iter().map(|it| it.name()).collect(),
        images,
    };
    fill(&helm, &record, &sources, binaries, &unfinished)?;
    let found = check::check_with(&helm, &unfinished)?;
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

/// What of the checkout goes into the folder as text.
struct Sources {
    revision: Revision,
    changelog: String,
    quick_start: String,
}

impl Sources {
    fn read() -> Result<Self> {
        let checkout = checkout()?;
        let changelog = read(&checkout.join("CHANGELOG.md"))?;
        notes::changes(&changelog, VERSION)?;
        Ok(Self {
            revision: Revision::current()?,
            changelog,
            quick_start: read(&checkout.join("examples").join(QUICK_START))?,
        })
    }
}

/// Builds the archives of all images in `folder`.
fn build(
    paths: &Paths,
    ingredients: Ingredients<'_>,
    folder: &Path,
    progress: Progress,
) -> Result<Vec<Published>> {
    let mut published = Vec::new();
    let programs = Program::OF_IMAGES;
    for (number, program) in programs.into_iter().enumerate() {
        let mut step = progress.step(number + 1, programs.len(), program.binary());
        step.update("building the image");
        published.push(images::archive(paths, program, ingredients, folder)?);
        step.done("");
    }
    Ok(published)
}

/// Makes everything but the images, which are in `folder`.
fn fill(
    helm: &Path,
    record: &Record,
    sources: &Sources,
    binaries: &Path,
    folder: &Path,
) -> Result<()> {
    record.write(folder)?;
    chart::pack(helm, record, folder)?;
    write(folder, INSTALL, &chart::render(helm, folder)?)?;
    for (program, platform) in record.programs()? {
        copy(
            &Built::new(binaries, platform).bill_of_materials(program),
            &folder.join(bill_of_materials(program, platform)),
        )?;
    }
    let mut plugins = Vec::new();
    for platform in record.plugins()? {
        let archive = folder.join(plugin_archive(platform));
        plugin(
            &Built::new(binaries, platform),
            sources.revision.time,
            &archive,
        )?;
        plugins.push((platform, checksums::sha256(&archive)?));
    }
    write(folder, KREW, &krew::manifest(record, &plugins)?)?;
    let quick_start = quickstart::pinned(&sources.quick_start, record)?;
    write(folder, QUICK_START, &quick_start)?;
    let notes = notes::notes(&sources.changelog, record)?;
    write(folder, NOTES, &notes)?;
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
