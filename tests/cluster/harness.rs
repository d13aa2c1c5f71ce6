//! What every cluster test needs: the sandbox, a namespace of its own, fleets from JSON, orders, and
//! waiting for conditions. A test that fails prints the objects, Events and logs that explain why.

use std::{
    collections::BTreeMap,
    future::Future,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use sandbox::{Name, Sandbox};
use serde_json::{Value, json};
use taskqueue_api::TaskQueueWorker;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where the chart puts the operator.
pub(crate) const OPERATOR_NAMESPACE: &str = "taskqueue-system";
/// The operator's Deployment.
pub(crate) const OPERATOR: &str = "taskqueue-operator";
/// Temporal as pods reach it.
pub(crate) const TEMPORAL: &str = "temporal.sandbox-services.svc:7233";
/// How long anything on the cluster may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Tests that break shared parts (Temporal, the operator) hold it alone; the others share it.
static WORLD: RwLock<()> = RwLock::const_new(());
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Held while a test runs, so that nobody breaks the world under another.
#[allow(dead_code, reason = "held, not read")]
pub(crate) enum Share {
    /// With others.
    Shared(RwLockReadGuard<'static, ()>),
    /// Alone.
    Alone(RwLockWriteGuard<'static, ()>),
}

/// One test's view of the sandbox: a namespace of its own, removed at the end.
pub(crate) struct World {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    _share: Share,
}

/// Runs a test in a namespace of its own, beside other tests.
pub(crate) async fn with_namespace<T, F>(test: &str, body: T)
where
    T: FnOnce(std::sync::Arc<World>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    run(test, Share::Shared(WORLD.read().await), body).await;
}

/// Runs a test that breaks something shared, alone.
pub(crate) async fn alone<T, F>(test: &str, body: T)
where
    T: FnOnce(std::sync::Arc<World>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    run(test, Share::Alone(WORLD.write().await), body).await;
}

async fn run<T, F>(test: &str, share: Share, body: T)
where
    T: FnOnce(std::sync::Arc<World>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let world = std::sync::Arc::new(
        World::new(test, share)
            .await
            .expect("the sandbox for cluster tests"),
    );
    let result = body(world.clone()).await;
    if let Err(error) = &result {
        world.dump().await;
        world.remove().await;
        panic!("{test}: {error:#}");
    }
    world.remove().await;
}

impl World {
    async fn new(test: &str, share: Share) -> anyhow::Result<Self> {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let name: Name = std::env::var("TASKQUEUE_SANDBOX")
            .unwrap_or_else(|_| "checks".into())
            .parse()?;
        let sandbox = Sandbox::open(&name)?;
        let kubeconfig = Kubeconfig::read_from(sandbox.kubeconfig())?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{}-{number}", std::process::id());
        let object: Namespace = serde_json::from_value(json!({
            "metadata": {"name": namespace, "labels": {"taskqueue.dev/test": test.chars().take(63).collect::<String>()}},
        }))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        Ok(Self {
            sandbox,
            client,
            namespace,
            _share: share,
        })
    }

    async fn remove(&self) {
        // Fleets first, so that nothing in the namespace is made anew while it goes.
        let fleets: Api<TaskQueueWorker> = self.api();
        let all = fleets
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let gone = namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await;
        if let (Err(error), _) | (_, Err(error)) = (all.map(drop), gone.map(drop)) {
            eprintln!("removing namespace {}: {error}", self.namespace);
        }
    }

    /// An API in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `kubectl` in the test's namespace: its standard output, or an error with its standard error.
    pub(crate) fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        output(
            self.sandbox
                .kubectl()
                .args(["--namespace", &self.namespace])
                .args(args),
        )
    }

    /// `temporal` against the sandbox's server.
    pub(crate) fn temporal(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.sandbox.programs().temporal);
        command
            .args(args)
            .args(["--address", &self.sandbox.temporal()?]);
        output(&mut command)
    }

    /// Applies a fleet named `orders` with this spec.
    pub(crate) async fn apply(&self, spec: Value) -> anyhow::Result<()> {
        let fleet = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
            "metadata": {"name": "orders"}, "spec": spec,
        });
        self.api::<TaskQueueWorker>()
            .patch(
                "orders",
                &PatchParams::apply("cluster-test").force(),
                &Patch::Apply(&fleet),
            )
            .await?;
        Ok(())
    }

    /// The fleet `orders`.
    pub(crate) async fn fleet(&self) -> anyhow::Result<TaskQueueWorker> {
        Ok(self.api().get("orders").await?)
    }

    /// A condition of the fleet `orders`, if it is about its present generation.
    pub(crate) async fn condition(&self, type_: &str) -> anyhow::Result<Option<Condition>> {
        let fleet = self.fleet().await?;
        let conditions = fleet
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice());
        Ok(conditions
            .unwrap_or_default()
            .iter()
            .find(|condition| {
                condition.type_ == type_
                    && condition.observed_generation == fleet.metadata.generation
            })
            .cloned())
    }

    /// Waits until a condition has this status and reason.
    pub(crate) async fn condition_is(
        &self,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> anyhow::Result<Condition> {
        eventually(
            &format!("condition {type_}={status} ({reason})"),
            || async {
                let found = self.condition(type_).await?;
                let same = found
                    .as_ref()
                    .is_some_and(|found| found.status == status && found.reason == reason);
                Ok(if same {
                    found.ok_or_else(String::new)
                } else {
                    Err(format!("{found:?}"))
                })
            },
        )
        .await
    }

    /// The fleet's Deployments by queue.
    pub(crate) async fn deployments(&self) -> anyhow::Result<BTreeMap<String, Deployment>> {
        let fleet = self.fleet().await?;
        let queues = fleet.status.map(|status| status.queues).unwrap_or_default();
        let api: Api<Deployment> = self.api();
        let mut found = BTreeMap::new();
        for queue in queues {
            if let Some(deployment) = api.get_opt(&queue.deployment_name).await? {
                found.insert(queue.name, deployment);
            }
        }
        Ok(found)
    }

    /// Asked and ready replicas of a queue's Deployment.
    pub(crate) async fn replicas(&self, queue: &str) -> anyhow::Result<(i32, i32)> {
        let deployments = self.deployments().await?;
        let deployment = deployments
            .get(queue)
            .ok_or_else(|| anyhow::anyhow!("queue {queue} has no Deployment"))?;
        let asked = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let ready = deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        Ok((asked, ready))
    }

    /// Waits until a queue's Deployment has (asked, ready) replicas that satisfy `wanted`.
    pub(crate) async fn replicas_are(
        &self,
        queue: &str,
        what: &str,
        wanted: impl Fn(i32, i32) -> bool,
    ) -> anyhow::Result<(i32, i32)> {
        eventually(&format!("{what} (queue {queue})"), || async {
            Ok(match self.replicas(queue).await {
                Ok((asked, ready)) if wanted(asked, ready) => Ok((asked, ready)),
                Ok(other) => Err(format!("(asked, ready) is {other:?}")),
                Err(error) => Err(format!("{error:#}")),
            })
        })
        .await
    }

    /// Pods of the namespace that are not on their way out.
    pub(crate) async fn live_pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await?;
        Ok(pods
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    /// The notes of the Events of the fleet with this reason.
    pub(crate) async fn events(&self, reason: &str) -> anyhow::Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        Ok(events
            .items
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason))
            .filter_map(|event| event.note)
            .collect())
    }

    /// The metrics of the operator's leader as text, one series a line.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let leader = self.sandbox.operator_pod()?;
        let path =
            format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{leader}:8080/proxy/metrics");
        output(self.sandbox.kubectl().args(["get", "--raw", &path]))
    }

    /// A task queue that no other test uses.
    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Starts `OrderWorkflow` on a task queue. `order` is its input without the id, which is
    /// `{namespace}-{number}`; the workflow's id is returned.
    pub(crate) fn order(
        &self,
        task_queue: &str,
        number: usize,
        mut order: Value,
    ) -> anyhow::Result<String> {
        let id = format!("{}-{number}", self.namespace);
        order["order_id"] = json!(id);
        let workflow = format!("order-{id}");
        // In a file: Linux allows no argument of more than 128 KiB, and an order may have many recipients.
        let input = std::env::temp_dir().join(format!("{workflow}.json"));
        std::fs::write(&input, order.to_string())
            .with_context(|| format!("writing {}", input.display()))?;
        let started = self.temporal(&[
            "workflow",
            "start",
            "--type",
            "OrderWorkflow",
            "--task-queue",
            task_queue,
            "--workflow-id",
            &workflow,
            "--input-file",
            &input.to_string_lossy(),
        ]);
        std::fs::remove_file(&input).with_context(|| format!("removing {}", input.display()))?;
        started?;
        Ok(workflow)
    }

    fn describe(&self, workflow: &str) -> anyhow::Result<Value> {
        let text = self.temporal(&[
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

    /// The attempt counts of a workflow's finished activities, by activity type, and its heartbeat
    /// or start-to-close timeouts.
    pub(crate) fn attempts(&self, workflow: &str) -> anyhow::Result<Vec<(String, i64)>> {
        let text = self.temporal(&[
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

    async fn dump(&self) {
        let views: [&[&str]; 4] = [
            &["get", "tqw,deployments,replicasets,pods", "-o", "wide"],
            &["describe", "tqw"],
            &["get", "events", "--sort-by=.lastTimestamp"],
            &[
                "get",
                "pods",
                "-o",
                "jsonpath={range .items[*]}{.metadata.name}{\": \"}{.status.containerStatuses}{\"\\n\"}{end}",
            ],
        ];
        for view in views {
            eprintln!("--- kubectl {}", view.join(" "));
            match self.kubectl(view) {
                Ok(text) => eprintln!("{text}"),
                Err(error) => eprintln!("{error:#}"),
            }
        }
        let pods = self
            .api::<Pod>()
            .list(&ListParams::default())
            .await
            .map(|list| list.items)
            .unwrap_or_default();
        for pod in pods.iter().take(4) {
            let name = pod.name_any();
            eprintln!(
                "--- log of {name}\n{}",
                self.kubectl(&["logs", &name, "--tail=40"])
                    .unwrap_or_default()
            );
        }
        let log = output(self.sandbox.kubectl().args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "logs",
            "--selector",
            &format!("app.kubernetes.io/name={OPERATOR}"),
            "--prefix",
            "--tail=80",
        ]));
        eprintln!("--- log of the operator\n{}", log.unwrap_or_default());
    }
}

/// Runs a command: its standard output, or an error with its standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Asks again and again until the answer is `Ok(Ok)`, for at most [`PATIENCE`]; then fails with what
/// was waited for and the last answer. An outer `Err` ends the wait at once.
pub(crate) async fn eventually<T, F, A>(what: &str, ask: A) -> anyhow::Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<T, String>>>,
{
    within(PATIENCE, what, ask).await
}

/// The same with another patience, for what takes long by its nature.
pub(crate) async fn within<T, F, A>(patience: Duration, what: &str, mut ask: A) -> anyhow::Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<T, String>>>,
{
    let deadline = Instant::now() + patience;
    let mut pace = tokio::time::interval(Duration::from_millis(250));
    loop {
        pace.tick().await;
        let last = match ask().await? {
            Ok(value) => return Ok(value),
            Err(last) => last,
        };
        anyhow::ensure!(
            Instant::now() < deadline,
            "not within {} s: {what}; last: {last}",
            patience.as_secs()
        );
    }
}

/// Checks again and again, for the whole of `span`, that something stays true.
pub(crate) async fn throughout<F, A>(span: Duration, what: &str, mut holds: A) -> anyhow::Result<()>
where
    A: FnMut() -> F,
    F: Future<Output = anyhow::Result<Result<(), String>>>,
{
    let end = Instant::now() + span;
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    while Instant::now() < end {
        pace.tick().await;
        if let Err(found) = holds().await? {
            anyhow::bail!("{what} did not hold: {found}");
        }
    }
    Ok(())
}

/// A spec with one queue `all` that does every part of an order. `scaling` overrides the test's quick
/// defaults field by field.
pub(crate) fn one_queue(task_queue: &str, min: u32, max: u32, scaling: &Value) -> Value {
    let mut quick = json!({"cooldownPeriod": "5s", "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}});
    if let (Some(quick), Some(scaling)) = (quick.as_object_mut(), scaling.as_object()) {
        quick.extend(scaling.clone());
    }
    json!({
        "connection": {"address": TEMPORAL, "temporalNamespace": "default"},
        "template": worker_template(),
        "queues": [{"name": "all", "taskQueue": task_queue, "replicas": {"min": min, "max": max}}],
        "scaling": quick,
        "drain": {"gracePeriod": "60s"},
    })
}

/// The order worker as a pod template, on the sandbox's PostgreSQL, SMTP and gateway.
pub(crate) fn worker_template() -> Value {
    json!({"spec": {"containers": [{
        "name": "worker",
        "image": format!("localhost/order-worker:{}", env!("CARGO_PKG_VERSION")),
        "imagePullPolicy": "IfNotPresent",
        "env": [
            {"name": "DATABASE_URL", "value": "postgres://orders@postgres.sandbox-services.svc:5432/orders"},
            {"name": "PAYMENT_GATEWAY_URL", "value": "http://payment-gateway.sandbox-services.svc:8090"},
            {"name": "SMTP_URL", "value": "smtp://smtp.sandbox-services.svc:2525"},
            {"name": "MAIL_FROM", "value": "orders@shop.example"},
            {"name": "ORDER_WORKER_ACTIVITY_SLOTS", "value": "4"},
        ],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
    }]}})
}
