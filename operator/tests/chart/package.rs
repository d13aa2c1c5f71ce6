//! The chart as a package: its versions, its CRDs and its metadata.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::helm::{IMAGE, chart, chart_file, helm, read, rendered, root, template, tmp};
use crate::objects::{difference, objects, text, title, yaml};

#[test]
fn chart_image_and_crates_have_the_same_version() {
    let chart = yaml(&chart_file("Chart.yaml"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (text(&chart, "/version"), text(&chart, "/appVersion")),
        (version, version),
        "Chart.yaml and Cargo.toml disagree"
    );
}

#[test]
fn the_chart_and_the_documentation_require_the_same_kubernetes_version() {
    let chart_yaml = yaml(&chart_file("Chart.yaml"));
    let wanted = text(&chart_yaml, "/kubeVersion");
    let minor: u32 = wanted
        .strip_prefix(">=1.")
        .and_then(|rest| rest.strip_suffix(".0-0"))
        .and_then(|minor| minor.parse().ok())
        .unwrap_or_else(|| panic!("kubeVersion {wanted} is not of the form >=1.N.0-0"));
    for file in [
        "README.md",
        "docs/installing.md",
        "charts/taskqueue-operator/README.md",
    ] {
        let words = format!("Kubernetes 1.{minor} or newer");
        assert!(
            read(&root().join(file)).contains(&words),
            "{file} lacks the words: {words}"
        );
    }
    let on = |version: &str| {
        let [set, image] = IMAGE;
        template(&chart(), &[set, image, "--kube-version", version])
    };
    let older = on(&format!("1.{}.9", minor - 1));
    assert!(older.is_err_and(|error| error.contains("kubeVersion")));
    let oldest = on(&format!("1.{minor}.0"));
    assert!(oldest.is_ok(), "{oldest:?}");
}

#[test]
fn the_rendered_crds_are_those_of_the_repository() {
    let mut rendered_specs: BTreeMap<String, Value> = BTreeMap::new();
    for object in objects(&rendered(&chart().join("ci/default.yaml"))) {
        if text(&object, "/kind") == "CustomResourceDefinition" {
            assert_eq!(
                text(&object, "/metadata/annotations/helm.sh~1resource-policy"),
                "keep"
            );
            rendered_specs.insert(title(&object), object["spec"].clone());
        }
    }
    let committed: BTreeMap<String, Value> = std::fs::read_dir(root().join("crds"))
        .expect("the repository has crds/")
        .map(|entry| entry.expect("crds/ is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| yaml(&read(&path)))
        .map(|object| (title(&object), object["spec"].clone()))
        .collect();
    let names = |specs: &BTreeMap<String, Value>| specs.keys().cloned().collect::<Vec<_>>();
    assert!(!committed.is_empty(), "crds/ holds no definition");
    assert_eq!(names(&rendered_specs), names(&committed));
    for (name, spec) in &committed {
        // The specs are long, so show only the first difference.
        assert_eq!(difference(&rendered_specs[name], spec, ""), None, "{name}");
    }
}

#[test]
fn artifact_hub_is_told_of_every_crd_and_shows_the_smallest_fleet() {
    let chart_yaml = yaml(&chart_file("Chart.yaml"));
    let annotation = |name: &str| {
        let pointer = format!("/annotations/artifacthub.io~1{name}");
        yaml(text(&chart_yaml, &pointer))
    };
    let mut listed: Vec<String> = annotation("crds")
        .as_array()
        .expect("crds is a list")
        .iter()
        .map(|crd| {
            ["kind", "version", "name"]
                .map(|field| text(crd, &format!("/{field}")).to_owned())
                .join(" ")
        })
        .collect();
    listed.sort();
    let mut rendered: Vec<String> = objects(&rendered(&chart().join("ci/default.yaml")))
        .iter()
        .filter(|object| text(object, "/kind") == "CustomResourceDefinition")
        .map(|crd| {
            let pointers = [
                "/spec/names/kind",
                "/spec/versions/0/name",
                "/metadata/name",
            ];
            pointers
                .map(|pointer| text(crd, pointer).to_owned())
                .join(" ")
        })
        .collect();
    rendered.sort();
    assert_eq!(listed, rendered);

    let smallest = yaml(&read(&root().join("crds/examples/minimal.yaml")));
    assert_eq!(annotation("crdsExamples"), json!([smallest]));
}

#[test]
fn the_packaged_chart_renders_like_its_folder() {
    let folder = tmp("package");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    let (chart, destination) = (chart(), folder.clone());
    helm(&[
        "package".as_ref(),
        chart.as_os_str(),
        "--destination".as_ref(),
        destination.as_os_str(),
    ])
    .expect("the chart can be packaged");
    let package = folder.join(format!(
        "taskqueue-operator-{}.tgz",
        env!("CARGO_PKG_VERSION")
    ));
    let values = chart.join("ci/production.yaml");
    let arguments = ["--values", &*values.to_string_lossy()];
    assert_eq!(template(&package, &arguments), template(&chart, &arguments));
}
