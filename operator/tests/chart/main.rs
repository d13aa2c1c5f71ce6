//! The chart: rendered by the real `helm`, compared with goldens, and checked against the types of
//! Kubernetes, the CRDs, the versions and its own README. Also what ships for GitOps tools. Needs
//! `helm`, `kubectl` and `lua5.4`, but no cluster.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails with what it was about to do"
)]

mod compatibility;
mod gitops;
mod helm;
mod monitoring;
mod objects;
mod rights;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;

use clap::Args as _;
use serde_json::{Value, json};
use taskqueue_operator::commands::top;
use taskqueue_operator::settings::Settings;

use helm::{IMAGE, chart, chart_file, read, rendered, root, template, tmp, value_sets, write_tmp};
use objects::{complaint, difference, objects, text, title, yaml};

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
    helm::helm(&[
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

#[test]
fn a_misspelt_or_malformed_value_is_refused_by_name() {
    let cases = [
        ("replcas=2", "additional properties 'replcas' not allowed"),
        (
            "image.tags=1",
            "at '/image': additional properties 'tags' not allowed",
        ),
        (
            "metrics.serviceMonitor.enable=true",
            "additional properties 'enable' not allowed",
        ),
        (
            "resources.limits.memori=1Gi",
            "additional properties 'memori' not allowed",
        ),
        (
            "resources.limits.memory=lots",
            "at '/resources/limits/memory'",
        ),
        (
            "image.pullPolicy=Sometimes",
            "at '/image/pullPolicy': value must be one of",
        ),
        ("replicas=two", "at '/replicas': got string, want integer"),
        ("temporal.callsPerSecond=0", "at '/temporal/callsPerSecond'"),
        ("watchNamespaces={Shop}", "at '/watchNamespaces/0'"),
        ("log.format=xml", "at '/log/format': value must be one of"),
        (
            "leaderElection.enabled=false",
            "more than one replica needs leaderElection.enabled=true",
        ),
        (
            "metrics.service.enabled=false,metrics.serviceMonitor.enabled=true",
            "metrics.serviceMonitor.enabled needs metrics.service.enabled",
        ),
        (
            "serviceAccount.create=false",
            "serviceAccount.name is required",
        ),
        (
            "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true",
            "together they would scrape each replica twice",
        ),
        (
            "hostNetwork=yes",
            "at '/hostNetwork': got string, want boolean",
        ),
        ("ports.metrics=80", "at '/ports/metrics'"),
        ("dnsPolicy=Cluster", "at '/dnsPolicy': value must be one of"),
        (
            "extraVolumeMounts[0].name=a,extraVolumeMounts[0].path=/a",
            "additional properties 'path' not allowed",
        ),
        (
            "extraObjects[0].kind=Secret",
            "missing properties 'apiVersion', 'metadata'",
        ),
        (
            "metrics.dashboard.namespace=Monitoring",
            "at '/metrics/dashboard/namespace'",
        ),
        (
            "metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabledAlerts={TaskQueueTypo}",
            "names \"TaskQueueTypo\", which is not an alert of this chart",
        ),
    ];
    for (set, expected) in cases {
        let [image_flag, image] = IMAGE;
        let answer = template(&chart(), &[image_flag, image, "--set", set]).expect_err(set);
        assert!(
            answer.contains(expected),
            "--set {set} was refused with:\n{answer}"
        );
    }
}

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
fn the_schema_forbids_unknown_fields_wherever_it_names_fields() {
    fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                // `global` also holds what the parent chart shares with its other charts.
                if fields.contains_key("properties")
                    && path != "/properties/global"
                    && fields.get("additionalProperties") != Some(&json!(false))
                {
                    found.push(path.to_owned());
                }
                for (key, value) in fields {
                    open(value, &format!("{path}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for item in items {
                    open(item, &format!("{path}/[]"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    open(&schema(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

fn schema() -> Value {
    serde_json::from_str(&chart_file("values.schema.json")).expect("the schema is JSON")
}

#[test]
fn values_and_schema_name_the_same_keys_and_each_is_documented() {
    let source = chart_file("values.yaml");
    let documented = values::documented(&source);
    let leaves: BTreeSet<String> = values::leaves(&yaml(&source), &documented)
        .iter()
        .map(|path| path.join("."))
        .collect();
    let named: BTreeSet<String> = documented.iter().map(values::Documented::name).collect();
    assert_eq!(
        leaves, named,
        "values.yaml (left) has values that its `# --` comments (right) leave out, or the reverse"
    );

    // Helm itself may pass this to a chart that is a dependency of another.
    let passed_by_helm = ["enabled".to_owned()];
    let mut in_schema = BTreeSet::new();
    schema_leaves(&schema(), &[], &named, &mut in_schema);
    assert_eq!(
        in_schema
            .difference(&BTreeSet::from(passed_by_helm))
            .cloned()
            .collect::<BTreeSet<_>>(),
        named
    );
}

fn schema_leaves(
    schema: &Value,
    path: &[String],
    stop: &BTreeSet<String>,
    out: &mut BTreeSet<String>,
) {
    let name = path.join(".");
    match schema.get("properties").and_then(Value::as_object) {
        Some(fields) if !stop.contains(&name) => {
            for (key, value) in fields {
                schema_leaves(
                    value,
                    &[path, std::slice::from_ref(key)].concat(),
                    stop,
                    out,
                );
            }
        }
        _ => {
            out.insert(name);
        }
    }
}

#[test]
fn every_value_changes_what_is_rendered() {
    let source = chart_file("values.yaml");
    let defaults = yaml(&source);
    let sets: Vec<(Value, Result<String, String>)> = value_sets()
        .into_iter()
        .map(|(_, path)| (yaml(&read(&path)), Ok(rendered(&path))))
        .collect();
    let documented = values::documented(&source);
    let work = Mutex::new(documented.iter().enumerate());
    let ignored = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let next = work.lock().expect("no thread panics with the lock").next();
                    let Some((index, entry)) = next else { break };
                    if !changes_the_rendering(index, entry, &defaults, &sets) {
                        ignored
                            .lock()
                            .expect("no thread panics with the lock")
                            .insert(entry.name());
                    }
                }
            });
        }
    });
    assert_eq!(
        ignored.into_inner().expect("no thread panicked"),
        BTreeSet::new(),
        "no value set in ci/ sets these to something that changes what is rendered"
    );
}

/// True if some value set contains the value and renders differently with the default in its place.
fn changes_the_rendering(
    index: usize,
    entry: &values::Documented,
    defaults: &Value,
    sets: &[(Value, Result<String, String>)],
) -> bool {
    let default = values::at(defaults, &entry.path);
    sets.iter().any(|(set, with)| {
        let own = values::at(set, &entry.path);
        if own.is_none() || own == default {
            return false;
        }
        let reduced = values::without(set, &entry.path).to_string();
        let path: PathBuf = write_tmp(&format!("without-{index}.json"), &reduced);
        template(&chart(), &["--values", &path.to_string_lossy()]) != *with
    })
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

/// The README's table is generated from values.yaml. To write it:
/// `UPDATE_README=1 cargo test -p taskqueue-operator --test chart`.
#[test]
fn the_readme_has_the_table_of_values() {
    const BEGIN: &str = "<!-- values: made from values.yaml -->\n";
    const END: &str = "<!-- end of values -->";
    let path = chart().join("README.md");
    let readme = read(&path);
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("the README marks where the table begins");
    let (_, after) = rest
        .split_once(END)
        .expect("the README marks where the table ends");
    let expected = format!(
        "{before}{BEGIN}{}\n{END}{after}",
        values::tables(&chart_file("values.yaml"))
    );
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &expected).expect("the README can be written");
    }
    assert_eq!(read(&path), expected, "run it once with UPDATE_README=1");
}
