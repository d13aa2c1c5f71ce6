//! What the operator may do: the rendered roles, in every mode. Runs `helm`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::helm::{chart, rendered, value_sets};
use crate::objects::{objects, text, title};

#[test]
fn a_namespaced_installation_has_nothing_cluster_wide() {
    let titles: Vec<String> = objects(&rendered(&chart().join("ci/namespaced.yaml")))
        .iter()
        .map(title)
        .collect();
    assert_eq!(
        titles,
        [
            "PodDisruptionBudget taskqueue-system/taskqueue-operator",
            "ServiceAccount taskqueue-system/taskqueue-operator",
            "Role shop/taskqueue-operator",
            "Role billing/taskqueue-operator",
            "Role taskqueue-system/taskqueue-operator-leader-election",
            "RoleBinding shop/taskqueue-operator",
            "RoleBinding billing/taskqueue-operator",
            "RoleBinding taskqueue-system/taskqueue-operator-leader-election",
            "Service taskqueue-system/taskqueue-operator-metrics",
            "Deployment taskqueue-system/taskqueue-operator",
        ]
    );
}

/// The rules of every role that is bound to the operator, as (role, rule).
fn operator_rules(values: &str) -> Vec<(String, Value)> {
    let objects = objects(&rendered(&chart().join(values)));
    let bound: BTreeSet<String> = objects
        .iter()
        .filter(|object| text(object, "/kind").ends_with("RoleBinding"))
        .map(|binding| {
            let namespace = text(binding, "/metadata/namespace");
            format!(
                "{}{namespace}/{}",
                text(binding, "/roleRef/kind"),
                text(binding, "/roleRef/name")
            )
        })
        .collect();
    objects
        .iter()
        .filter(|object| {
            let namespace = text(object, "/metadata/namespace");
            bound.contains(&format!(
                "{}{namespace}/{}",
                text(object, "/kind"),
                text(object, "/metadata/name")
            ))
        })
        .flat_map(|role| {
            let rules = role["rules"].as_array().cloned().unwrap_or_default();
            rules.into_iter().map(|rule| (title(role), rule))
        })
        .collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn the_operators_rights_are_these_in_every_mode() {
    let table = |values: &str| {
        operator_rules(values)
            .iter()
            .map(|(role, rule)| {
                format!(
                    "{role}: {} in {:?}: {}{}",
                    strings(&rule["resources"]).join(","),
                    strings(&rule["apiGroups"]).join(","),
                    strings(&rule["verbs"]).join(","),
                    match rule.get("resourceNames") {
                        Some(names) => format!(" named {}", strings(names).join(",")),
                        None => String::new(),
                    }
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    insta::assert_snapshot!("rights_cluster_wide", table("ci/production.yaml"));
    insta::assert_snapshot!("rights_namespaced", table("ci/namespaced.yaml"));
}

#[test]
fn secrets_are_read_by_get_only_and_nothing_is_a_wildcard() {
    for values in [
        "ci/default.yaml",
        "ci/production.yaml",
        "ci/namespaced.yaml",
    ] {
        let rules = operator_rules(values);
        assert!(!rules.is_empty(), "{values} binds no role");
        for (role, rule) in rules {
            let everything = [&rule["apiGroups"], &rule["resources"], &rule["verbs"]]
                .map(strings)
                .concat();
            assert!(!everything.contains(&"*"), "{role}: {rule}");
            if strings(&rule["resources"]).contains(&"secrets") {
                assert_eq!(rule["verbs"], json!(["get"]), "{role}");
            }
        }
    }
}

#[test]
fn every_rbac_rule_says_why() {
    for (name, values) in value_sets() {
        let rendered = rendered(&values);
        let lines: Vec<&str> = rendered.lines().collect();
        for pair in lines.windows(2) {
            if pair[1].trim_start().starts_with("- apiGroups:") {
                assert!(
                    pair[0].trim_start().starts_with("# "),
                    "{name}: no reason above {}",
                    pair[1]
                );
            }
        }
    }
}
