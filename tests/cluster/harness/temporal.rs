//! A Temporal server, reached through the `temporal` command, and the orders that a test places
//! there.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, process::Command};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{eventually, output};

/// A server, as one test sees it.
#[derive(Debug, Clone)]
pub(crate) struct Temporal {
    program: PathBuf,
    address: String,
    /// The Temporal namespace of the test's workflows.
    namespace: String,
    /// The prefix of the test's workflow ids.
    prefix: String,
}

impl Temporal {
    /// The server at a local address, with its namespace `default`.
    pub(crate) fn at(program: PathBuf, address: String, prefix: String) -> Self {
        Self {
            program,
            address,
            namespace: "default".to_owned(),
            prefix,
        }
    }

    /// Creates another namespace on the server, and returns the server with it. The namespace stays
    /// until the server's data are removed.
    pub(crate) fn with_new_namespace(&self, name: &str) -> anyhow::Result<Self> {
        self.run(&["operator", "namespace", "create", "--namespace", name])?;
        Ok(Self {
            namespace: name.to_owned(),
            ..self.clone()
        })
    }

    /// Runs `temporal ARGUMENTS` against the server.
    pub(crate) fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.env("TEMPORAL_NAMESPACE", &self.namespace);
        output(command.args(args).args(["--address", &self.address]))
    }

    /// Starts `OrderWorkflow` on a task queue; returns the workflow's id. `order` is the input
    /// without the order id, which is `{namespace}-{number}`.
    pub(crate) fn order(
        &self,
        task_queue: &str,
        number: usize,
        mut order: Value,
    ) -> anyhow::Result<String> {
        let id = format!("{}-{number}", self.prefix);
        order["order_id"] = json!(id);
        let workflow = format!("order-{id}");
        // Passed in a file: Linux limits an argument to 128 KiB, and an order may have many
        // recipients.
        let input = tempfile::NamedTempFile::new().context("creating a temporary file")?;
        std::fs::write(&input, order.to_string())
            .with_context(|| format!("writing {}", input.path().display()))?;
        self.run(&[
            "workflow",
            "start",
            "--type",
            "OrderWorkflow",
            "--task-queue",
            task_queue,
            "--workflow-id",
            &workflow,
            "--input-file",
            &input.path().to_string_lossy(),
        ])?;
        Ok(workflow)
    }

    /// Places the same order once per number.
    pub(crate) fn orders(
        &self,
        task_queue: &str,
        numbers: Range<usize>,
        order: &Value,
    ) -> anyhow::Result<Vec<String>> {
        numbers
            .map(|number| self.order(task_queue, number, order.clone()))
            .collect()
    }

    fn describe(&self, workflow: &str) -> anyhow::Result<Value> {
        let text = self.run(&[
            "workflow",
            "describe",
            "--workflow-id",
            workflow,
            "--output",
            "json",
        ])?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Whether a workflow has not ended yet.
    pub(crate) fn is_running(&self, workflow: &str) -> anyhow::Result<bool> {
        let description = self.describe(workflow)?;
        Ok(description["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING")
    }

    /// Waits until a workflow has completed and returns its result.
    pub(crate) async fn result(&self, workflow: &str) -> anyhow::Result<Value> {
        eventually(&format!("workflow {workflow} completed"), || async {
            let description = self.describe(workflow)?;
            let status = description["workflowExecutionInfo"]["status"]
                .as_str()
                .unwrap_or_default();
            Ok(if status == "WORKFLOW_EXECUTION_STATUS_COMPLETED" {
                Ok(description["result"].clone())
            } else {
                Err(status.to_owned())
            })
        })
        .await
    }

    /// Waits until all workflows have completed.
    pub(crate) async fn results(&self, workflows: &[String]) -> anyhow::Result<()> {
        for workflow in workflows {
            self.result(workflow).await?;
        }
        Ok(())
    }

    /// Waits until all workflows have completed with every activity at its first attempt: none
    /// failed and none was interrupted.
    pub(crate) async fn results_at_once(&self, workflows: &[String]) -> anyhow::Result<()> {
        anyhow::ensure!(!workflows.is_empty(), "no order was placed");
        for workflow in workflows {
            self.result(workflow).await?;
            let again: Vec<_> = self
                .attempts(workflow)?
                .into_iter()
                .filter(|(_, attempt)| *attempt > 1)
                .collect();
            anyhow::ensure!(
                again.is_empty(),
                "activities of {workflow} were attempted again: {again:?}"
            );
        }
        Ok(())
    }

    /// The attempt at which each of a workflow's activities started, with the activity's type.
    pub(crate) fn attempts(&self, workflow: &str) -> anyhow::Result<Vec<(String, i64)>> {
        let text = self.run(&[
            "workflow",
            "show",
            "--workflow-id",
            workflow,
            "--output",
            "json",
        ])?;
        let history: Value = serde_json::from_str(&text)?;
        let events = history["events"].as_array().cloned().unwrap_or_default();
        let mut types = BTreeMap::new();
        let mut attempts = Vec::new();
        for event in &events {
            if let Some(scheduled) = event.get("activityTaskScheduledEventAttributes") {
                types.insert(
                    event["eventId"].as_str().unwrap_or_default().to_owned(),
                    scheduled["activityType"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
            if let Some(started) = event.get("activityTaskStartedEventAttributes") {
                let scheduled = started["scheduledEventId"].as_str().unwrap_or_default();
                let name = types.get(scheduled).cloned().unwrap_or_default();
                attempts.push((name, started["attempt"].as_i64().unwrap_or(1)));
            }
        }
        Ok(attempts)
    }
}
