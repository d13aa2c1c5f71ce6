//! actionlint reads the workflows. It is built from `sandbox/machine/modules/actionlint`.

use std::{fs, path::Path, process::Command};

use sandbox_machine::{Name, Progress, Result, Sandbox, Tool, checkout, run};
use serde_json::{Value, json};

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

/// What Artifact Hub's documentation asks of a chart in a registry.
#[test]
fn artifact_hub_finds_who_publishes_the_chart() {
    let root = checkout().unwrap();
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let metadata: Value = serde_saphyr::from_str(&read("charts/artifacthub-repo.yml")).unwrap();
    let id = json!({"repositoryID": "${ARTIFACTHUB_REPOSITORY_ID}"});
    assert_eq!(metadata, id);
    let workflow = read(".github/workflows/release.yaml");
    for part in [
        "ARTIFACTHUB_REPOSITORY_ID: ${{ vars.ARTIFACTHUB_REPOSITORY_ID }}",
        "envsubst < charts/artifacthub-repo.yml > artifacthub/artifacthub-repo.yml",
        "/charts/taskqueue-operator:artifacthub.io\"",
        ":application/vnd.cncf.artifacthub.config.v1+yaml",
        "artifacthub-repo.yml:application/vnd.cncf.artifacthub.repository-metadata.layer.v1.yaml",
    ] {
        assert!(workflow.contains(part), "{part} is missing in {workflow}");
    }
}
