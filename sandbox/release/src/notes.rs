//! The notes of a release: how to install it, and its part of the changelog. Pure.

use std::fmt::Write as _;

use sandbox_machine::{Error, Result};

use crate::folder::{CHART, CHECKSUMS, INSTALL, KREW, QUICK_START, Record, package};

/// The notes.
pub(crate) fn notes(changelog: &str, record: &Record) -> Result<String> {
    let version = &record.version;
    let mut text = format!("# taskqueue-operator {version}\n\n## Install\n\n");
    let (registry, files) = (&record.registry, record.files());
    let _always_succeeds = write!(
        text,
        "```\nhelm install {CHART} oci://{registry}/charts/{CHART} --version {version} \\\n  \
         --namespace taskqueue-system --create-namespace --wait\n```\n\nor the same from the file \
         {package}, or `kubectl apply --filename {files}/{INSTALL}`.\n\nSomething to watch: \
         `kubectl apply --filename {files}/{QUICK_START}`, and then `kubectl get tqw --namespace \
         quickstart --watch`. It makes a namespace with a Temporal server for development, a \
         fleet and some work.\n\nThe kubectl plugin, for {plugins}: `kubectl krew install \
         --manifest-url {files}/{KREW}`.\n\n| image | digest |\n| --- | --- |\n",
        package = package(),
        plugins = record.plugins.join(", "),
    );
    for image in &record.images {
        let _always_succeeds = writeln!(text, "| `{}` | `{}` |", image.reference, image.digest);
    }
    let _always_succeeds = write!(
        text,
        "\nArchitectures: {}. Built from commit {}. `sha256sum --check {CHECKSUMS}` checks the \
         files.\n\n## Changes\n\n{}\n",
        record.architectures.join(", "),
        record.revision,
        changes(changelog, version)?,
    );
    Ok(text)
}

/// What the changelog says of a version; of what is not released yet, if it has no heading of this
/// version.
pub(crate) fn changes<'a>(changelog: &'a str, version: &str) -> Result<&'a str> {
    let section = |heading: &str| {
        let (_, rest) = changelog.split_once(&format!("\n## {heading}"))?;
        let (_, body) = rest.split_once('\n')?;
        let end = body.find("\n## ").unwrap_or(body.len());
        Some(body[..end].trim()).filter(|body| !body.is_empty())
    };
    section(&format!("{version} "))
        .or_else(|| section(&format!("{version}\n")))
        .or_else(|| section("Unreleased"))
        .ok_or_else(|| {
            Error::Usage(format!(
                "CHANGELOG.md says nothing under `## {version}` or `## Unreleased`; write down \
                 what users will notice"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\nnew\n\n## 1.2.0 - 2026-11-01\n\n### \
                             Added\n\n- more\n\n## 1.2.0-rc.1\n\n- less\n\n## 1.1.0\n";

    #[test]
    fn a_version_has_its_own_part_of_the_changelog() {
        assert_eq!(changes(CHANGELOG, "1.2.0").unwrap(), "### Added\n\n- more");
        assert_eq!(changes(CHANGELOG, "1.3.0").unwrap(), "new");
        assert_eq!(changes(CHANGELOG, "1.1.0").unwrap(), "new");
        let error = changes("# Changelog\n", "1.0.0").unwrap_err().to_string();
        assert!(error.starts_with("CHANGELOG.md says nothing"), "{error}");
    }

    #[test]
    fn a_person_who_has_only_the_notes_finds_every_address() {
        let record = Record {
            version: "1.2.0".into(),
            revision: "abc".into(),
            registry: "registry.example.com/team".into(),
            source: "https://example.com/repository".into(),
            architectures: vec!["amd64".into()],
            plugins: vec!["linux-amd64".into(), "darwin-arm64".into()],
            images: Vec::new(),
        };
        let text = notes(CHANGELOG, &record).unwrap();
        let files = record.files();
        for expected in [
            "helm install taskqueue-operator \
             oci://registry.example.com/team/charts/taskqueue-operator --version 1.2.0 \\\n",
            &format!("kubectl apply --filename {files}/install.yaml"),
            &format!("kubectl apply --filename {files}/quickstart.yaml"),
            "The kubectl plugin, for linux-amd64, darwin-arm64: ",
            &format!("kubectl krew install --manifest-url {files}/tqw.yaml"),
        ] {
            assert!(text.contains(expected), "{expected} is missing in {text}");
        }
    }

    #[test]
    fn a_heading_without_a_date_is_found() {
        assert_eq!(changes(CHANGELOG, "1.2.0-rc.1").unwrap(), "- less");
    }
}
