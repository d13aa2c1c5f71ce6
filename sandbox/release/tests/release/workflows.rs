//! actionlint reads the workflows. It is built from `sandbox/machine/modules/actionlint`.

use std::{fs, path::Path, process::Command};

use sandbox_machine::{Name, Progress, Result, Sandbox, Tool, checkout, run};

/// What actionlint says of a workflow. Programs that it would start if they are installed are left
/// out, so that it says the same on every machine.
fn check(workflow: &Path) -> Result<String> {
    let actionlint =
        Sandbox::provision_tool(&Name::default(), Tool::Actionlint, Progress::silent())?;
    run::output(
        Command::new(actionlint)
            .args(["-no-color", "-shellcheck=", "-pyflakes="])
            .arg(workflow),
    )
}

#[test]
fn actionlint_accepts_every_workflow() {
    let folder = checkout().unwrap().join(".github/workflows");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        assert_eq!(check(&entry.unwrap().path()).unwrap(), "");
        checked += 1;
    }
    assert_ne!(checked, 0);
}

#[test]
fn a_mistake_in_a_workflow_is_noticed() {
    let release = checkout().unwrap().join(".github/workflows/release.yaml");
    let text = fs::read_to_string(release).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("release.yaml");
    for (part, by, complaint) in [
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.4", "label"),
        ("timeout-minutes:", "timeout-minute:", "timeout-minute"),
        ("${{ github.token }}", "${{ github.tokn }}", "tokn"),
        ("packages: write", "packages: push", "push"),
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
        fs::write(&file, text.replace(part, by)).unwrap();
        let error = check(&file).unwrap_err().to_string();
        assert!(error.contains(complaint), "{by}: {error}");
    }
}
