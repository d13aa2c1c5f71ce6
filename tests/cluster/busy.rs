//! Workers like those of any team, and their tasks when a fleet shrinks: nothing is cut off without
//! need. The worker is the sleeper, written in Go; its long tasks take 40 s or a minute, and its
//! pods have 10 or 20 s to finish.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use kube::ResourceExt;
use rustix::process::Signal;
use sandbox_machine::{Progress, Sleeper, Tasks};
use serde_json::{Value, json};
use taskqueue_api::well_known::SPARE_ANNOTATIONS;

use crate::{
    dashboards::operator_command,
    harness::{
        TestCluster, alone, eventually, eventually_throughout, one_queue, throughout,
        with_namespace, within,
    },
    leaders::{process_of, settled, signal},
};

/// Longer than [`WINDOW`] and every grace period here together.
const LONG: Duration = Duration::from_secs(40);
/// Seconds before a fleet shrinks. A task that has just started must appear in a heartbeat and in a
/// reading first, on a busy machine too.
const WINDOW: u32 = 20;
/// A short task cannot have taken longer, as far as the operator can see: it may run from just
/// after one heartbeat to just before another, and the readings of both may be late.
const SHORT_AT_MOST: Duration = Duration::from_secs(15);
/// The task slots of one pod.
const SLOTS: u32 = 4;

impl TestCluster {
    /// The sleeper; builds it if necessary.
    async fn sleeper(&self) -> anyhow::Result<Sleeper> {
        let sandbox = self.sandbox.clone();
        let sleeper = tokio::task::spawn_blocking(move || sandbox.sleeper(Progress::silent()));
        Ok(sleeper.await??)
    }

    /// Starts tasks on the queue of the fleet; returns the ids of their workflows.
    fn start(
        &self,
        sleeper: &Sleeper,
        name: &str,
        count: usize,
        takes: Duration,
    ) -> anyhow::Result<Vec<String>> {
        self.start_on(sleeper, name, count, takes, false)
    }

    fn start_on(
        &self,
        sleeper: &Sleeper,
        name: &str,
        count: usize,
        takes: Duration,
        on_host: bool,
    ) -> anyhow::Result<Vec<String>> {
        let tasks = Tasks {
            queue: &self.queue("all"),
            id: &self.queue(name),
            count,
            takes,
            on_host,
        };
        sleeper.start(&self.sandbox.temporal()?, &tasks)?;
        Ok(tasks.ids())
    }

    /// Waits until no workflow with such an id is running.
    async fn have_ended(&self, name: &str) -> anyhow::Result<()> {
        let prefix = self.queue(name);
        let query = format!("WorkflowId STARTS_WITH '{prefix}-' AND ExecutionStatus = 'Running'");
        eventually(&format!("the tasks {name} have ended"), || async {
            let said = self
                .temporal
                .run(&["workflow", "count", "--query", &query])?;
            Ok(if said.trim() == "Total: 0" {
                Ok(())
            } else {
                Err(said)
            })
        })
        .await
    }
}

/// A fleet of sleepers with these environment variables and this grace period.
fn fleet(
    cluster: &TestCluster,
    sleeper: &Sleeper,
    env: &[(&str, &str)],
    max: u32,
    grace: u32,
) -> Value {
    let scaling = json!({
        "slotsPerReplica": SLOTS,
        "cooldownPeriod": format!("{WINDOW}s"),
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW}},
    });
    let mut spec = one_queue(&cluster.queue("all"), 0, max, &scaling);
    spec["template"] = sleeper.template(env);
    spec["drain"] = json!({"gracePeriod": format!("{grace}s")});
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn long_tasks_after_short_tasks_are_not_cut_off() {
    with_namespace("long-tasks-after-short-ones", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let mut spec = fleet(&cluster, &sleeper, &[("SLEEPER_SLOTS", "4")], 4, 10);
        spec["scaling"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = json!(0);
        // The fleet keeps its size until the operator has seen every long task.
        spec["queues"][0]["replicas"]["min"] = json!(4);
        cluster.apply(spec.clone()).await?;
        cluster
            .replicas_are("all", "the workers run", |_, ready| ready == 4)
            .await?;
        cluster.start(&sleeper, "short", 200, Duration::from_millis(400))?;
        cluster.have_ended("short").await?;
        let long = cluster.start(&sleeper, "long", 8, Duration::from_mins(1))?;
        // At first a long task looks like a short one, and may be drained as such. The last
        // heartbeats of the short tasks can add up to 8 as well.
        eventually_throughout(SHORT_AT_MOST, "8 slots are in use", || async {
            let label = ("task_type", "activity");
            let used = cluster.series("taskqueue_operator_slots_used", &[label])?;
            Ok(if used == Some(8.0) {
                Ok(())
            } else {
                Err(format!("{used:?} slots are in use"))
            })
        })
        .await?;
        spec["queues"][0]["replicas"]["min"] = json!(0);
        cluster.apply(spec).await?;
        cluster.temporal.results_at_once(&long).await?;
        cluster
            .replicas_are("all", "then the fleet goes to zero", |requested, _| {
                requested == 0
            })
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_work_on_the_task_queue_of_its_host_is_busy() {
    with_namespace("work-on-the-hosts-own-queue", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [("SLEEPER_SLOTS", "4"), ("SLEEPER_HOST_QUEUE", "true")];
        cluster
            .apply(fleet(&cluster, &sleeper, &env, 2, 10))
            .await?;
        let tasks = cluster.start_on(&sleeper, "host", 3, LONG, true)?;
        cluster.temporal.results_at_once(&tasks).await?;
        cluster
            .replicas_are("all", "then the fleet goes to zero", |requested, _| {
                requested == 0
            })
            .await
            .map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_without_a_slot_limit_are_counted_by_slots_per_replica() {
    with_namespace("resource-based-slots", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [("SLEEPER_TUNER", "true")];
        cluster
            .apply(fleet(&cluster, &sleeper, &env, 15, 10))
            .await?;
        // 12 tasks at a time, with 3 of 4 slots in use per replica.
        let tasks = cluster.start(&sleeper, "tuned", 12, LONG)?;
        cluster
            .replicas_are("all", "the tasks start workers", |requested, _| {
                requested > 0
            })
            .await?;
        let few = throughout(LONG, "a few replicas are enough", || async {
            let (requested, _) = cluster.replicas("all").await?;
            Ok(if requested <= 6 {
                Ok(())
            } else {
                Err(format!("the operator requested {requested} replicas"))
            })
        });
        few.await?;
        cluster.temporal.results_at_once(&tasks).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_keeps_polling_for_tasks_that_no_worker_takes() {
    with_namespace("workers-of-another-version", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let deployment = cluster.namespace.clone();
        let env = [
            ("TEMPORAL_DEPLOYMENT_NAME", deployment.as_str()),
            ("TEMPORAL_WORKER_BUILD_ID", "1"),
        ];
        // Three workers, as long as nobody knows that one has 1,000 slots. All tasks wait before
        // the first of them is read.
        let tasks = cluster.start(&sleeper, "versioned", 100, Duration::from_secs(1))?;
        cluster
            .apply(fleet(&cluster, &sleeper, &env, 4, 10))
            .await?;
        cluster
            .replicas_are("all", "the tasks start workers", |_, ready| ready > 1)
            .await?;
        cluster
            .replicas_are("all", "one worker is left", |requested, _| requested == 1)
            .await?;
        throughout(Duration::from_secs(10), "it stays", || async {
            let (requested, _) = cluster.replicas("all").await?;
            Ok(if requested == 1 {
                Ok(())
            } else {
                Err(format!("the operator requests {requested} replicas"))
            })
        })
        .await?;
        cluster.temporal.run(&[
            "worker",
            "deployment",
            "set-current-version",
            "--deployment-name",
            &deployment,
            "--build-id",
            "1",
            "--yes",
        ])?;
        cluster.temporal.results(&tasks).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_operator_removes_no_busy_pod() {
    alone("a-restarted-operator", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let (leader, _) = settled(&cluster).await?;
        cluster
            .apply(fleet(&cluster, &sleeper, &[("SLEEPER_SLOTS", "4")], 3, 10))
            .await?;
        // The workers have run many short tasks, and are now full of long ones.
        cluster.start(&sleeper, "short", 100, Duration::from_millis(200))?;
        cluster
            .replicas_are("all", "every worker runs", |_, ready| ready == 3)
            .await?;
        // The long tasks outlast the watched 30 s and the time before it.
        let long = cluster.start(&sleeper, "long", 12, Duration::from_mins(1))?;
        cluster.are_in_work(12).await?;
        let before = pods(&cluster).await?;
        signal(&process_of(&leader).await?, Signal::KILL)?;
        let stay = throughout(Duration::from_secs(30), "every pod stays", || async {
            let now = pods(&cluster).await?;
            Ok(if now == before {
                Ok(())
            } else {
                Err(format!("{before:?} became {now:?}"))
            })
        });
        stay.await?;
        cluster.temporal.results_at_once(&long).await?;
        settled(&cluster).await.map(drop)
    })
    .await;
}

async fn pods(cluster: &TestCluster) -> anyhow::Result<BTreeSet<String>> {
    let pods = cluster.live_pods().await?;
    Ok(pods.iter().map(ResourceExt::name_any).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_ignores_sigterm_is_reported() {
    with_namespace("a-worker-that-ignores-sigterm", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [("SLEEPER_SLOTS", "4"), ("SLEEPER_IGNORE_SIGTERM", "true")];
        let mut spec = fleet(&cluster, &sleeper, &env, 1, 20);
        spec["queues"][0]["replicas"]["min"] = json!(1);
        cluster.apply(spec).await?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready == 1)
            .await?;
        // The operator has seen its heartbeats.
        cluster.are_in_work(0).await?;
        let pods = pods(&cluster).await?;
        let pod = pods.first().context("a ready pod has a name")?;
        cluster.kubectl(&["delete", "pod", pod, "--wait=false"])?;
        let mut batch = 0;
        let note = loop {
            // The terminating pod shares the queue with its replacement.
            let name = format!("batch-{batch}");
            cluster.start(&sleeper, &name, 8, Duration::from_millis(500))?;
            cluster.have_ended(&name).await?;
            batch += 1;
            if let Some(note) = cluster.events("PollsAfterStop").await?.pop() {
                break note;
            }
            anyhow::ensure!(batch < 100, "no Event reports that {pod} keeps polling");
        };
        anyhow::ensure!(
            note.contains(pod.as_str()) && note.contains("SIGTERM"),
            "{note}"
        );
        Ok(())
    })
    .await;
}

/// The exit code of `check`, and the issues that it lists with their remedies, by queue.
fn check(cluster: &TestCluster) -> anyhow::Result<(Option<i32>, BTreeSet<String>)> {
    let ended = operator_command(cluster, &["check", "orders", "-o", "json"])?.output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let list: Value = serde_json::from_slice(&ended.stdout).with_context(|| said.into_owned())?;
    let issues = list["issues"].as_array().context("there is no list")?;
    let named = issues.iter().filter_map(|issue| {
        issue["remedy"].as_str()?;
        Some(format!(
            "{} {}",
            issue["queue"].as_str()?,
            issue["reason"].as_str()?
        ))
    });
    Ok((ended.status.code(), named.collect()))
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_heartbeats_and_work_on_another_task_queue_are_listed_with_remedies() {
    with_namespace("rare-heartbeats-and-another-queue", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [
            ("SLEEPER_SLOTS", "4"),
            ("SLEEPER_HEARTBEAT", "40"),
            ("SLEEPER_HOST_QUEUE", "true"),
        ];
        let mut spec = fleet(&cluster, &sleeper, &env, 1, 10);
        spec["queues"][0]["replicas"]["min"] = json!(1);
        cluster.apply(spec).await?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready == 1)
            .await?;
        cluster.start_on(&sleeper, "host", 1, Duration::from_secs(1), true)?;
        let all = ["all HeartbeatsTooRare", "all WorksOnOtherQueues"];
        let all: BTreeSet<String> = all.map(str::to_owned).into();
        // It takes three heartbeats.
        within(Duration::from_mins(5), "both faults are listed", || async {
            let (code, listed) = check(&cluster)?;
            Ok(if (code, &listed) == (Some(1), &all) {
                Ok(())
            } else {
                Err(format!("exit code {code:?}: {listed:?}"))
            })
        })
        .await?;
        for reason in ["HeartbeatsTooRare", "WorksOnOtherQueues"] {
            let notes = cluster.events(reason).await?;
            anyhow::ensure!(notes.len() == 1, "{reason}: {notes:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_drop_their_tasks_at_sigterm_are_listed() {
    const TASK: Duration = Duration::from_secs(20);
    with_namespace("workers-that-drop-their-tasks", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [
            ("SLEEPER_SLOTS", "4"),
            ("SLEEPER_HEARTBEAT", "1"),
            ("SLEEPER_NO_GRACE", "true"),
        ];
        let mut spec = fleet(&cluster, &sleeper, &env, 1, 60);
        spec["queues"][0]["replicas"]["min"] = json!(1);
        cluster.apply(spec).await?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready == 1)
            .await?;
        // The operator learns how long a task takes.
        cluster.start(&sleeper, "learned", 16, TASK)?;
        cluster.have_ended("learned").await?;
        // The operator reports what healthy workers would show once in 10,000 times. It counts each
        // end as a chance of one in 10 to 20.
        let mut dropped = 0;
        while check(&cluster)?.1.is_empty() {
            anyhow::ensure!(dropped < 8, "no Event reports the dropped tasks");
            let name = format!("dropped-{dropped}");
            // The operator sees the end of the tasks before, and then the new ones.
            cluster.are_in_work(0).await?;
            cluster.start(&sleeper, &name, 4, TASK)?;
            cluster.are_in_work(4).await?;
            let pods = pods(&cluster).await?;
            let pod = pods.first().context("there is no ready pod")?;
            cluster.kubectl(&["delete", "pod", pod])?;
            // Ends less than a mean task time apart count as one.
            cluster.have_ended(&name).await?;
            dropped += 1;
        }
        anyhow::ensure!(dropped >= 2, "{dropped} pods may have been lucky");
        let listed = check(&cluster)?;
        let ends = BTreeSet::from(["all EndsBeforeItsTasks".to_owned()]);
        anyhow::ensure!(listed == (Some(1), ends), "{listed:?}");
        let notes = cluster.events("EndsBeforeItsTasks").await?;
        anyhow::ensure!(notes.len() == 1, "{notes:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_no_pod_uses_are_listed_only_after_enough_tasks() {
    with_namespace("slots-that-no-pod-uses", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let env = [("SLEEPER_SLOTS", "1000")];
        let mut spec = fleet(&cluster, &sleeper, &env, 1, 10);
        spec["queues"][0]["replicas"]["min"] = json!(1);
        cluster.apply(spec).await?;
        cluster
            .replicas_are("all", "a worker runs", |_, ready| ready == 1)
            .await?;
        // The operator has seen its heartbeats.
        cluster.are_in_work(0).await?;
        anyhow::ensure!(check(&cluster)?.1.is_empty(), "nothing has been done yet");
        let mut batch = 0;
        while check(&cluster)?.1.is_empty() {
            anyhow::ensure!(batch < 300, "no Event reports the slots");
            let name = format!("batch-{batch}");
            cluster.start(&sleeper, &name, 50, Duration::from_millis(100))?;
            cluster.have_ended(&name).await?;
            batch += 1;
        }
        anyhow::ensure!(batch >= 20, "{batch} batches of 50 use 1000 slots");
        let listed = check(&cluster)?;
        let slots = BTreeSet::from(["all SlotsNeverUsed".to_owned()]);
        anyhow::ensure!(listed == (Some(1), slots), "{listed:?}");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_pod_with_a_long_task_is_protected_from_node_autoscalers() {
    with_namespace("a-protected-pod", |cluster| async move {
        let sleeper = cluster.sleeper().await?;
        let mut spec = fleet(&cluster, &sleeper, &[("SLEEPER_SLOTS", "4")], 2, 10);
        spec["drain"]["protectBusyPods"] = json!(true);
        spec["queues"][0]["replicas"]["min"] = json!(2);
        cluster.apply(spec).await?;
        cluster.workers_run(2).await?;
        let long = cluster.start(&sleeper, "long", 1, Duration::from_secs(90))?;
        eventually("one of two pods is protected", || async {
            let pods = cluster.live_pods().await?;
            let protected = pods.iter().filter(|pod| {
                SPARE_ANNOTATIONS.iter().all(|(name, value)| {
                    pod.annotations().get(*name).is_some_and(|set| set == value)
                })
            });
            Ok(match protected.count() {
                1 => Ok(()),
                other => Err(format!("{other} pods are protected")),
            })
        })
        .await?;
        cluster.temporal.results_at_once(&long).await
    })
    .await;
}
