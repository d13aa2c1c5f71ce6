//! The worker of `examples/workers/go`: it is started from zero, drained while its activities run,
//! and goes back to zero. The fleet is the one of the example's own manifest.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use sandbox_machine::{Language, Progress};
use serde_json::{Value, json};

use crate::harness::{TEMPORAL, World, eventually, with_namespace};

/// The activity slots of one pod.
const SLOTS: u32 = 4;
/// How long an activity takes: longer than its heartbeat timeout (10 s), so that one whose
/// heartbeats end while its worker drains fails; and shorter than the grace period.
const TAKES: Duration = Duration::from_secs(40);

impl World {
    /// The spec of an example's manifest, on a task queue of this test and with its image. Builds
    /// the image if necessary.
    async fn example(&self, language: Language) -> anyhow::Result<Value> {
        let sandbox = self.sandbox.clone();
        let image = tokio::task::spawn_blocking(move || {
            sandbox.example_worker(language, Progress::silent())
        });
        let image = image.await??;
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../examples/workers")
            .join(language.folder())
            .join("fleet.yaml");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let mut fleet: Value = serde_saphyr::from_str(&text)?;
        let mut spec = fleet["spec"].take();
        spec["connection"] = json!({"address": TEMPORAL, "temporalNamespace": "default"});
        spec["queues"][0]["taskQueue"] = json!(self.queue(language.folder()));
        spec["scaling"] = json!({
            "cooldownPeriod": "5s",
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        });
        let container = &mut spec["template"]["spec"]["containers"][0];
        container["image"] = json!(image);
        container["imagePullPolicy"] = json!("IfNotPresent");
        let slots = container["env"]
            .as_array_mut()
            .into_iter()
            .flatten()
            .find(|variable| variable["name"] == "WORKER_SLOTS");
        slots.context("the manifest has no WORKER_SLOTS")?["value"] = json!(SLOTS.to_string());
        Ok(spec)
    }

    /// Starts `Greeting` workflows on the language's task queue; returns their ids.
    fn greet(
        &self,
        language: Language,
        name: &str,
        count: u32,
        takes: Duration,
    ) -> anyhow::Result<Vec<String>> {
        let input = json!({"name": name, "seconds": takes.as_secs_f64()}).to_string();
        (0..count)
            .map(|number| {
                let id = format!("{}-{name}-{number}", self.queue(language.folder()));
                self.temporal.run(&[
                    "workflow",
                    "start",
                    "--type",
                    "Greeting",
                    "--task-queue",
                    &self.queue(language.folder()),
                    "--workflow-id",
                    &id,
                    "--input",
                    &input,
                ])?;
                Ok(id)
            })
            .collect()
    }

    /// Waits until all workflows have returned the greeting, with every activity at its first
    /// attempt.
    async fn are_greeted(&self, name: &str, workflows: &[String]) -> anyhow::Result<()> {
        self.temporal.results_at_once(workflows).await?;
        for workflow in workflows {
            let result = self.temporal.result(workflow).await?;
            anyhow::ensure!(
                result == json!(format!("Hello, {name}")),
                "{workflow} returned {result}"
            );
        }
        Ok(())
    }

    /// Waits until two workers have sent two heartbeats each, at the interval that the operator
    /// prefers (5 s), not at the SDKs' own (60 s).
    async fn heartbeats_are_frequent(&self, language: Language) -> anyhow::Result<()> {
        let query = format!("TaskQueue = '{}'", self.queue(language.folder()));
        eventually("heartbeats come every 5 s", || async {
            let list = ["worker", "list", "--query", &query, "--output", "json"];
            let workers: Vec<Value> = serde_json::from_str(&self.temporal.run(&list)?)?;
            let intervals: Vec<Option<f64>> = workers
                .iter()
                .map(|worker| {
                    let elapsed = &worker["workerHeartbeat"]["elapsedSinceLastHeartbeat"];
                    elapsed.as_str()?.strip_suffix('s')?.parse().ok()
                })
                .collect();
            let frequent = intervals.iter().flatten().filter(|it| **it < 10.0).count();
            Ok(if frequent >= 2 && frequent == intervals.len() {
                Ok(())
            } else {
                Err(format!("{intervals:?}"))
            })
        })
        .await
    }
}

/// What a worker in any language has to do under the operator.
async fn is_scaled_and_drained(language: Language) {
    let test = format!("a-worker-in-{}", language.folder());
    with_namespace(&test, |world| async move {
        world.apply(world.example(language).await?).await?;
        world
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let queue = "greetings";
        world
            .replicas_are(queue, "an idle fleet is at zero", |asked, _| asked == 0)
            .await?;

        // Two pods are needed, because each reports the slots of the manifest.
        let tasks = 2 * SLOTS - 1;
        let first = world.greet(language, "Ada", tasks, TAKES)?;
        world
            .replicas_are(queue, "workers start", |_, ready| ready >= 2)
            .await?;
        world.are_in_work(tasks).await?;
        world.heartbeats_are_frequent(language).await?;

        // All pods drain while every activity runs.
        world.kubectl(&["delete", "pods", "--all", "--wait=false"])?;
        for workflow in &first {
            let early = format!("{workflow} ended before its worker was stopped");
            anyhow::ensure!(world.temporal.is_running(workflow)?, early);
        }
        let second = world.greet(language, "Grace", 2, Duration::from_secs(1))?;
        world.are_greeted("Ada", &first).await?;
        world.are_greeted("Grace", &second).await?;
        world
            .replicas_are(queue, "the idle fleet goes to zero", |asked, _| asked == 0)
            .await?;
        eventually("no pod is left", || async {
            let pods = world.workers().await?.pods;
            Ok(if pods.is_empty() {
                Ok(())
            } else {
                Err(format!("{pods:?}"))
            })
        })
        .await?;
        for reason in ["DrainExceeded", "PollsAfterStop"] {
            let notes = world.events(reason).await?;
            anyhow::ensure!(notes.is_empty(), "{notes:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_go_is_scaled_and_drained() {
    is_scaled_and_drained(Language::Go).await;
}
