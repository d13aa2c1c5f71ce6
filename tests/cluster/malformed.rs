//! The API server refuses each mistake in the table with a message that names the field. It accepts
//! the good examples and the CRDs unchanged, from a plain client-side `kubectl apply`.

use std::{path::Path, process::Stdio};

use serde_json::Value;
use taskqueue_testkit::malformed::{
    malformed, well_formed, well_formed_cluster_connection, well_formed_connection,
};

use crate::harness::{TestCluster, output, with_namespace};

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_the_table_is_refused_and_its_field_is_named() {
    with_namespace("every-mistake-is-refused", |cluster| async move {
        for good in [
            well_formed(),
            well_formed_connection(),
            well_formed_cluster_connection(),
        ] {
            apply(&cluster, &good)?;
        }
        let mut wrong = Vec::new();
        for case in malformed() {
            match apply(&cluster, &case.resource) {
                Ok(answer) => wrong.push(format!("{}: was accepted: {answer}", case.mistake)),
                Err(refusal) => {
                    let refusal = format!("{refusal:#}");
                    wrong.extend(
                        case.refusal
                            .iter()
                            .filter(|text| !refusal.contains(**text))
                            .map(|text| format!("{}: {text:?} is not in: {refusal}", case.mistake)),
                    );
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_and_examples_are_applied_by_a_plain_kubectl_apply() {
    with_namespace("crds-and-examples-are-applied", |cluster| async move {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
        // A dry run, because the chart owns the CRDs of this sandbox. The API server still checks
        // the size limit of the annotation that a client-side apply writes.
        output(
            cluster
                .sandbox
                .kubectl()
                .args(["apply", "--dry-run=server", "-f"])
                .arg(&crds),
        )?;
        for example in std::fs::read_dir(crds.join("examples"))? {
            let text = std::fs::read_to_string(example?.path())?;
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
            for document in documents {
                apply(&cluster, &document)?;
            }
        }
        Ok(())
    })
    .await;
}

/// Applies a resource as a user would, in the test's namespace, as a server-side dry run.
fn apply(cluster: &TestCluster, resource: &Value) -> anyhow::Result<String> {
    let mut resource = resource.clone();
    resource["metadata"]["namespace"] = cluster.namespace.clone().into();
    let file = tempfile(cluster, &resource)?;
    output(
        cluster
            .sandbox
            .kubectl()
            .args(["apply", "--dry-run=server", "-f"])
            .arg(file.as_path())
            .stdin(Stdio::null()),
    )
}

fn tempfile(cluster: &TestCluster, resource: &Value) -> anyhow::Result<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&cluster.namespace);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("resource.json");
    std::fs::write(&file, serde_json::to_vec(resource)?)?;
    Ok(file)
}
