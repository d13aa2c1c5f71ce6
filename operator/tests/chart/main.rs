//! The chart: rendered by the real `helm`, compared with goldens, and checked against the types of
//! Kubernetes, the CRDs, the versions and its own README. Also what ships for GitOps tools. Needs
//! `helm`, `kubectl` and `lua5.4`, and programs that the sandbox builds, but no cluster.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails with what it was about to do"
)]

mod clusters;
mod compatibility;
mod dashboards;
mod gitops;
mod helm;
mod monitoring;
mod objects;
mod package;
mod pods;
mod releases;
mod rights;
mod schema;
mod values;

use serde_json::json;

use helm::{IMAGE, chart, rendered, value_sets};
use objects::{complaint, objects};

#[test]
fn helm_lint_finds_nothing_in_any_value_set() {
    for (name, values) in value_sets() {
        let (chart, values) = (chart(), values);
        let output = helm::helm(&[
            "lint".as_ref(),
            "--strict".as_ref(),
            chart.as_os_str(),
            "--values".as_ref(),
            values.as_os_str(),
        ]);
        assert!(output.is_ok(), "{name}: {}", output.unwrap_err());
    }
}

#[test]
fn every_value_set_renders_as_its_golden() {
    for (name, values) in value_sets() {
        insta::assert_snapshot!(name, without_large_parts(&rendered(&values)));
    }
}

/// The rendering without the CRDs' schemas and the dashboard, which have tests of their own and
/// would hide the rest.
fn without_large_parts(rendered: &str) -> String {
    rendered
        .split("\n---\n")
        .map(|document| {
            let end = if document.contains("\nkind: CustomResourceDefinition\n") {
                document.find("\nspec:\n")
            } else if document.contains("\nkind: ConfigMap\n") {
                document.find("\ndata:\n")
            } else {
                None
            };
            end.map_or_else(
                || document.trim_end().to_owned(),
                |end| format!("{}\n# … compared by its own test", &document[..end]),
            )
        })
        .collect::<Vec<_>>()
        .join("\n---\n")
}

#[test]
fn every_rendered_object_fits_its_type_without_an_unknown_field() {
    let complaints: Vec<String> = value_sets()
        .iter()
        .flat_map(|(name, values)| {
            objects(&rendered(values))
                .iter()
                .filter_map(complaint)
                .map(|complaint| format!("{name}: {complaint}"))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn a_misspelt_field_of_a_rendered_object_is_noticed() {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"},
        "spec": {
            "selector": {},
            "template": {"spec": {"containers": [{"name": "c", "imagePullPolice": "Always"}]}},
        },
    });
    assert_eq!(
        complaint(&object).as_deref(),
        Some(
            "Deployment b/a: .spec.template.spec.containers[0].imagePullPolice is not a field of \
             this kind"
        )
    );
}

#[test]
fn the_notes_say_what_to_do_next() {
    let chart = chart();
    let chart = chart.to_string_lossy();
    let output = helm::helm(&[
        "install",
        "taskqueue-operator",
        &chart,
        "--namespace",
        "taskqueue-system",
        IMAGE[0],
        IMAGE[1],
        "--dry-run=client",
    ])
    .expect("a dry run needs no cluster");
    let (_, notes) = output.split_once("NOTES:\n").expect("the chart has notes");
    insta::assert_snapshot!("notes", notes);
}
