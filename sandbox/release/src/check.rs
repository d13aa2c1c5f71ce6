//! Checks the folder of a release against itself: checksums, images, chart, plain YAML, plugin and
//! versions. Starts helm, tar and the programs of the release.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sandbox_machine::{Architecture, Attempt, Error, Paths, Result, last_lines, run};
use serde_json::{Value, json};

use crate::{
    chart, checksums, executable,
    folder::{
        CHECKSUMS, INSTALL, NOTICES, QUICK_START, Record, VERSION, bill_of_materials, package,
        plugin_archive,
    },
    oci::{self, Layout},
    platform::{Platform, System},
    program::{PLUGIN, Program},
    quickstart,
};

/// Who the images run as: a user without a name or rights.
const USER: &str = "65532:65532";

/// Checks a release. Returns what was checked, a line each; the first contradiction is the error.
pub fn check(paths: &Paths, folder: &Path) -> Result<Vec<String>> {
    check_with(&chart::helm(paths)?, folder)
}

/// [`check`] with this Helm.
pub(crate) fn check_with(helm: &Path, folder: &Path) -> Result<Vec<String>> {
    let record = Record::read(folder)?;
    let architectures = record.architectures()?;
    let files = checksums::verify(folder)?;
    let mut found = vec![format!("{CHECKSUMS}: {files} files are as recorded")];
    for program in Program::OF_IMAGES {
        found.extend(images(folder, &record, program, &architectures)?);
    }
    found.push(package_and_yaml(helm, folder, &record)?);
    found.push(quick_start(folder, &record)?);
    for (program, platform) in record.programs()? {
        found.push(bill(folder, program, platform)?);
    }
    for platform in record.plugins()? {
        found.push(plugin(folder, platform)?);
    }
    Ok(found)
}

/// An error unless the values are equal.
fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::source(
        what,
        format!("it is {found:?} instead of {expected:?}"),
    ))
}

fn images(
    folder: &Path,
    record: &Record,
    program: Program,
    architectures: &[Architecture],
) -> Result<Vec<String>> {
    let published = record.image(program)?;
    let layout = Layout::open(&folder.join(&published.archive))?;
    let archive = &published.archive;
    equal(
        &format!("the digest of {archive}"),
        &layout.digest,
        &published.digest,
    )?;
    let expected: Vec<String> = architectures
        .iter()
        .map(|architecture| format!("linux/{}", architecture.name()))
        .collect();
    let names: Vec<String> = layout.platforms.iter().map(|it| it.name.clone()).collect();
    equal(
        &format!("the list of platforms of {archive}"),
        &names,
        &expected,
    )?;
    let mut found = Vec::new();
    for (platform, architecture) in layout.platforms.iter().zip(architectures) {
        let what = format!("{archive} for {}", platform.name);
        configuration(&what, &platform.config, record, program, *architecture)?;
        let ran = contents(&what, &layout, platform, program, *architecture)?;
        found.push(format!(
            "{what}: {} bytes, labels, user {USER}, files; {ran}",
            platform.bytes
        ));
    }
    Ok(found)
}

/// The configuration of an image: who made it of what, for what, and who runs it.
fn configuration(
    what: &str,
    config: &Value,
    record: &Record,
    program: Program,
    architecture: Architecture,
) -> Result<()> {
    let label =
        |name: &str| &config["config"]["Labels"][format!("org.opencontainers.image.{name}")];
    let expected = [
        (
            "architecture",
            &config["architecture"],
            json!(architecture.name()),
        ),
        ("system", &config["os"], json!("linux")),
        ("user", &config["config"]["User"], json!(USER)),
        (
            "entry point",
            &config["config"]["Entrypoint"],
            json!([format!("/{}", program.binary())]),
        ),
        ("label title", label("title"), json!(program.binary())),
        ("label version", label("version"), json!(record.version)),
        ("label revision", label("revision"), json!(record.revision)),
        ("label source", label("source"), json!(record.source)),
        ("label licenses", label("licenses"), json!("Apache-2.0")),
    ];
    expected.iter().try_for_each(|(name, found, expected)| {
        equal(&format!("the {name} of {what}"), *found, expected)
    })
}

/// The files of an image, and the version that its program prints.
fn contents(
    what: &str,
    layout: &Layout,
    platform: &oci::Platform,
    program: Program,
    architecture: Architecture,
) -> Result<String> {
    let root = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
    layout.unpack(platform, root.path())?;
    let mut files = BTreeSet::new();
    list(root.path(), Path::new(""), &mut files)?;
    let expected = [
        program.binary(),
        "etc/ssl/certs/ca-certificates.crt",
        "licenses/LICENSE",
        &format!("licenses/{NOTICES}"),
    ]
    .map(PathBuf::from);
    equal(
        &format!("the list of files of {what}"),
        &files,
        &BTreeSet::from(expected),
    )?;
    let file = root.path().join(program.binary());
    executable::verify(&file, program, Platform::linux(architecture))?;
    if program == Program::GreetingWorker {
        refuses_a_wrong_setting(&file, architecture)
    } else {
        prints_its_version(&file, architecture)
    }
}

fn list(root: &Path, below: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let folder = root.join(below);
    let what = || format!("reading {}", folder.display());
    for entry in fs::read_dir(&folder).attempt(what)? {
        let entry = entry.attempt(what)?;
        let path = below.join(entry.file_name());
        if entry.file_type().attempt(what)?.is_dir() {
            list(root, &path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// A command that starts the program, if this machine can.
fn command(program: &Path, architecture: Architecture) -> Option<Command> {
    let runner = architecture.runner()?;
    let mut words = runner.iter().map(PathBuf::as_path).chain([program]);
    let mut command = Command::new(words.next().unwrap_or(program));
    command.args(words);
    Some(command)
}

fn not_run(architecture: Architecture) -> String {
    let name = architecture.name();
    format!("not run: this machine has no emulator for {name}")
}

/// Runs the worker of the quick start, if this machine can: it has no `--version`, and ends at once
/// if a setting is wrong.
fn refuses_a_wrong_setting(program: &Path, architecture: Architecture) -> Result<String> {
    const VARIABLE: &str = "WORKER_SLOTS";
    let Some(mut command) = command(program, architecture) else {
        return Ok(not_run(architecture));
    };
    let output = command
        .env(VARIABLE, "none")
        .stdin(Stdio::null())
        .output()
        .attempt(|| format!("starting {}", program.display()))?;
    let printed = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && printed.contains(VARIABLE) {
        return Ok(format!("refuses a wrong {VARIABLE}"));
    }
    Err(Error::Command {
        what: run::describe(&command),
        why: format!("it does not refuse a wrong {VARIABLE}: {}", output.status),
        tail: last_lines(&printed, run::TAIL),
    })
}

/// Runs the program, if this machine can, and says so.
fn prints_its_version(program: &Path, architecture: Architecture) -> Result<String> {
    let Some(mut command) = command(program, architecture) else {
        return Ok(not_run(architecture));
    };
    let printed = run::output(command.arg("--version"))?;
    let version = printed.split_whitespace().nth(1).unwrap_or_default();
    equal(
        &format!("the version of {}", program.display()),
        &version,
        &VERSION,
    )?;
    Ok(format!("prints {:?}", printed.trim()))
}

/// The documents of a YAML stream. Versions of Helm differ in the blank lines between them.
fn documents(stream: &str) -> Vec<&str> {
    stream.split("\n---\n").map(str::trim_end).collect()
}

/// The package has this version, pins the image, and renders to the plain YAML.
fn package_and_yaml(helm: &Path, folder: &Path, record: &Record) -> Result<String> {
    let (chart, values) = chart::facts(helm, folder)?;
    let operator = record.image(Program::OPERATOR)?;
    let package = package();
    for field in ["version", "appVersion"] {
        equal(
            &format!("{field} of {package}"),
            &chart[field],
            &json!(record.version),
        )?;
    }
    for (field, expected) in [("digest", &operator.digest), ("registry", &record.registry)] {
        equal(
            &format!("image.{field} of {package}"),
            &values["image"][field],
            &json!(expected),
        )?;
    }
    let file = folder.join(INSTALL);
    let yaml = fs::read_to_string(&file).attempt(|| format!("reading {}", file.display()))?;
    let image = format!("{}@{}", operator.reference, operator.digest);
    if documents(&chart::render(helm, folder)?) != documents(&yaml) {
        return Err(Error::source(
            INSTALL,
            format!("it is not what {package} renders to"),
        ));
    }
    if !yaml.contains(&image) {
        return Err(Error::source(
            INSTALL,
            format!("it does not name the image {image}"),
        ));
    }
    Ok(format!(
        "{package}: pins {}, and renders to {INSTALL}",
        operator.digest
    ))
}

/// The manifest of the quick start has the worker's image of this release.
fn quick_start(folder: &Path, record: &Record) -> Result<String> {
    let file = folder.join(QUICK_START);
    let manifest = fs::read_to_string(&file).attempt(|| format!("reading {}", file.display()))?;
    quickstart::check(&manifest, record)?;
    let digest = &record.image(Program::GreetingWorker)?.digest;
    Ok(format!("{QUICK_START}: pins {digest}"))
}

/// The bill of materials is one of this program.
fn bill(folder: &Path, program: Program, platform: Platform) -> Result<String> {
    let name = bill_of_materials(program, platform);
    let file = folder.join(&name);
    let text = fs::read(&file).attempt(|| format!("reading {}", file.display()))?;
    let bill: Value =
        serde_json::from_slice(&text).map_err(|error| Error::source(&name, error.to_string()))?;
    equal(
        &format!("bomFormat of {name}"),
        &bill["bomFormat"],
        &json!("CycloneDX"),
    )?;
    let subject = &bill["metadata"]["component"];
    equal(
        &format!("the subject of {name}"),
        &[&subject["name"], &subject["version"]],
        &[&json!(program.package()), &json!(VERSION)],
    )?;
    let components = bill["components"].as_array().map_or(0, Vec::len);
    Ok(format!("{name}: {components} components"))
}

/// The plugin's archive has the program with its licences, and it is of this version.
fn plugin(folder: &Path, platform: Platform) -> Result<String> {
    let name = plugin_archive(platform);
    let root = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
    oci::unpack(&folder.join(&name), root.path())?;
    let mut files = BTreeSet::new();
    list(root.path(), Path::new(""), &mut files)?;
    let expected = [PLUGIN, "LICENSE", NOTICES].map(PathBuf::from);
    equal(
        &format!("the list of files of {name}"),
        &files,
        &BTreeSet::from(expected),
    )?;
    let file = root.path().join(PLUGIN);
    executable::verify(&file, Program::Plugin, platform)?;
    let ran = match platform.system {
        System::Linux => prints_its_version(&file, platform.architecture)?,
        System::MacOs => "not run: it is for macOS".into(),
    };
    Ok(format!("{name}: {ran}"))
}
