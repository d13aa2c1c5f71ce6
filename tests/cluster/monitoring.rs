//! The API server accepts the ServiceMonitor, the PodMonitor and the PrometheusRule that the chart
//! renders, under the Prometheus Operator's own definitions. The definitions come from its Go
//! module, pinned under `tests/fixtures/prometheus-operator`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::harness::{eventually, output, with_namespace};

const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";
const KINDS: [&str; 3] = ["servicemonitors", "podmonitors", "prometheusrules"];
/// Value sets of the chart, with the templates that are taken from them. The PodMonitor's set has
/// every field of it.
const RENDERED: [(&str, &[&str]); 2] = [
    ("production", &["servicemonitor", "prometheusrule"]),
    ("every-value-cluster-wide", &["podmonitor"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn monitors_and_rules_are_accepted_where_their_definitions_are_installed() {
    with_namespace("monitors-and-rules-are-accepted", |cluster| async move {
        let definitions = definitions()?;
        for kind in KINDS {
            let file = definitions.join(format!("monitoring.coreos.com_{kind}.yaml"));
            let mut kubectl = cluster.sandbox.kubectl();
            output(kubectl.args(["apply", "--server-side", "-f"]).arg(file))?;
            let name = format!("customresourcedefinition/{kind}.monitoring.coreos.com");
            cluster.kubectl(&[
                "wait",
                "--for=condition=Established",
                &name,
                "--timeout=60s",
            ])?;
        }
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/taskqueue-operator");
        let mut rendered = String::new();
        for (values, templates) in RENDERED {
            let mut helm = cluster.sandbox.helm();
            helm.arg("template").arg("monitored").arg(&chart);
            helm.args(["--namespace", &cluster.namespace, "--values"])
                .arg(chart.join(format!("ci/{values}.yaml")));
            // The namespace of the test, which is that of the release.
            helm.args(["--set", "namespaceOverride=,metrics.podMonitor.namespace="]);
            for template in templates {
                helm.args(["--show-only", &format!("templates/{template}.yaml")]);
            }
            rendered.push_str(&output(&mut helm)?);
        }
        let file =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.yaml", cluster.namespace));
        std::fs::write(&file, rendered)?;
        let file = file.to_string_lossy();
        // Strict: a field that is not in the definition is an error. kubectl may not know the
        // new definitions yet.
        eventually("the objects are accepted", || async {
            let applied =
                cluster.kubectl(&["apply", "--server-side", "--validate=strict", "-f", &file]);
            Ok(applied.map_err(|error| format!("{error:#}")))
        })
        .await?;
        let listed = cluster.kubectl(&["get", &KINDS.join(","), "-o", "name"])?;
        let listed: Vec<&str> = listed.lines().collect();
        assert_eq!(
            listed,
            [
                "servicemonitor.monitoring.coreos.com/monitored-taskqueue-operator",
                "podmonitor.monitoring.coreos.com/monitored-taskqueue-operator",
                "prometheusrule.monitoring.coreos.com/monitored-taskqueue-operator",
            ]
        );
        Ok(())
    })
    .await;
}

/// The folder of the definitions in Go's module cache.
fn definitions() -> anyhow::Result<PathBuf> {
    let pin = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/prometheus-operator");
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", MODULE])
        .current_dir(pin)
        .env("GOFLAGS", "-mod=readonly");
    let module: Value = serde_json::from_str(&output(&mut go)?)?;
    let folder = module["Dir"]
        .as_str()
        .context("go mod download prints no folder")?;
    Ok(Path::new(folder).join("example/prometheus-operator-crd"))
}
