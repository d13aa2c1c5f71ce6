//! The dashboards against Grafana's own types. Starts a program in Go that the sandbox builds, from
//! `sandbox/machine/modules/dashboards`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::helm::{chart, program, read, write_tmp};

const FILES: [&str; 2] = ["files/dashboard.json", "files/dashboard-fleets.json"];

/// What is wrong with a dashboard, without the name of its file.
fn complaints(file: &Path) -> Vec<String> {
    let output = Command::new(program("dashboards"))
        .arg(file)
        .output()
        .expect("the program can be started");
    let printed = String::from_utf8(output.stdout).expect("it prints UTF-8");
    assert_eq!(output.status.success(), printed.is_empty(), "{printed}");
    let name = format!("{}: ", file.display());
    let lines = printed.lines().map(|line| line.trim_start_matches(&name));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_dashboards_have_the_fields_that_grafana_knows_and_needs() {
    for file in FILES {
        let found = complaints(&chart().join(file));
        assert_eq!(found, Vec::<String>::new(), "{file}");
    }
}

/// The first dashboard with one value changed, or removed if it is `null`.
fn changed(name: &str, pointer: &str, value: &Value) -> PathBuf {
    let text = read(&chart().join(FILES[0]));
    let mut dashboard: Value = serde_json::from_str(&text).expect("the dashboard is JSON");
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
    let parent = dashboard.pointer_mut(parent).expect(pointer);
    if value.is_null() {
        let fields = parent.as_object_mut().expect("only fields are removed");
        fields.remove(key).expect("it was there");
    } else {
        parent[key] = value.clone();
    }
    write_tmp(&format!("{name}.json"), &dashboard.to_string())
}

#[test]
fn a_mistake_in_a_dashboard_is_noticed() {
    let table = [
        (
            "/refreshh",
            json!("10s"),
            "Dashboard: unexpected field 'refreshh'",
        ),
        (
            "/schemaVersion",
            json!("39"),
            "schemaVersion: json: cannot unmarshal string",
        ),
        (
            "/panels/0/collapse",
            json!(true),
            "panels[0].RowPanel: unexpected field 'collapse'",
        ),
        (
            "/panels/1/options/grafMode",
            json!("area"),
            "panels[1].options.Options: unexpected field 'grafMode'",
        ),
        (
            "/panels/1/options/justifyMode",
            Value::Null,
            "panels[1].options.justifyMode: required field is missing",
        ),
        (
            "/panels/1/gridPos/w",
            json!(25),
            "panels[1].Panel.gridPos.w: must be <= 24",
        ),
        (
            "/panels/1/type",
            json!("stats"),
            "panel 2: unknown type stats",
        ),
        (
            "/panels/1/fieldConfig/defaults/units",
            json!("s"),
            "panel 2: fieldConfig.defaults.FieldConfig: unexpected field 'units'",
        ),
        (
            "/panels/8/fieldConfig/defaults/custom/lineWidht",
            json!(1),
            "panels[8].fieldConfig.defaults.custom.GraphFieldConfig: unexpected field 'lineWidht'",
        ),
        (
            "/panels/8/targets/0/expression",
            json!("up"),
            "panels[8].targets[0].Dataquery: unexpected field 'expression'",
        ),
        (
            "/panels/8/targets/0/datasource/type",
            json!("loki"),
            "panel 9: a query that is not Prometheus'",
        ),
        (
            "/templating/list/1/sorted",
            json!(1),
            "templating.list[1].VariableModel: unexpected field 'sorted'",
        ),
    ];
    for (number, (pointer, value, expected)) in table.into_iter().enumerate() {
        let file = changed(&format!("dashboard-{number}"), pointer, &value);
        let found = complaints(&file);
        let first = found.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with(expected), "{pointer}: {found:?}");
    }
}
