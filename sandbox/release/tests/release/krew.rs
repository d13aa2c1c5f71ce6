//! Krew itself reads the manifest of a release and installs the plugin from its archive. Krew is
//! built from `sandbox/machine/modules/krew`, and asks no server here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sandbox_machine::{Architecture, Name, Progress, Sandbox, Tool};

use crate::VERSION;

/// What the command prints; if it fails, all of its complaint, which may end with a stack trace.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// What Krew's own validator says of a manifest of this text.
fn validate(krew: &Path, text: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    // The name of the file is a part of what it checks.
    let manifest = folder.path().join("tqw.yaml");
    fs::write(&manifest, text).unwrap();
    run(Command::new(krew.with_file_name("validate-krew-manifest"))
        // It would download the archive.
        .args(["-skip-install", "-manifest"])
        .arg(manifest))
}

/// What the plugin prints as its version after it was installed by a manifest of this text.
fn install(krew: &Path, text: &str, archive: &Path) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (manifest, root) = (folder.path().join("tqw.yaml"), folder.path().join("krew"));
    fs::write(&manifest, text).unwrap();
    run(Command::new(krew)
        .args(["install", "--manifest"])
        .arg(manifest)
        .arg("--archive")
        .arg(archive)
        .env("KREW_ROOT", &root)
        .env("KREW_OS", "linux")
        .env("KREW_ARCH", Architecture::HOST.name())
        .env("KREW_NO_UPGRADE_CHECK", "1"))?;
    run(Command::new(root.join("bin/kubectl-tqw")).arg("--version"))
}

/// The text with a part of it replaced, which must be there.
fn with(text: &str, part: &str, by: &str) -> String {
    assert!(text.contains(part), "{part} is missing in {text}");
    text.replace(part, by)
}

/// Shows that Krew accepts the manifest of this release, and what it does not accept.
pub(crate) fn accepts_the_plugin(release: &Path) {
    let krew: PathBuf =
        Sandbox::provision_tool(&Name::default(), Tool::Krew, Progress::silent()).unwrap();
    let manifest = fs::read_to_string(release.join("tqw.yaml")).unwrap();
    let host = Architecture::HOST.name();
    let archive = release.join(format!("kubectl-tqw-{VERSION}-linux-{host}.tar.gz"));

    validate(&krew, &manifest).unwrap();
    let printed = install(&krew, &manifest, &archive).unwrap();
    assert!(printed.contains(VERSION), "{printed}");

    let version = format!("version: v{VERSION}");
    let selector = format!("arch: {host}");
    for (part, by, complaint) in [
        ("name: tqw", "name: other", "plugin validation error"),
        ("shortDescription:", "short:", "short description"),
        (&version, "version: 'one'", "version"),
        (&selector, "arch: vax", "doesn't match any supported"),
    ] {
        let error = validate(&krew, &with(&manifest, part, by)).unwrap_err();
        assert!(error.contains(complaint), "{by}: {error}");
    }

    let sum = manifest.split("sha256: ").nth(1).unwrap();
    let sum: String = sum.chars().take_while(char::is_ascii_hexdigit).collect();
    for (part, by, complaint) in [
        (sum.as_str(), "a".repeat(64), "checksum"),
        ("bin: kubectl-tqw", "bin: other".to_owned(), "other"),
    ] {
        let error = install(&krew, &with(&manifest, part, &by), &archive).unwrap_err();
        assert!(error.contains(complaint), "{by}: {error}");
    }
}
