//! Only additions: compares the chart's CRDs, values and objects with those of the chart that
//! is frozen under `tests/fixtures`. The comparison itself is pure; the tests read files and
//! run `helm`.

mod made_up;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::helm::{IMAGE, chart, chart_file, read, root, template};
use crate::objects::{objects, text, title, yaml};

/// The frozen chart with which everything since must stay compatible.
const FROZEN: &str = "0.1.0";

/// The API server has written this default into every stored object, so they keep its meaning. Only
/// new objects get the wait target's own rule.
const ON_PURPOSE: [&str; 1] =
    ["TaskQueueWorker.v1alpha1.spec.scaling.targetUtilization: default was 75 and is gone"];

fn frozen() -> PathBuf {
    root().join(format!("tests/fixtures/{FROZEN}/taskqueue-operator"))
}

/// What a definition has lost or narrowed since `old`; empty if every object that was valid is
/// still valid and means the same.
fn crd_changes(old: &Value, new: &Value) -> Vec<String> {
    let kind = text(old, "/spec/names/kind");
    let mut found = Vec::new();
    for part in ["group", "scope", "conversion", "preserveUnknownFields"] {
        same(
            &old["spec"][part],
            &new["spec"][part],
            &format!("{kind}: spec.{part}"),
            &mut found,
        );
    }
    for (part, before) in old["spec"]["names"].as_object().into_iter().flatten() {
        let (path, after) = (format!("{kind}: names.{part}"), &new["spec"]["names"][part]);
        if before.is_array() {
            gone(before, after, &path, &mut found);
        } else {
            same(before, after, &path, &mut found);
        }
    }
    for before in list(&old["spec"]["versions"]) {
        let path = format!("{kind}.{}", text(before, "/name"));
        match by_name(&new["spec"]["versions"], text(before, "/name")) {
            Some(after) => version_changes(before, after, &path, &mut found),
            None => found.push(format!("{path} is gone")),
        }
    }
    found
}

fn version_changes(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    for flag in ["served", "storage"] {
        if old[flag] == json!(true) && new[flag] != json!(true) {
            found.push(format!("{path} is no longer {flag}"));
        }
    }
    for (name, before) in old["subresources"].as_object().into_iter().flatten() {
        same(
            before,
            &new["subresources"][name],
            &format!("{path}: subresource {name}"),
            found,
        );
    }
    for before in list(&old["additionalPrinterColumns"]) {
        let name = text(before, "/name");
        let Some(after) = by_name(&new["additionalPrinterColumns"], name) else {
            found.push(format!("{path}: the column {name} is gone"));
            continue;
        };
        for part in ["type", "jsonPath", "priority"] {
            same(
                &before[part],
                &after[part],
                &format!("{path}: {part} of the column {name}"),
                found,
            );
        }
    }
    let schema = |version: &Value| version["schema"]["openAPIV3Schema"].clone();
    narrowed(&schema(old), &schema(new), path, found);
    found.sort();
}

/// Finds where `new` refuses, drops or interprets differently what `old` accepted. Each finding
/// names the path and the change.
fn narrowed(old: &Value, new: &Value, path: &str, found: &mut Vec<String>) {
    let nothing = Map::new();
    let (old, new) = (
        old.as_object().unwrap_or(&nothing),
        new.as_object().unwrap_or(&nothing),
    );
    let keywords: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for keyword in keywords {
        let (before, after) = (&field(old, keyword), &field(new, keyword));
        match keyword.as_str() {
            // For people.
            "description" | "title" | "example" | "externalDocs" => {}
            "properties" => {
                for (name, before) in before.as_object().into_iter().flatten() {
                    match after.get(name) {
                        Some(after) => narrowed(before, after, &format!("{path}.{name}"), found),
                        None => found.push(format!("{path}.{name} is gone")),
                    }
                }
            }
            "items" | "additionalProperties" if before.is_object() && after.is_object() => {
                let sign = if keyword == "items" { "[]" } else { "{}" };
                narrowed(before, after, &format!("{path}{sign}"), found);
            }
            "required" => {
                for name in list(after).filter(|name| !list(before).any(|known| known == *name)) {
                    found.push(format!("{path} requires {name}, which it did not"));
                }
            }
            "enum" if after.is_null() => {}
            "enum" if before.is_null() => found.push(format!("{path}: enum is new: {after}")),
            "enum" => gone(before, after, &format!("{path}: enum"), found),
            "minimum" | "minLength" | "minItems" | "minProperties" => {
                bound(
                    before,
                    after,
                    |before, after| after <= before,
                    path,
                    keyword,
                    found,
                );
            }
            "maximum" | "maxLength" | "maxItems" | "maxProperties" => {
                bound(
                    before,
                    after,
                    |before, after| after >= before,
                    path,
                    keyword,
                    found,
                );
            }
            "x-kubernetes-validations" => {
                new_rules(before, after, &old_properties(old), path, found);
            }
            "nullable" if after == &json!(true) => {}
            // A value that is not a quantity never worked: Kubernetes refused the Deployment.
            "pattern" if before.is_null() && is_quantity(path) => {}
            // Removing a restriction accepts everything that was accepted before.
            "pattern" | "format" | "multipleOf" | "const" | "uniqueItems" | "exclusiveMinimum"
            | "exclusiveMaximum"
                if after.is_null() || after == &json!(false) => {}
            // Types, defaults, list types and everything else cannot be compared, so they must not
            // change.
            _ => same(before, after, &format!("{path}: {keyword}"), found),
        }
    }
}

/// Whether Kubernetes expects a quantity at this path of a pod template.
fn is_quantity(path: &str) -> bool {
    [
        ".limits{}",
        ".requests{}",
        ".overhead{}",
        ".sizeLimit",
        ".divisor",
    ]
    .iter()
    .any(|field| path.ends_with(field))
}

/// How the new rules begin that every working object of the frozen chart satisfies: it has a
/// template, which was required, no queue of it has a scaleTargetRef, no connection has
/// clientCertificateFiles, Temporal refuses task queues with longer names, and an address that the
/// rule about it refuses was never connected to.
const SATISFIED: [&str; 5] = [
    "has(self.operatorCredentials) || !has(self.tls) || !has(self.tls.clientCertificateFiles)",
    "self.matches('^(dns:///)?",
    "size(bytes(self)) <= 1000",
    "has(self.template) || ",
    "self.queues.all(a, self.queues.all(b, a.name >= b.name || !has(a.scaleTargetRef) || ",
];

/// Finds new rules. A new rule is allowed if it applies only to objects that have a certain new
/// field: no old object has the field, so none can break the rule.
fn new_rules(
    before: &Value,
    after: &Value,
    old_properties: &BTreeSet<String>,
    path: &str,
    found: &mut Vec<String>,
) {
    let known: BTreeSet<&str> = list(before).map(|rule| text(rule, "/rule")).collect();
    for rule in list(after)
        .map(|rule| text(rule, "/rule"))
        .filter(|rule| !known.contains(rule))
    {
        let requested = rule
            .strip_prefix("!has(self.")
            .and_then(|rest| rest.split_once(") || "));
        let satisfied = SATISFIED.iter().any(|start| rule.starts_with(start));
        if !satisfied && requested.is_none_or(|(name, _)| old_properties.contains(name)) {
            found.push(format!("{path} has a new rule: {rule}"));
        }
    }
}

fn old_properties(old: &Map<String, Value>) -> BTreeSet<String> {
    let properties = old.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect()
}

fn bound(
    before: &Value,
    after: &Value,
    as_wide: fn(f64, f64) -> bool,
    path: &str,
    keyword: &str,
    found: &mut Vec<String>,
) {
    match (before.as_f64(), after.as_f64()) {
        (_, None) => {}
        (None, Some(_)) => found.push(format!("{path}: {keyword} is new: {after}")),
        (Some(old), Some(new)) if as_wide(old, new) => {}
        _ => found.push(format!("{path}: {keyword} was {before} and is {after}")),
    }
}

fn same(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Null, after) => found.push(format!("{path} is new: {after}")),
        (before, Value::Null) => found.push(format!("{path} was {before} and is gone")),
        (before, after) => found.push(format!("{path} was {before} and is {after}")),
    }
}

/// Reports each entry of `before` that `after` lacks.
fn gone(before: &Value, after: &Value, path: &str, found: &mut Vec<String>) {
    for entry in list(before).filter(|entry| !list(after).any(|other| other == *entry)) {
        found.push(format!("{path} has lost {entry}"));
    }
}

fn field(schema: &Map<String, Value>, keyword: &str) -> Value {
    schema.get(keyword).cloned().unwrap_or_default()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn by_name<'a>(entries: &'a Value, name: &str) -> Option<&'a Value> {
    list(entries).find(|entry| text(entry, "/name") == name)
}

/// A schema with its references (`#/definitions/…`) resolved.
fn written_out(schema: &Value, root: &Value) -> Value {
    match schema {
        Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                let there = root
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("nothing is at {reference}"));
                written_out(there, root)
            }
            None => fields
                .iter()
                .filter(|(key, _)| *key != "definitions")
                .map(|(key, value)| (key.clone(), written_out(value, root)))
                .collect(),
        },
        Value::Array(items) => items.iter().map(|item| written_out(item, root)).collect(),
        plain => plain.clone(),
    }
}

/// The definitions in a folder, by name.
fn definitions(folder: &Path) -> BTreeMap<String, Value> {
    std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .map(|path| yaml(&read(&path)))
        .map(|object| (title(&object), object))
        .collect()
}

#[test]
fn every_object_that_was_valid_in_the_last_release_is_valid_and_means_the_same() {
    let (old, new) = (
        definitions(&frozen().join("files/crds")),
        definitions(&root().join("crds")),
    );
    assert!(!old.is_empty(), "the frozen chart has definitions");
    let mut found = Vec::new();
    for (name, before) in &old {
        match new.get(name) {
            Some(after) => found.extend(crd_changes(before, after)),
            None => found.push(format!("{name} is gone")),
        }
    }
    assert_eq!(
        found, ON_PURPOSE,
        "since {FROZEN}; changes of the CRDs are additions, or another version"
    );
}

#[test]
fn every_values_file_that_was_valid_in_the_last_release_is_valid() {
    let schema = |text: &str| {
        let whole: Value = serde_json::from_str(text).expect("the schema is JSON");
        written_out(&whole, &whole)
    };
    let mut found = Vec::new();
    let old = schema(&read(&frozen().join("values.schema.json")));
    narrowed(
        &old,
        &schema(&chart_file("values.schema.json")),
        "values",
        &mut found,
    );
    assert_eq!(found, Vec::<String>::new(), "since {FROZEN}");
    // Also with the defaults of that release written out, as some users do.
    let values = frozen().join("values.yaml");
    let rendered = template(&chart(), &["--values", &values.to_string_lossy()]);
    assert!(rendered.is_ok(), "{rendered:?}");
}

#[test]
fn an_upgrade_replaces_no_object_of_the_last_release() {
    let render = |chart: PathBuf| -> BTreeMap<String, Value> {
        let rendered =
            template(&chart, &IMAGE).unwrap_or_else(|error| panic!("{}: {error}", chart.display()));
        objects(&rendered)
            .into_iter()
            .map(|object| (title(&object), object))
            .collect()
    };
    let (old, new) = (render(frozen()), render(chart()));
    let names =
        |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(&old).difference(&names(&new)).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    // Fields that Kubernetes refuses to change in place.
    for (title, before) in &old {
        for pointer in ["/spec/selector", "/roleRef", "/spec/clusterIP"] {
            let fixed = before
                .pointer(pointer)
                .filter(|_| !title.starts_with("PodDisruptionBudget"));
            if fixed.is_some() {
                assert_eq!(fixed, new[title].pointer(pointer), "{title} {pointer}");
            }
        }
    }
}
