//! Clients of the order system in other languages, against the four fleets of the example. The
//! clients do not know its queues.

use std::{path::Path, process::Command};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::harness::{TestCluster, with_namespace};

/// The spec of `crds/examples/orders.yaml`, on task queues that no other test uses.
fn example(cluster: &TestCluster) -> anyhow::Result<Value> {
    let file = checkout().join("crds/examples/orders.yaml");
    let text =
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut fleet: Value = serde_saphyr::from_str(&text)?;
    let queues = fleet["spec"]["queues"].as_array_mut();
    for queue in queues.context("the example has no queues")? {
        let name = queue["name"].as_str().unwrap_or_default().to_owned();
        queue["taskQueue"] = json!(cluster.queue(&name));
        for variable in queue["env"].as_array_mut().into_iter().flatten() {
            let is_queue = variable["name"]
                .as_str()
                .is_some_and(|name| name.ends_with("_QUEUE"));
            if let (true, Some(value)) = (is_queue, variable["value"].as_str()) {
                variable["value"] = json!(cluster.queue(value));
            }
        }
    }
    Ok(fleet["spec"].take())
}

fn checkout() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The command that runs the client in this language.
fn client(language: &str) -> anyhow::Result<Command> {
    let program = |variable: &str| {
        std::env::var_os(variable).with_context(|| {
            format!("{variable} is not set; `cargo sandbox test` builds the client and sets it")
        })
    };
    if language == "go" {
        return Ok(Command::new(program("ORDER_CLIENT_GO")?));
    }
    let mut python = Command::new(program("ORDER_CLIENT_PYTHON")?);
    python
        .arg(checkout().join("worker/tests/clients/python/client.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(python)
}

/// Runs a client and returns its report about the fleets.
fn report(
    mut client: Command,
    address: &str,
    prefix: &str,
    queues: &[String],
) -> anyhow::Result<Value> {
    let output = client
        .args([address, prefix])
        .args(queues)
        .env_remove("DECLINED")
        .output()
        .with_context(|| format!("starting {client:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{client:?}: {}: {errors}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_fleets_serve_clients_in_other_languages() {
    with_namespace("clients-of-other-languages", |cluster| async move {
        cluster.apply(example(&cluster)?).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let address = cluster.sandbox.temporal()?;
        let queues: Vec<String> = ["order-processing", "inventory", "payments", "notifications"]
            .iter()
            .map(|queue| cluster.queue(queue))
            .collect();
        let mut running = Vec::new();
        for language in ["py", "go"] {
            let (client, address) = (client(language)?, address.clone());
            let (prefix, queues) = (cluster.namespace.clone(), queues.clone());
            running.push((
                language,
                tokio::task::spawn_blocking(move || report(client, &address, &prefix, &queues)),
            ));
        }
        for (language, report) in running {
            let report = report.await??;
            for number in 0..3 {
                let order = &report["orders"][number];
                let id = format!("{}-{language}-{}", cluster.namespace, number + 1);
                assert_eq!(order["order_id"], json!(id), "{report:#}");
                assert_eq!(order["state"], json!("completed"), "{report:#}");
                assert_eq!(order["payment"]["amount"], json!(100), "{report:#}");
            }
            assert_eq!(
                report["activities"]["payment"]["amount"],
                json!(100),
                "{report:#}"
            );
            assert_eq!(
                report["activities"]["mails"]["sent"],
                json!(2),
                "{report:#}"
            );
            assert_eq!(
                report["mistaken"],
                json!(["InvalidInput", true]),
                "{report:#}"
            );
        }
        Ok(())
    })
    .await;
}
