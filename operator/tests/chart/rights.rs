//! The operator's permissions: the rendered roles, in every mode. Runs `helm`.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use taskqueue_kubernetes::client::Operation;

use crate::helm::{IMAGE, chart, helm, rendered, value_sets};
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
            "Pod taskqueue-system/taskqueue-operator-test",
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
fn the_operator_has_exactly_these_rights_in_every_mode() {
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

/// With a list of namespaces, an administrator asks for each cluster-wide right.
#[test]
fn connections_of_the_cluster_are_read_with_a_right_that_names_the_objects() {
    let render = |settings: &[&str]| {
        let chart = chart();
        let mut arguments = vec!["template", "taskqueue-operator"];
        arguments.push(chart.to_str().expect("a path is text"));
        arguments.extend(["--namespace", "taskqueue-system"]);
        arguments.extend(IMAGE);
        arguments.extend(["--set", "watchNamespaces={shop}"]);
        arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        objects(&helm(&arguments).expect("the chart can be rendered"))
    };
    let without = render(&[]);
    let titles = |objects: &[Value]| objects.iter().map(title).collect::<BTreeSet<_>>();
    let added = |settings: &[&str]| {
        let with = titles(&render(settings));
        with.difference(&titles(&without))
            .cloned()
            .collect::<Vec<_>>()
    };
    let enabled = "clusterConnections.enabled=true";
    let named = "clusterConnections.operatorObjects={one,two}";
    let name = "taskqueue-operator-cluster-connections";
    let of_cluster = [
        format!("ClusterRole {name}"),
        format!("ClusterRoleBinding {name}"),
    ];
    assert_eq!(added(&[named]), Vec::<String>::new());
    assert_eq!(added(&[enabled]), of_cluster);
    let with = render(&[enabled, named]);
    let role = with
        .iter()
        .find(|object| title(object).ends_with("/taskqueue-operator-credentials"));
    assert_eq!(
        role.expect("a role for the objects")["rules"],
        json!([{
            "apiGroups": [""], "resources": ["secrets", "configmaps"],
            "resourceNames": ["one", "two"], "verbs": ["get"],
        }])
    );
    // The operator does not try what it may not.
    let told = |objects: &[Value]| {
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment");
        let container =
            &deployment.expect("a Deployment")["spec"]["template"]["spec"]["containers"][0];
        let name = "TASKQUEUE_OPERATOR_CLUSTER_CONNECTIONS";
        let variables = container["env"].as_array().cloned().unwrap_or_default();
        let variable = variables
            .into_iter()
            .find(|variable| variable["name"] == name);
        variable.map(|variable| variable["value"].clone())
    };
    assert_eq!(told(&without), Some(json!("false")));
    assert_eq!(told(&with), Some(json!("true")));
}

/// Only cluster administrators hand out credentials of the operator.
#[test]
fn no_role_of_the_chart_may_write_connections_of_the_cluster() {
    for (name, values) in value_sets() {
        for object in objects(&rendered(&values)) {
            for rule in object["rules"].as_array().into_iter().flatten() {
                if strings(&rule["resources"]).contains(&"clustertemporalconnections") {
                    assert_eq!(rule["verbs"], json!(["get", "list", "watch"]), "{name}");
                }
            }
        }
    }
}

/// The leases that the operator of a release takes, and those that its role allows.
fn leases(release: &str, settings: &[&str]) -> (Vec<String>, Vec<String>) {
    let chart = chart();
    let mut arguments = vec!["template", release, chart.to_str().expect("a path is text")];
    arguments.extend(["--namespace", "taskqueue-system"]);
    arguments.extend(IMAGE);
    arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    let objects = objects(&helm(&arguments).expect("the chart can be rendered"));
    let of_kind = |kind: &'static str| objects.iter().filter(move |object| object["kind"] == kind);
    let environment = of_kind("Deployment")
        .filter_map(|object| object["spec"]["template"]["spec"]["containers"][0]["env"].as_array())
        .flatten();
    let taken = environment.filter(|variable| text(variable, "/name").ends_with("LEASE_NAME"));
    let taken = taken.map(|variable| text(variable, "/value").to_owned());
    let rules = of_kind("Role")
        .filter_map(|object| object["rules"].as_array())
        .flatten();
    let allowed = rules.filter(|rule| strings(&rule["resources"]) == ["leases"]);
    let allowed = allowed.flat_map(|rule| strings(&rule["resourceNames"]));
    (taken.collect(), allowed.map(str::to_owned).collect())
}

#[test]
fn releases_in_one_namespace_have_their_own_leases_and_share_that_of_the_first_version() {
    let both = |own: &str| {
        let names = vec![own.to_owned(), "taskqueue-operator".to_owned()];
        (names.clone(), names)
    };
    assert_eq!(leases("a", &[]), both("a-taskqueue-operator-leader"));
    assert_eq!(leases("b", &[]), both("b-taskqueue-operator-leader"));
    // No release's own lease has the name of the first version's lease.
    assert_eq!(
        leases("taskqueue-operator", &[]),
        both("taskqueue-operator-leader")
    );
    // A chosen name is the name in every version, so there is no former lease.
    let chosen = vec!["mine".to_owned()];
    let settings = ["leaderElection.leaseName=mine"];
    assert_eq!(leases("a", &settings), (chosen.clone(), chosen));
    // The first version's name can be chosen. Then both variables have it, so the process marks its
    // lease for the releases that hold it as their former lease: they do not wait for it.
    let first = "taskqueue-operator".to_owned();
    let settings = ["leaderElection.leaseName=taskqueue-operator"];
    let expected = (vec![first.clone(), first.clone()], vec![first]);
    assert_eq!(leases("a", &settings), expected);
}

/// Otherwise its calls would count as those of an unknown resource.
#[test]
fn the_metrics_have_a_name_for_every_resource_of_the_operators_roles() {
    let sets = value_sets().into_iter();
    let rules = sets.flat_map(|(name, _)| operator_rules(&format!("ci/{name}.yaml")));
    let mut unnamed = BTreeSet::new();
    for (_, rule) in rules {
        let groups = strings(&rule["apiGroups"]);
        for resource in strings(&rule["resources"]) {
            // Nothing is sent to it: the right is enough.
            if resource == "taskqueueworkers/finalizers" {
                continue;
            }
            let path = resource.replacen('/', "/a/", 1);
            let path = format!("/apis/{}/v1/namespaces/b/{path}", groups[0]);
            let path = path.replace("/apis//", "/api/");
            let request = http::Request::get(path).body(()).expect("a request");
            let operation = Operation::of(&request);
            if (operation.group, operation.resource) != (groups[0], resource) {
                unnamed.insert(format!("{}/{resource}", groups[0]));
            }
        }
    }
    assert_eq!(unnamed, BTreeSet::new());
}

#[test]
fn secrets_are_read_only_by_get_and_no_rule_has_a_wildcard() {
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
fn every_rbac_rule_has_a_reason() {
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
