//! The manifest of the kubectl plugin for Krew. Pure.

use sandbox_machine::{Error, Result};
use serde_json::{Value, json};

use crate::{
    folder::{Record, VERSION, plugin_archive},
    platform::Platform,
    program::PLUGIN,
};

/// The manifest, for archives with these checksums that are attached to the release `vVERSION` of
/// the repository.
pub(crate) fn manifest(record: &Record, archives: &[(Platform, String)]) -> Result<String> {
    let platforms: Vec<Value> = archives
        .iter()
        .map(|(platform, sum)| {
            let (system, architecture) = (platform.system.name(), platform.architecture.name());
            json!({
                "selector": {"matchLabels": {"os": system, "arch": architecture}},
                "uri": format!("{}/{}", record.files(), plugin_archive(*platform)),
                "sha256": sum,
                "bin": PLUGIN,
                "files": [{"from": "*", "to": "."}],
            })
        })
        .collect();
    let manifest = json!({
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "tqw"},
        "spec": {
            "version": format!("v{VERSION}"),
            "homepage": record.source,
            "shortDescription": "Show and explain Temporal worker fleets",
            "description": "Shows the fleets of taskqueue-operator live (top), explains the \
                            replicas of a queue (explain), lists what is wrong with a fleet \
                            (check), and tries a scaling policy on a trace (simulate). It reads \
                            with your own rights and changes nothing.\n",
            "platforms": platforms,
        },
    });
    serde_saphyr::to_string(&manifest)
        .map_err(|error| Error::source("the manifest for Krew", error.to_string()))
}

#[cfg(test)]
mod tests {
    use sandbox_machine::Architecture;

    use super::*;

    #[test]
    fn a_platform_has_its_archive_at_the_release_with_its_checksum() {
        let record = Record {
            version: VERSION.into(),
            revision: String::new(),
            registry: String::new(),
            source: "https://example.com/repository".into(),
            architectures: Vec::new(),
            plugins: Vec::new(),
            images: Vec::new(),
        };
        let archives = [
            (Platform::linux(Architecture::Arm64), "0123".into()),
            (Platform::macos(Architecture::Arm64), "4567".into()),
        ];
        let text = manifest(&record, &archives).unwrap();
        let manifest: Value = serde_saphyr::from_str(&text).unwrap();
        let platform = |system: &str, sum: &str| {
            json!({
                "selector": {"matchLabels": {"os": system, "arch": "arm64"}},
                "uri": format!(
                    "https://example.com/repository/releases/download/v{VERSION}/\
                     kubectl-tqw-{VERSION}-{system}-arm64.tar.gz"
                ),
                "sha256": sum,
                "bin": "kubectl-tqw",
                "files": [{"from": "*", "to": "."}],
            })
        };
        assert_eq!(
            manifest["spec"]["platforms"],
            json!([platform("linux", "0123"), platform("darwin", "4567")])
        );
    }
}
