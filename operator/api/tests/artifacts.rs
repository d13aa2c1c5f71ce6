//! The committed definitions and examples match the types.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;
use taskqueue_api::{
    ClusterTemporalConnection, ConnectionKind, ConnectionSource, TaskQueueWorker,
    TemporalConnection, crd_files, crds, validate,
};

/// The size that a client-side `kubectl apply` can store in its annotation.
const LARGEST_ANNOTATION: usize = 262_144;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn folder() -> PathBuf {
    root().join("crds")
}

/// The chart, and the folder of the CRDs in it.
fn chart() -> (PathBuf, PathBuf) {
    let chart = root().join("charts/taskqueue-operator");
    let crds = chart.join("files/crds");
    (chart, crds)
}

fn yaml_files(folder: PathBuf) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn the_committed_crds_match_the_types() {
    let generated: BTreeMap<String, String> = crd_files().unwrap().into_iter().collect();
    for folder in [folder(), chart().1] {
        assert!(
            yaml_files(folder.clone()) == generated,
            "{} differs from the types; refresh it with `cargo crd`",
            folder.display()
        );
    }
}

/// Flux drops symlinks from what it fetches, and a checkout on Windows turns them into texts.
#[test]
fn the_chart_has_no_symlinks() {
    let mut folders = vec![chart().0];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            assert!(!kind.is_symlink(), "{}", entry.path().display());
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert!(files > 20, "{files} files were looked at");
}

#[test]
fn the_yaml_of_a_crd_reads_back_as_the_crd() {
    let read: Vec<_> = crd_files()
        .unwrap()
        .into_iter()
        .map(|(_, text)| serde_saphyr::from_str(&text).unwrap())
        .collect();
    assert_eq!(crds(), read);
}

#[test]
fn crds_stay_under_three_quarters_of_the_limit_of_a_client_side_apply() {
    for crd in crds() {
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(
            size < LARGEST_ANNOTATION / 4 * 3,
            "{:?} has {size} bytes",
            crd.metadata.name
        );
    }
}

/// Collects the fields that hold a number or a string, by whether the string must be a quantity.
fn numbers_or_strings(schema: &Value, name: &str, found: &mut [BTreeSet<String>; 2]) {
    if schema["x-kubernetes-int-or-string"] == true {
        let pattern = schema["pattern"].as_str().unwrap_or_default();
        let quantity = pattern.contains("[KMGTPE]i");
        found[usize::from(quantity)].insert(name.to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        numbers_or_strings(field, name, found);
    }
    for inside in ["items", "additionalProperties"] {
        if schema[inside].is_object() {
            numbers_or_strings(&schema[inside], name, found);
        }
    }
}

#[test]
fn a_quantity_has_a_pattern_and_a_port_has_none() {
    let crd = serde_json::to_value(&crds()[0].spec.versions[0].schema).unwrap();
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    numbers_or_strings(&crd["openAPIV3Schema"], "", &mut found);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        found,
        [
            names(&["maxSurge", "maxUnavailable", "minAvailable", "port"]),
            names(&["divisor", "limits", "overhead", "requests", "sizeLimit"]),
        ]
    );
}

#[test]
fn each_of_our_fields_has_a_description() {
    let mut missing = Vec::new();
    for crd in crds() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        for part in ["spec", "status"] {
            let pointer = format!("/openAPIV3Schema/properties/{part}");
            if let Some(schema) = schema.pointer(&pointer) {
                undocumented(
                    schema,
                    &format!("{}.{part}", crd.spec.names.kind),
                    &mut missing,
                );
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// Fields of Kubernetes types, which have no descriptions on purpose; they are recognized by name.
const FOREIGN: [&str; 6] = [
    "template",
    "resources",
    "env",
    "tolerations",
    "conditions",
    "time",
];

fn undocumented(schema: &Value, path: &str, missing: &mut Vec<String>) {
    for (name, field) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = format!("{path}.{name}");
        if field
            .get("description")
            .and_then(Value::as_str)
            .is_none_or(|text| text.len() < 10)
        {
            missing.push(path.clone());
        }
        if !FOREIGN.contains(&name.as_str()) {
            undocumented(field, &path, missing);
            undocumented(field.get("items").unwrap_or(&Value::Null), &path, missing);
        }
    }
}

/// A document of an example, parsed strictly: it must survive the round trip through the types.
fn read<T: serde::Serialize + serde::de::DeserializeOwned>(text: &str) -> T {
    let written: Value = serde_saphyr::from_str(text).unwrap();
    let read: T = serde_saphyr::from_str(text).unwrap();
    let kept = serde_json::to_value(&read).unwrap();
    assert_eq!(lost(&written, &kept, ""), Vec::<String>::new(), "{text}");
    read
}

fn lost(written: &Value, kept: &Value, path: &str) -> Vec<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => written
            .iter()
            .flat_map(|(name, value)| {
                lost(
                    value,
                    kept.get(name).unwrap_or(&Value::Null),
                    &format!("{path}.{name}"),
                )
            })
            .collect(),
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => written
            .iter()
            .zip(kept)
            .enumerate()
            .flat_map(|(index, (written, kept))| lost(written, kept, &format!("{path}[{index}]")))
            .collect(),
        _ if written == kept => Vec::new(),
        _ => vec![format!("{path}: {written} became {kept}")],
    }
}

#[test]
fn every_example_is_accepted() {
    let mut fleets = Vec::new();
    let quickstart = root().join("examples/quickstart.yaml");
    let quickstart = (
        "quickstart.yaml".to_owned(),
        fs::read_to_string(quickstart).unwrap(),
    );
    let examples = yaml_files(folder().join("examples")).into_iter();
    for (name, text) in examples.chain([quickstart]) {
        let documents = text.split("\n---\n");
        for document in documents.filter(|document| document.contains("taskqueue.dev/")) {
            if document.contains("\nkind: ClusterTemporalConnection") {
                let connection: ClusterTemporalConnection = read(document);
                validate::connection(&connection.spec.connection, "spec").unwrap();
                continue;
            }
            if document.contains("\nkind: TemporalConnection") {
                let connection: TemporalConnection = read(document);
                validate::connection(&connection.spec, "spec").unwrap();
                continue;
            }
            let mut worker: TaskQueueWorker = read(document);
            worker.metadata.uid = Some("uid".to_owned());
            let fleet = taskqueue_api::validate(&worker)
                .unwrap_or_else(|invalid| panic!("{name}: {invalid:?}"));
            let shared = match &fleet.connection {
                ConnectionSource::Inline(_) => None,
                ConnectionSource::Reference(to) => Some(to.kind),
            };
            fleets.push((name.clone(), fleet.key.name, fleet.queues.len(), shared));
        }
    }
    let in_namespace = Some(ConnectionKind::TemporalConnection);
    let of_cluster = Some(ConnectionKind::ClusterTemporalConnection);
    let expected = [
        ("ca-bundle.yaml", "wishlists", 1, in_namespace),
        ("cluster-connection.yaml", "returns", 1, of_cluster),
        ("connection.yaml", "carts", 1, in_namespace),
        ("connection.yaml", "reviews", 1, in_namespace),
        ("forecast.yaml", "reports", 2, None),
        ("long-tasks.yaml", "rendering", 1, None),
        ("minimal.yaml", "hello", 1, None),
        ("orders.yaml", "orders", 4, None),
        ("proxy.yaml", "returns", 1, in_namespace),
        ("scale-target.yaml", "existing", 2, None),
        ("schedule.yaml", "office", 2, None),
        ("templates.yaml", "media", 2, None),
        ("tls-api-key.yaml", "invoices", 1, None),
        ("quickstart.yaml", "hello", 1, in_namespace),
    ];
    let expected = expected
        .map(|(file, name, queues, shared)| (file.to_owned(), name.to_owned(), queues, shared));
    assert_eq!(fleets, expected);
}
