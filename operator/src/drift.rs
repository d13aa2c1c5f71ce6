//! Detects drift: whether a Deployment has changed since our last apply. Pure.
//!
//! Comparing what we render with what the API server returns would never end: it fills in defaults
//! and rewrites quantities, and others own fields of their own. So we keep two hashes after each
//! apply: of what was rendered, and of what the server then held. While both stay the same there is
//! nothing to write, and any change by somebody else leads to exactly one apply.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;

/// The hash of what we render.
pub fn rendered(object: &Deployment) -> u64 {
    hash(object)
}

/// The hash of what concerns us in the server's object: the spec without the replicas, the labels
/// and annotations that `rendered` sets, and the owners.
pub fn live(existing: &Deployment, rendered: &Deployment) -> u64 {
    let mut spec = existing.spec.clone().unwrap_or_default();
    spec.replicas = None;
    let labels = ours(
        existing.metadata.labels.as_ref(),
        rendered.metadata.labels.as_ref(),
    );
    let annotations = ours(
        existing.metadata.annotations.as_ref(),
        rendered.metadata.annotations.as_ref(),
    );
    hash(&(
        spec,
        labels,
        annotations,
        &existing.metadata.owner_references,
    ))
}

type Map = BTreeMap<String, String>;

/// The entries of `existing` whose keys we set.
fn ours<'a>(existing: Option<&'a Map>, rendered: Option<&Map>) -> BTreeMap<&'a str, &'a str> {
    let existing = existing.into_iter().flatten();
    existing
        .filter(|(key, _)| rendered.is_some_and(|rendered| rendered.contains_key(*key)))
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

fn hash(value: &impl Serialize) -> u64 {
    let mut hasher = DefaultHasher::new();
    // Serialising plain Kubernetes objects does not fail. If it did, the empty text would differ
    // from every other one and lead to one apply too many, never to one too few.
    serde_json::to_string(value)
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(value: serde_json::Value) -> Deployment {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_changes_of_our_fields_are_drift() {
        let rendered = deployment(json!({
            "metadata": {"name": "d", "labels": {"a": "1"}},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"a": "1"}}}},
        }));
        let existing = json!({
            "metadata": {"name": "d", "resourceVersion": "7", "labels": {"a": "1", "other": "x"},
                "annotations": {"deployment.kubernetes.io/revision": "3"}},
            "spec": {
                "replicas": 3, "selector": {}, "template": {"metadata": {"labels": {"a": "1"}}},
            },
            "status": {"replicas": 3},
        });
        let base = live(&deployment(existing.clone()), &rendered);
        let changed = |pointer: &str, value: serde_json::Value| {
            let mut existing = existing.clone();
            *existing.pointer_mut(pointer).unwrap() = value;
            live(&deployment(existing), &rendered) != base
        };
        assert!(!changed("/spec/replicas", json!(9)));
        assert!(!changed("/status/replicas", json!(9)));
        assert!(!changed("/metadata/resourceVersion", json!("8")));
        assert!(!changed("/metadata/labels/other", json!("y")));
        assert!(!changed(
            "/metadata/annotations",
            json!({"deployment.kubernetes.io/revision": "4"})
        ));
        assert!(changed("/metadata/labels/a", json!("2")));
        assert!(changed(
            "/spec/template/metadata",
            json!({"annotations": {"restartedAt": "now"}})
        ));
    }
}
