//! Tests the comparison on a made-up definition: it finds each kind of narrowing, and accepts
//! additions. No I/O.

use serde_json::{Value, json};

use super::crd_changes;

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_incompatible_change_is_reported_with_its_path() {
    let cases: &[(&str, Value, &[&str])] = &[
        (
            "/spec/group",
            json!("other.dev"),
            &["Fleet: spec.group was \"a.dev\" and is \"other.dev\""],
        ),
        (
            "/spec/names/shortNames",
            json!(["fl"]),
            &["Fleet: names.shortNames has lost \"flt\""],
        ),
        ("/spec/versions/0/name", json!("v2"), &["Fleet.v1 is gone"]),
        (
            "/spec/versions/0/served",
            json!(false),
            &["Fleet.v1 is no longer served"],
        ),
        (
            "/spec/versions/0/storage",
            json!(false),
            &["Fleet.v1 is no longer storage"],
        ),
        (
            "/spec/versions/0/subresources",
            json!({}),
            &["Fleet.v1: subresource status was {} and is gone"],
        ),
        (
            "/spec/versions/0/additionalPrinterColumns",
            json!([]),
            &["Fleet.v1: the column Ready is gone"],
        ),
        (
            "S/size",
            json!(null),
            &[
                "Fleet.v1.spec.size: default was 1 and is gone",
                "Fleet.v1.spec.size: nullable was true and is gone",
                "Fleet.v1.spec.size: type was \"integer\" and is gone",
            ],
        ),
        (
            "S/size/type",
            json!("string"),
            &["Fleet.v1.spec.size: type was \"integer\" and is \"string\""],
        ),
        (
            "S/size/maximum",
            json!(9),
            &["Fleet.v1.spec.size: maximum was 10 and is 9"],
        ),
        (
            "S/size/minimum",
            json!(1),
            &["Fleet.v1.spec.size: minimum was 0 and is 1"],
        ),
        (
            "S/size/default",
            json!(2),
            &["Fleet.v1.spec.size: default was 1 and is 2"],
        ),
        (
            "S/size/nullable",
            json!(false),
            &["Fleet.v1.spec.size: nullable was true and is false"],
        ),
        (
            "S/size/multipleOf",
            json!(2),
            &["Fleet.v1.spec.size: multipleOf is new: 2"],
        ),
        (
            "S/mode/enum",
            json!(["On"]),
            &["Fleet.v1.spec.mode: enum has lost \"Off\""],
        ),
        (
            "S/mode/default",
            json!("On"),
            &["Fleet.v1.spec.mode: default is new: \"On\""],
        ),
        (
            "S/names/items/enum",
            json!(["a"]),
            &["Fleet.v1.spec.names[]: enum is new: [\"a\"]"],
        ),
        (
            "S/names/items/pattern",
            json!("^b$"),
            &["Fleet.v1.spec.names[]: pattern was \"^a$\" and is \"^b$\""],
        ),
        (
            "S/names/maxItems",
            json!(5),
            &["Fleet.v1.spec.names: maxItems is new: 5"],
        ),
        (
            "S/names/x-kubernetes-list-type",
            json!("set"),
            &["Fleet.v1.spec.names: x-kubernetes-list-type is new: \"set\""],
        ),
        (
            "S/labels/additionalProperties/maxLength",
            json!(5),
            &["Fleet.v1.spec.labels{}: maxLength is new: 5"],
        ),
        (
            "S/labels/additionalProperties",
            json!(false),
            &["Fleet.v1.spec.labels: additionalProperties was {\"type\":\"string\"} and is false"],
        ),
        (
            "R/required",
            json!(["size", "mode"]),
            &["Fleet.v1.spec requires \"mode\", which it did not"],
        ),
        (
            "R/x-kubernetes-validations",
            json!([{"rule": "has(self.mode)"}]),
            &["Fleet.v1.spec has a new rule: has(self.mode)"],
        ),
        (
            "R/x-kubernetes-validations",
            json!([{"rule": "!has(self.mode) || self.size > 1"}]),
            &["Fleet.v1.spec has a new rule: !has(self.mode) || self.size > 1"],
        ),
        (
            "S",
            json!({}),
            &[
                "Fleet.v1.spec.labels is gone",
                "Fleet.v1.spec.mode is gone",
                "Fleet.v1.spec.names is gone",
                "Fleet.v1.spec.size is gone",
            ],
        ),
    ];
    for (pointer, value, expected) in cases {
        let old = made_up();
        let found = crd_changes(&old, &changed(&old, pointer, value));
        assert_eq!(found, *expected, "{pointer}");
    }
}

#[test]
fn additions_and_relaxed_rules_are_compatible() {
    let cases = [
        ("/spec/names/shortNames", json!(["flt", "fl", "f"])),
        ("S/size/maximum", json!(11)),
        ("S/size/minimum", json!(-1)),
        ("S/size/description", json!("another text")),
        ("S/mode/enum", json!(["On", "Off", "Dry"])),
        ("S/names/items/pattern", json!(null)),
        ("S/names/nullable", json!(true)),
        (
            "S/new",
            json!({"type": "string", "enum": ["a"], "default": "a"}),
        ),
        ("R/required", json!([])),
        (
            "R/x-kubernetes-validations",
            json!([{"rule": "!has(self.new) || self.new.size() < 9"}]),
        ),
    ];
    for (pointer, value) in cases {
        let old = made_up();
        let new = changed(&old, pointer, &value);
        assert_eq!(crd_changes(&old, &new), Vec::<String>::new(), "{pointer}");
    }
}

/// The definition with another value at a pointer; `R` stands for the schema of its spec, `S` for
/// the properties of that schema.
fn changed(definition: &Value, pointer: &str, value: &Value) -> Value {
    const SPEC: &str = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let pointer = match pointer.strip_prefix('S') {
        Some(rest) => format!("{SPEC}/properties{rest}"),
        None => pointer
            .strip_prefix('R')
            .map_or_else(|| pointer.to_owned(), |rest| format!("{SPEC}{rest}")),
    };
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a parent");
    let mut changed = definition.clone();
    let parent = changed
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("nothing is at {pointer}"));
    match parent {
        Value::Array(items) => items[key.parse::<usize>().expect("an index")] = value.clone(),
        parent => parent[key] = value.clone(),
    }
    changed
}

fn made_up() -> Value {
    json!({"spec": {
        "group": "a.dev", "scope": "Namespaced",
        "names": {"kind": "Fleet", "plural": "fleets", "shortNames": ["fl", "flt"]},
        "versions": [{
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "additionalPrinterColumns": [{
                "name": "Ready", "type": "string", "jsonPath": ".status.ready",
            }],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object", "required": ["size"],
                "properties": {
                    "size": {
                        "type": "integer", "minimum": 0, "maximum": 10, "default": 1,
                        "nullable": true, "description": "a text",
                    },
                    "mode": {"type": "string", "enum": ["On", "Off"]},
                    "names": {"type": "array", "items": {"type": "string", "pattern": "^a$"}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            }}}},
        }],
    }})
}
