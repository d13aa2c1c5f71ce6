//! The pods of the chart: their image, their settings and their security.

use std::collections::BTreeSet;

use clap::Args as _;
use serde_json::{Value, json};
use taskqueue_cli::top;
use taskqueue_operator::settings::Settings;

use crate::helm::{chart, rendered, template, value_sets};
use crate::objects::{objects, text};

#[test]
fn an_image_that_nobody_can_pull_is_refused_with_the_remedy() {
    let refused = template(&chart(), &[]).expect_err("no image is named");
    assert!(
        refused.contains("image.repository \"taskqueue-operator\" names no registry")
            && refused.contains("set image.repository=REGISTRY/taskqueue-operator"),
        "{refused}"
    );
}

#[test]
fn the_image_is_the_one_that_registry_and_repository_name() {
    let cases = [
        (
            "image.registry=a.example.com",
            "a.example.com/taskqueue-operator",
        ),
        // A mirror for all charts wins over the chart's own registry.
        (
            "image.registry=a.example.com,global.imageRegistry=mirror:5000",
            "mirror:5000/taskqueue-operator",
        ),
        (
            "image.repository=team/operator,global.imageRegistry=mirror:5000/hub/",
            "mirror:5000/hub/team/operator",
        ),
        ("image.repository=team/operator", "team/operator"),
        // These name their registry.
        (
            "image.repository=b.example.com/operator,image.registry=a.example.com",
            "b.example.com/operator",
        ),
        (
            "image.repository=localhost/operator,image.registry=a.example.com",
            "localhost/operator",
        ),
        (
            "image.repository=b:5000/operator,image.registry=a.example.com",
            "b:5000/operator",
        ),
    ];
    for (set, expected) in cases {
        let rendered = template(&chart(), &["--set", set])
            .unwrap_or_else(|error| panic!("--set {set}: {error}"));
        let expected = format!("{expected}:{}", env!("CARGO_PKG_VERSION"));
        let images: Vec<String> = objects(&rendered)
            .iter()
            .filter_map(pod)
            .map(|pod| text(pod, "/containers/0/image").to_owned())
            .collect();
        assert_eq!(images, [expected.clone(), expected], "--set {set}");
    }
}

/// The pod of a Deployment or of a test.
fn pod(object: &Value) -> Option<&Value> {
    match text(object, "/kind") {
        "Deployment" => object.pointer("/spec/template/spec"),
        "Pod" => object.get("spec"),
        _ => None,
    }
}

#[test]
fn the_pods_meet_the_restricted_standard_by_default() {
    let objects = objects(&rendered(&chart().join("ci/default.yaml")));
    let pods: Vec<&Value> = objects.iter().filter_map(pod).collect();
    assert_eq!(pods.len(), 2, "the operator's and the test's");
    for pod in &pods {
        assert_eq!(
            pod["securityContext"],
            json!({
                "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            })
        );
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
        for part in ["requests", "limits"] {
            let given: Vec<&String> = container["resources"][part]
                .as_object()
                .expect(part)
                .keys()
                .collect();
            assert_eq!(given, ["cpu", "memory"], "{part}");
        }
    }
    let operator = &pods[0]["containers"][0];
    assert_eq!(
        operator["livenessProbe"]["httpGet"],
        json!({"path": "/livez", "port": "metrics"})
    );
    assert_eq!(
        operator["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": "metrics"})
    );
}

#[test]
fn the_pod_sets_every_setting_of_the_operator() {
    let settings = Settings::augment_args(clap::Command::new("run"));
    let known: BTreeSet<String> = settings
        .get_arguments()
        .filter_map(|argument| argument.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        // Only set if no lease name is chosen; this value set chooses one.
        .filter(|name| name != "TASKQUEUE_OPERATOR_FORMER_LEASE_NAME")
        .collect();
    let objects = objects(&rendered(&chart().join("ci/every-value.yaml")));
    let container = objects
        .iter()
        .find_map(|object| object.pointer("/spec/template/spec/containers/0"))
        .expect("the chart renders a container");
    let added_by_the_value_set = "SSL_CERT_FILE";
    let set: BTreeSet<String> = container["env"]
        .as_array()
        .expect("the container has variables")
        .iter()
        .map(|variable| text(variable, "/name").to_owned())
        .filter(|name| name != added_by_the_value_set)
        .collect();
    assert_eq!(
        set, known,
        "set by the chart (left) and read by the operator (right)"
    );
}

#[test]
fn the_test_pod_runs_a_command_that_the_operator_has() {
    let command = || top::Arguments::augment_args(clap::Command::new("top").no_binary_name(true));
    for (name, values) in value_sets() {
        let objects = objects(&rendered(&values));
        let test = objects
            .iter()
            .find(|object| text(object, "/kind") == "Pod")
            .unwrap_or_else(|| panic!("{name}: no pod for helm test"));
        let args: Vec<&str> = test["spec"]["containers"][0]["args"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let [subcommand, flags @ ..] = args.as_slice() else {
            panic!("{name}: the test pod has no arguments");
        };
        assert_eq!(*subcommand, "top", "{name}");
        let parsed = command().try_get_matches_from(flags);
        assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
    }
}
