//! Releases of the chart side by side: in another namespace, and of another version. Runs `helm`,
//! and copies the chart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::helm::{chart, read, rendered, template, tmp, value_sets};
use crate::objects::{objects, text};

#[test]
fn the_namespace_override_is_to_every_object_what_the_namespace_of_the_release_is() {
    for (name, values) in value_sets() {
        // The templates of these objects are the user's.
        let same = [
            "--values",
            &*values.to_string_lossy(),
            "--set",
            "extraObjects=null",
        ];
        let [overridden, moved] = [
            ["--set", "namespaceOverride=elsewhere"],
            ["--namespace=elsewhere", "--set=namespaceOverride="],
        ]
        .map(|arguments| template(&chart(), &[&same[..], &arguments].concat()));
        assert_eq!(overridden, moved, "{name}");
    }
}

/// A copy of the chart as its next version.
fn next_version() -> PathBuf {
    let copy = tmp("next-version");
    copy_folder(&chart(), &copy);
    let file = copy.join("Chart.yaml");
    let now = env!("CARGO_PKG_VERSION");
    let text = read(&file);
    let next = text.replace(now, "99.0.0");
    assert_ne!(next, text, "Chart.yaml names its version");
    std::fs::write(&file, next).expect("the target folder can be written");
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the target folder can be written");
    for entry in std::fs::read_dir(from).expect("the chart is readable") {
        let entry = entry.expect("the chart is readable");
        let copy = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            std::fs::copy(entry.path(), copy).expect("the target folder can be written");
        }
    }
}

/// The pod template of the operator.
fn pod_template(rendered: &str) -> Value {
    let objects = objects(rendered);
    let deployment = objects
        .iter()
        .find(|object| text(object, "/kind") == "Deployment");
    deployment.expect("the chart renders a Deployment")["spec"]["template"].clone()
}

#[test]
fn a_new_version_of_the_chart_with_the_same_image_restarts_no_pod() {
    let next = next_version();
    for (name, values) in value_sets() {
        let same = [
            "--values",
            &*values.to_string_lossy(),
            "--set-string",
            "image.tag=1",
        ];
        let [before, after] = [chart(), next.clone()].map(|chart| {
            let rendered = template(&chart, &same);
            pod_template(&rendered.unwrap_or_else(|error| panic!("{name}: {error}")))
        });
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn the_pods_have_the_labels_of_the_selectors_and_those_of_the_user() {
    let labels = |set: &str| -> BTreeMap<String, Value> {
        let template = pod_template(&rendered(&chart().join(format!("ci/{set}.yaml"))));
        let labels = template["metadata"]["labels"].as_object().cloned();
        labels.unwrap_or_default().into_iter().collect()
    };
    let expected = |labels: &[(&str, &str)]| -> BTreeMap<String, Value> {
        let labels = labels.iter();
        labels
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect()
    };
    let release = ("app.kubernetes.io/instance", "taskqueue-operator");
    assert_eq!(
        labels("default"),
        expected(&[("app.kubernetes.io/name", "taskqueue-operator"), release])
    );
    assert_eq!(
        labels("every-value"),
        expected(&[
            ("app.kubernetes.io/name", "fleets"),
            release,
            ("team", "platform"),
            ("example.com/injected", "yes"),
        ])
    );
}
