//! The steps of `cargo sandbox release` with the development profile's binaries, and what its check
//! notices. Needs cargo, go, buildah, helm, objcopy and tar.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod krew;
mod workflows;

use std::{fs, path::Path, process::Command};

use sandbox_machine::{
    Architecture, Name, Paths, Progress, cargo, checkout, executables, lay_out, run,
};
use sandbox_release::{Options, Program, check, make};
use serde_json::{Value, json};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `cargo sandbox binaries` makes, with stand-ins for what its tools write: they are not built
/// for a test.
fn binaries(folder: &Path) {
    let mut command = cargo();
    command
        .args(["build", "--workspace", "--quiet"])
        .current_dir(checkout().unwrap());
    let built = executables(&mut command, &Program::OF_CARGO.map(Program::binary)).unwrap();
    let notices = folder.join("THIRD-PARTY.txt");
    fs::write(&notices, "notices").unwrap();
    let folder = folder.join(Architecture::HOST.name());
    for (program, binary) in Program::OF_CARGO.into_iter().zip(built) {
        let root = folder.join(program.binary());
        lay_out(
            &root,
            program.binary(),
            &binary,
            std::slice::from_ref(&notices),
        )
        .unwrap();
        let list = folder.join("list");
        fs::write(&list, "crates").unwrap();
        run::output(
            Command::new("objcopy")
                .args(["--strip-all", "--add-section"])
                .arg(format!(".dep-v0={}", list.display()))
                .arg(root.join(program.binary())),
        )
        .unwrap();
        let bill = json!({
            "bomFormat": "CycloneDX",
            "metadata": {"component": {"name": program.package(), "version": VERSION}},
            "components": [{"name": "serde"}],
        });
        let file = folder.join(format!("{}.cdx.json", program.binary()));
        fs::write(file, bill.to_string()).unwrap();
    }
}

/// Changes a file of the release, and its checksum with it.
fn change(release: &Path, name: &str, change: impl FnOnce(String) -> String) {
    let file = release.join(name);
    fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
    let script = "rm SHA256SUMS; sums=$(sha256sum *); echo \"$sums\" >SHA256SUMS";
    run::output(Command::new("sh").args(["-c", script]).current_dir(release)).unwrap();
}

#[test]
fn a_release_is_complete_and_its_check_notices_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (made, release) = (
        folder.path().join("binaries"),
        folder.path().join("release"),
    );
    fs::create_dir(&made).unwrap();
    binaries(&made);
    let paths = Paths::of(&Name::default()).unwrap();
    let options = Options {
        registry: "registry.example.com/team/".into(),
        source: "https://example.com/taskqueue-operator".into(),
        architectures: vec![Architecture::HOST],
        binaries: Some(made),
        macos: None,
        output: release.clone(),
    };
    let found = make(&paths, options, Progress::silent()).unwrap();
    let host = Architecture::HOST.name();
    let subjects: Vec<&str> = found
        .iter()
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    assert_eq!(
        subjects,
        [
            "SHA256SUMS",
            &format!("taskqueue-operator-{VERSION}.oci.tar for linux/{host}"),
            &format!("order-worker-{VERSION}.oci.tar for linux/{host}"),
            &format!("greeting-worker-{VERSION}.oci.tar for linux/{host}"),
            &format!("taskqueue-operator-{VERSION}.tgz"),
            "quickstart.yaml",
            &format!("taskqueue-operator-{VERSION}-linux-{host}.cdx.json"),
            &format!("order-worker-{VERSION}-linux-{host}.cdx.json"),
            &format!("greeting-worker-{VERSION}-linux-{host}.cdx.json"),
            &format!("kubectl-tqw-{VERSION}-linux-{host}.cdx.json"),
            &format!("kubectl-tqw-{VERSION}-linux-{host}.tar.gz"),
        ]
    );
    assert_eq!(check(&paths, &release).unwrap(), found);

    // A person or a program finds the image in each place, with the same digest.
    let record: Value =
        serde_json::from_slice(&fs::read(release.join("release.json")).unwrap()).unwrap();
    let reference = format!("registry.example.com/team/taskqueue-operator:{VERSION}");
    assert_eq!(record["images"][0]["reference"], reference.as_str());
    let digest = record["images"][0]["digest"].as_str().unwrap();
    for file in ["install.yaml", "RELEASE_NOTES.md"] {
        let text = fs::read_to_string(release.join(file)).unwrap();
        assert!(text.contains(digest), "{file} does not name {digest}");
    }
    let worker = format!("image: registry.example.com/team/greeting-worker:{VERSION}@sha256:");
    let quick_start = fs::read_to_string(release.join("quickstart.yaml")).unwrap();
    assert!(quick_start.contains(&worker), "{quick_start}");
    let manifest = fs::read_to_string(release.join("tqw.yaml")).unwrap();
    assert!(manifest.contains("https://example.com/taskqueue-operator/releases/download/"));
    krew::accepts_the_plugin(&release);

    let complaint = || check(&paths, &release).unwrap_err().to_string();
    fs::write(release.join("install.yaml.orig"), "").unwrap();
    assert!(complaint().ends_with("install.yaml.orig has no checksum"));
    fs::remove_file(release.join("install.yaml.orig")).unwrap();
    change(&release, "install.yaml", |text| {
        text.replace("replicas: 2", "replicas: 3")
    });
    assert!(
        complaint().contains("install.yaml: it is not what taskqueue-operator-"),
        "{}",
        complaint()
    );
    change(&release, "install.yaml", |text| {
        text.replace("replicas: 3", "replicas: 2")
    });
    assert_eq!(check(&paths, &release).unwrap(), found);
    change(&release, "quickstart.yaml", |text| {
        text.replace(&worker, "image: localhost/greeting-worker:0.1.0@sha256:")
    });
    assert!(
        complaint().contains("quickstart.yaml: its images are [\"localhost/greeting-worker"),
        "{}",
        complaint()
    );
    change(&release, "quickstart.yaml", |_| quick_start);
    let other = format!("sha256:{}", "0".repeat(64));
    change(&release, "release.json", |text| {
        text.replace(digest, &other)
    });
    assert!(
        complaint().contains(&format!(
            "the digest of taskqueue-operator-{VERSION}.oci.tar"
        )),
        "{}",
        complaint()
    );
}

#[test]
fn a_folder_that_is_no_release_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "").unwrap();
    let options = Options {
        registry: "registry.example.com".into(),
        source: "https://example.com".into(),
        architectures: vec![Architecture::HOST],
        binaries: Some(folder.path().to_owned()),
        macos: None,
        output: folder.path().to_owned(),
    };
    let paths = Paths::of(&Name::default()).unwrap();
    let error = make(&paths, options, Progress::silent())
        .unwrap_err()
        .to_string();
    assert!(error.contains("is not the folder of a release"), "{error}");
    assert!(folder.path().join("mine").exists());
}
