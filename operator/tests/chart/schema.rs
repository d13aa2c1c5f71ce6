//! The schema of the values: what it refuses, and that values, schema and README agree.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::helm::{IMAGE, chart, chart_file, read, rendered, template, value_sets, write_tmp};
use crate::objects::yaml;
use crate::values;

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
        ("namespaceOverride=Fleets", "at '/namespaceOverride'"),
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
