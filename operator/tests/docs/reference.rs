//! The generated reference of the resources and of the chart's values, made from the CRDs and from
//! the chart's README.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::{code, read, rows};

/// The fields of a resource, a table for each object in it. A Kubernetes type, such as the pod
/// template, has no descriptions in the CRD and gets no table.
pub(crate) fn fields(definition: &str) -> String {
    let crd: Value = serde_saphyr::from_str(&read(definition)).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut tables = Tables::default();
    for part in ["spec", "status"] {
        tables.add(&schema[part], part);
    }
    tables.text
}

#[derive(Default)]
struct Tables {
    text: String,
    /// The path of each object that has a table, by its rows.
    shown: BTreeMap<Vec<Vec<String>>, String>,
}

impl Tables {
    fn add(&mut self, schema: &Value, path: &str) {
        let fields = schema["properties"].as_object();
        let fields: Vec<(&String, &Value)> = fields.into_iter().flatten().collect();
        if !fields
            .iter()
            .any(|(_, field)| field["description"].is_string())
        {
            return;
        }
        let row = |(name, field): &(&String, &Value)| {
            let meaning = field["description"].as_str().unwrap_or_default();
            vec![code(name), type_of(field), meaning.to_owned()]
        };
        let body: Vec<Vec<String>> = fields.iter().map(row).collect();
        if let Some(same) = self.shown.get(&body) {
            writeln!(self.text, "`{path}` has the fields of `{same}`.\n").unwrap();
            return;
        }
        self.shown.insert(body.clone(), path.to_owned());
        let table = rows(&["field", "type", "meaning"], body);
        writeln!(self.text, "## `{path}`\n\n{table}").unwrap();
        for (name, field) in fields {
            match field["type"].as_str() {
                Some("array") => self.add(&field["items"], &format!("{path}.{name}[]")),
                _ => self.add(field, &format!("{path}.{name}")),
            }
        }
    }
}

/// The type of a field: `string`, `[]object`, `map of string`.
fn type_of(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return "integer or string".to_owned();
    }
    let own = field["type"].as_str().unwrap_or("any");
    if own == "array" {
        return format!("[]{}", type_of(&field["items"]));
    }
    let values = &field["additionalProperties"];
    if values.is_object() {
        return format!("map of {}", type_of(values));
    }
    own.to_owned()
}

/// The tables of the chart's values, from its README.
pub(crate) fn values() -> String {
    let readme = read("charts/taskqueue-operator/README.md");
    let (_, rest) = readme
        .split_once("<!-- values: made from values.yaml -->\n")
        .expect("the chart's README marks where its values begin");
    let (tables, _) = rest
        .split_once("<!-- end of values -->")
        .expect("the chart's README marks where its values end");
    tables
        .trim()
        .replace("\n### ", "\n## ")
        .replacen("### ", "## ", 1)
}
