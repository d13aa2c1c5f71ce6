//! Temporal is down for a full minute. The fleet has a server of its own, so the server of the
//! other tests keeps running.

use std::{
    fmt::Debug,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ListParams, PartialObjectMeta, WatchEvent, WatchParams},
};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::{
    front::Front,
    harness::{Temporal, TestCluster, eventually, one_queue, with_namespace},
};

const OUTAGE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_temporal_changes_nothing_and_is_reported() {
    with_namespace("a-minute-without-temporal", |cluster| async move {
        let mut server = Server::new(&cluster)?;
        server.start().await?;
        let front = Front::plain(&cluster, server.address())?;
        let queue = cluster.queue("all");
        // Both would shrink the fleet during the outage if unknown were treated as idle.
        let mut spec = one_queue(&queue, 0, 2, &json!({"cooldownPeriod": "10s"}));
        spec["connection"]["address"] = json!(front.address());
        cluster.apply(spec).await?;
        let first = server.temporal.order(&queue, 0, json!({"total": 100}))?;
        server.temporal.result(&first).await?;
        let before = cluster.workers_run(1).await?;

        // First the server hangs, then it is gone.
        server.freeze()?;
        let until = Instant::now() + OUTAGE;
        let reported = async {
            let condition = cluster
                .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
                .await?;
            let stays = condition.message.contains("the replicas stay as they are");
            anyhow::ensure!(stays, "{}", condition.message);
            server.stop()?;
            Ok(condition.last_transition_time)
        };
        let (of_deployments, of_pods, reported) = tokio::try_join!(
            changes::<Deployment>(&cluster, until),
            changes::<Pod>(&cluster, until),
            reported
        )?;
        let written = [of_deployments, of_pods].concat();
        assert_eq!(written, Vec::<String>::new(), "changed during the outage");
        let still = cluster
            .condition_is("ScalingActive", "Unknown", "TemporalUnavailable")
            .await?;
        assert_eq!(
            still.last_transition_time, reported,
            "the condition changed"
        );
        cluster.untouched(&before, "the outage").await?;
        let metric = "taskqueue_operator_reading_age_seconds";
        let age = cluster.series(metric, &[("source", "backlog")])?;
        assert!(age >= Some(OUTAGE.as_secs_f64()), "{age:?}");

        server.start().await?;
        cluster
            .condition_is("ScalingActive", "True", "Active")
            .await?;
        // The same worker continues, and so does scaling.
        let order = json!({"total": 100, "card": "tok_delay_8000"});
        // More orders than its 4 slots can finish before its next heartbeat, so some still wait
        // then.
        let workflows = server.temporal.orders(&queue, 1..17, &order)?;
        cluster
            .replicas_are(
                "all",
                "the backlog starts another worker",
                |requested, _| requested == 2,
            )
            .await?;
        server.temporal.results_at_once(&workflows).await?;
        cluster
            .replicas_are("all", "then the idle fleet goes to zero", |requested, _| {
                requested == 0
            })
            .await
            .map(drop)
    })
    .await;
}

/// Returns all changes to the objects of a kind in the test's namespace, from now until a moment.
/// Ignores what their controllers report: a write of the status changes only the version here.
async fn changes<K>(cluster: &TestCluster, until: Instant) -> anyhow::Result<Vec<String>>
where
    K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    K::DynamicType: Default,
{
    let api: Api<K> = cluster.api();
    let list = api.list_metadata(&ListParams::default()).await?;
    let version = list.metadata.resource_version;
    let version = version.context("a list has a version")?;
    let known: Vec<ObjectMeta> = list.items.into_iter().map(asked_for).collect();
    let everything = WatchParams::default();
    let mut events = pin!(api.watch_metadata(&everything, &version).await?);
    let mut seen = Vec::new();
    while let Ok(event) = timeout_at(until, events.try_next()).await {
        match event?.context("the API server ended a watch")? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let now = asked_for(object);
                if !known.contains(&now) {
                    seen.push(format!("{now:?} instead of {known:?}"));
                }
            }
            WatchEvent::Deleted(object) => seen.push(format!("{} is gone", object.name_any())),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(error) => anyhow::bail!("the watch failed: {error:?}"),
        }
    }
    Ok(seen)
}

/// The metadata without the fields that every write changes. Its generation counts the changes of
/// the spec.
fn asked_for<K>(object: PartialObjectMeta<K>) -> ObjectMeta {
    ObjectMeta {
        resource_version: None,
        managed_fields: None,
        ..object.metadata
    }
}

/// A Temporal dev server for one test, which keeps its data while it is stopped.
struct Server {
    temporal: Temporal,
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    running: Option<Running>,
}

/// The shell that supervises the server, and the server's process.
struct Running {
    shell: Child,
    held: ChildStdin,
    server: Pid,
}

impl Server {
    /// Kills the server when the shell's standard input closes, as it does when this process ends
    /// for any reason.
    const SHELL: &str = r#"
        log=$1; shift
        "$@" >"$log" 2>&1 </dev/null &
        server=$!
        echo "$server"
        trap '' HUP INT TERM
        cat >/dev/null
        kill -KILL "$server"; wait "$server" 2>/dev/null
    "#;

    fn new(cluster: &TestCluster) -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&cluster.namespace);
        std::fs::create_dir_all(&folder)?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = free.local_addr()?.port();
        let program = cluster.sandbox.programs().temporal.clone();
        let address = format!("127.0.0.1:{port}");
        Ok(Self {
            temporal: Temporal::at(program.clone(), address, cluster.namespace.clone()),
            program,
            folder,
            port,
            running: None,
        })
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the server with its earlier data, and waits until its namespace answers.
    async fn start(&mut self) -> anyhow::Result<()> {
        let mut shell = Command::new("sh")
            .args(["-c", Self::SHELL, "sh"])
            .arg(self.folder.join("temporal.log"))
            .arg(&self.program)
            .args(["server", "start-dev", "--headless", "--log-level", "warn"])
            .args(["--port", &self.port.to_string(), "--db-filename"])
            .arg(self.folder.join("temporal.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let held = shell.stdin.take().context("it has a standard input")?;
        let stdout = shell.stdout.take().context("it has a standard output")?;
        let mut server = String::new();
        BufReader::new(stdout).read_line(&mut server)?;
        self.running = Some(Running {
            shell,
            held,
            server: Pid::from_raw(server.trim().parse()?).context("a process id is above 0")?,
        });
        eventually("the test's own Temporal server answers", || async {
            let answer = self.temporal.run(&[
                "operator",
                "namespace",
                "describe",
                "--namespace=default",
                "--command-timeout=3s",
            ]);
            Ok(answer.map(drop).map_err(|error| {
                let log = std::fs::read_to_string(self.folder.join("temporal.log"));
                format!("{error:#}\n{}", log.unwrap_or_default())
            }))
        })
        .await
    }

    /// Stops answering; connections stay open.
    fn freeze(&self) -> anyhow::Result<()> {
        let running = self.running.as_ref().context("it runs")?;
        Ok(kill_process(running.server, Signal::STOP)?)
    }

    /// Kills the server and waits until it is gone.
    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            drop(running.held);
            running.shell.wait()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.stop();
        let removed = std::fs::remove_dir_all(&self.folder);
        if let Err(error) = stopped.and(removed.map_err(Into::into)) {
            eprintln!("removing a Temporal server: {error:#}");
        }
    }
}
