//! A load on a fleet, as the sandbox's Prometheus recorded it, rebuilt and simulated by the kubectl
//! plugin.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use sandbox_machine::{cargo, executables};
use serde_json::json;

use crate::harness::{eventually, output, with_namespace};

/// The workflows of the load. They wait together for the first worker.
const ORDERS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_load_is_rebuilt_and_compared_with_what_was_measured() {
    with_namespace("a-recorded-load-is-rebuilt", |cluster| async move {
        let plugin = tokio::task::spawn_blocking(plugin).await??;
        let began = jiff::Timestamp::now().as_second();
        let queue = cluster.queue("all");
        cluster.start_from_zero(&queue, 2).await?;
        let order = json!({"total": 100, "card": "tok_delay_1000"});
        let workflows = cluster.temporal.orders(&queue, 0..ORDERS, &order)?;
        cluster.temporal.results(&workflows).await?;
        cluster
            .replicas_are(
                "all",
                "the idle fleet is back at zero",
                |requested, ready| (requested, ready) == (0, 0),
            )
            .await?;
        let url = format!("http://{}", cluster.sandbox.address("prometheus")?);
        let folder = tempfile::tempdir()?;
        let policy = folder.path().join("policy.yaml");
        std::fs::write(&policy, "replicas: {min: 0, max: 2}\n")?;
        let simulate = |fleet: &str| {
            let since = (jiff::Timestamp::now().as_second() - began).max(60);
            let mut command = Command::new(&plugin);
            command
                .args(["simulate", "--from-prometheus", &url, "--fleet", fleet])
                .args(["--task-type", "workflow", "--since", &format!("{since}s")])
                .arg("--policy")
                .arg(&policy);
            command
        };
        let fleet = format!("{}/orders", cluster.namespace);
        let text = eventually("the recorded load is rebuilt", || async {
            let text = match output(&mut simulate(&fleet)) {
                Ok(text) => text,
                // Nothing has been scraped yet.
                Err(error) => return Ok(Err(format!("{error:#}"))),
            };
            Ok(match arrivals(&text) {
                Some(tasks) if tasks >= ORDERS * 9 / 10 => Ok(text),
                _ => Err(text),
            })
        })
        .await?;
        // A workflow task for each order, and one for each activity that was not sticky.
        let tasks = arrivals(&text).context("no arrivals")?;
        assert!(tasks <= ORDERS * 10, "{text}");
        for row in ["measured", "simulated"] {
            let age = age_p95(&text, row).with_context(|| text.clone())?;
            assert!(age > 0.0 && age < 300.0, "{row}: {text}");
        }
        let has = |part: &str| text.contains(part);
        assert!(has("readings at which a task waited:"), "{text}");
        assert!(has("\ntaskqueue-operator ") && has("\nHPA, "), "{text}");

        // Another fleet is not there, but this one is named.
        let other = format!("{}/carts", cluster.namespace);
        let refused = output(&mut simulate(&other)).unwrap_err();
        let refused = format!("{refused:#}");
        assert!(
            refused.contains(&format!("{fleet} (queue all)")),
            "{refused}"
        );
        Ok(())
    })
    .await;
}

/// Builds the plugin.
fn plugin() -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build
        .args(["build", "--workspace"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    Ok(executables(&mut build, &["kubectl-tqw"])?.remove(0))
}

/// The number of tasks in the note about arrivals.
fn arrivals(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("\narrivals: ")?;
    rest.split_once(',')?.0.parse().ok()
}

/// The second number of a row: the 95th percentile of the age, in seconds.
fn age_p95(text: &str, row: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(row))?;
    line.split_whitespace().nth(2)?.parse().ok()
}
