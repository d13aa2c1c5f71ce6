//! The workers of `examples/workers`: each is started from zero, drained while its activities run,
//! and goes back to zero. The fleet is the one of the example's own manifest.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use sandbox_machine::{Language, Progress};
use serde_json::{Value, json};

use crate::{
    authority::{Authority, secret},
    front::{Front, Keys},
    harness::{TEMPORAL, TestCluster, eventually, with_namespace},
};

/// The activity slots of one pod.
const SLOTS: u32 = 4;
/// The most pods of a fleet. More would only slow each other down: a JVM that starts needs several
/// seconds of processor time.
const PODS: u32 = 2;
/// Seconds before a fleet shrinks. An activity that has just started must appear in a heartbeat and
/// in a reading first, on a busy machine too.
const WINDOW: u32 = 20;
/// How long an activity takes: longer than its heartbeat timeout (10 s), so that one whose
/// heartbeats end while its worker drains fails; and shorter than the grace period.
const TAKES: Duration = Duration::from_secs(40);

impl TestCluster {
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
        let queue = &mut spec["queues"][0];
        queue["taskQueue"] = json!(self.queue(language.folder()));
        queue["replicas"] = json!({"min": 0, "max": PODS});
        spec["scaling"] = json!({
            "cooldownPeriod": format!("{WINDOW}s"),
            // Known before the first pod reports its own, so that all pods start at the same time.
            "slotsPerReplica": SLOTS,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}},
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

    /// Waits until the workers' heartbeats show this number of free activity slots.
    async fn slots_are_free(&self, number: u32) -> anyhow::Result<()> {
        eventually(&format!("{number} activity slots are free"), || async {
            let label = ("task_type", "activity");
            let free = self.series("taskqueue_operator_slots_available", &[label])?;
            Ok(if free == Some(f64::from(number)) {
                Ok(())
            } else {
                Err(format!("{free:?}"))
            })
        })
        .await
    }

    /// Waits until every pod's worker has sent two heartbeats, at the interval that the operator
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
            let pods = usize::try_from(PODS)?;
            Ok(if (frequent, intervals.len()) == (pods, pods) {
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
    with_namespace(&test, |cluster| async move {
        cluster.apply(cluster.example(language).await?).await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        let queue = "greetings";
        cluster
            .replicas_are(queue, "an idle fleet is at zero", |requested, _| {
                requested == 0
            })
            .await?;

        // All pods are needed, and one slot stays free.
        let tasks = PODS * SLOTS - 1;
        let first = cluster.greet(language, "Ada", tasks, TAKES)?;
        cluster.are_in_work(tasks).await?;
        cluster.slots_are_free(1).await?;
        cluster.heartbeats_are_frequent(language).await?;

        // All pods drain while every activity runs.
        cluster.kubectl(&["delete", "pods", "--all", "--wait=false"])?;
        for workflow in &first {
            let early = format!("{workflow} ended before its worker was stopped");
            anyhow::ensure!(cluster.temporal.is_running(workflow)?, early);
        }
        // Keeps the next pods busy until then, or they would go to zero and have to start again.
        let second = cluster.greet(language, "Grace", PODS, TAKES / 2)?;
        cluster.are_greeted("Ada", &first).await?;
        cluster.are_greeted("Grace", &second).await?;
        cluster
            .replicas_are(queue, "the idle fleet goes to zero", |requested, _| {
                requested == 0
            })
            .await?;
        eventually("no pod is left", || async {
            let pods = cluster.workers().await?.pods;
            Ok(if pods.is_empty() {
                Ok(())
            } else {
                Err(format!("{pods:?}"))
            })
        })
        .await?;
        for reason in ["DrainExceeded", "PollsAfterStop"] {
            let notes = cluster.events(reason).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_python_is_scaled_and_drained() {
    is_scaled_and_drained(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_typescript_is_scaled_and_drained() {
    is_scaled_and_drained(Language::TypeScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_in_java_is_scaled_and_drained() {
    is_scaled_and_drained(Language::Java).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_in_every_language_connect_with_tls_and_an_api_key() {
    with_namespace("every-language-with-tls", |cluster| async move {
        let authority = Authority::new()?;
        let keys = Arc::new(Keys::default());
        keys.accept(&["a-key"]);
        let front = Front::with_keys(&cluster, authority.server(&[])?, keys.clone())?;
        secret(
            &cluster,
            "temporal-ca",
            &[("ca.crt", &authority.certificate)],
        )
        .await?;
        secret(&cluster, "temporal-key", &[("key", "a-key")]).await?;
        let mut started = Vec::new();
        for language in Language::ALL {
            let mut spec = cluster.example(language).await?;
            spec["connection"] = front.connection(&json!({"caSecretRef": {"name": "temporal-ca"}}));
            spec["connection"]["apiKeySecretRef"] = json!({"name": "temporal-key", "key": "key"});
            cluster.apply_as(language.folder(), spec).await?;
            started.extend(cluster.greet(language, "Ada", 1, Duration::from_secs(1))?);
        }
        cluster.are_greeted("Ada", &started).await?;
        assert_eq!(keys.take_refused(), Vec::new(), "a request without the key");
        Ok(())
    })
    .await;
}
