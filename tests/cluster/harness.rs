//! What every cluster test needs: the sandbox, a namespace and a fleet of its own, and in the
//! submodules orders, specs, workers and waiting. A failed test prints the objects, Events and logs
//! that explain why.

mod fleets;
mod load;
mod temporal;
mod waiting;
mod workers;

use std::{
    collections::BTreeMap,
    future::Future,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

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
use sandbox_machine::{Name, Sandbox};
use serde_json::{Value, json};
use taskqueue_api::{TaskQueueWorker, TemporalConnection};
use taskqueue_exposition::Sample;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use fleets::{TEMPORAL, one_queue};
pub(crate) use load::Load;
pub(crate) use temporal::Temporal;
pub(crate) use waiting::{eventually, eventually_throughout, throughout, within};
pub(crate) use workers::Workers;

/// The namespace in which the chart installs the operator.
pub(crate) const OPERATOR_NAMESPACE: &str = "taskqueue-system";
/// The operator's Deployment.
pub(crate) const OPERATOR: &str = "taskqueue-operator";

/// Tests that break shared parts (Temporal, the operator) hold this exclusively; the others share
/// it.
static SHARED_PARTS: RwLock<()> = RwLock::const_new(());
static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Held while a test runs, so that no other test breaks the shared parts meanwhile.
#[allow(dead_code, reason = "held, not read")]
pub(crate) enum Share {
    /// Together with other tests.
    Shared(RwLockReadGuard<'static, ()>),
    /// Alone.
    Alone(RwLockWriteGuard<'static, ()>),
}

/// One test's view of the sandbox, with a namespace of its own that is removed at the end.
pub(crate) struct TestCluster {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// The sandbox's Temporal server.
    pub(crate) temporal: Temporal,
    _share: Share,
}

/// Runs a test in a namespace of its own, in parallel with other tests.
pub(crate) async fn with_namespace<T, F>(test: &str, body: T)
where
    T: FnOnce(std::sync::Arc<TestCluster>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    run(test, Share::Shared(SHARED_PARTS.read().await), body).await;
}

/// Runs a test that breaks something shared, alone.
pub(crate) async fn alone<T, F>(test: &str, body: T)
where
    T: FnOnce(std::sync::Arc<TestCluster>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    run(test, Share::Alone(SHARED_PARTS.write().await), body).await;
}

async fn run<T, F>(test: &str, share: Share, body: T)
where
    T: FnOnce(std::sync::Arc<TestCluster>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let cluster = std::sync::Arc::new(
        TestCluster::new(test, share)
            .await
            .expect("the sandbox for cluster tests"),
    );
    let result = body(cluster.clone()).await;
    if let Err(error) = &result {
        cluster.dump().await;
        cluster.remove().await;
        panic!("{test}: {error:#}");
    }
    cluster.remove().await;
}

impl TestCluster {
    async fn new(test: &str, share: Share) -> anyhow::Result<Self> {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let name: Name = std::env::var("TASKQUEUE_SANDBOX")
            .unwrap_or_else(|_| "checks".into())
            .parse()?;
        let sandbox = Sandbox::open(&name)?;
        let client = Client::try_from(config(&sandbox).await?)?;
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{}-{number}", std::process::id());
        let object: Namespace = serde_json::from_value(json!({
            "metadata": {
                "name": namespace,
                "labels": {"taskqueue.dev/test": test.chars().take(63).collect::<String>()},
            },
        }))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        let temporal = Temporal::at(
            sandbox.programs().temporal.clone(),
            sandbox.temporal()?,
            namespace.clone(),
        );
        Ok(Self {
            sandbox,
            client,
            namespace,
            temporal,
            _share: share,
        })
    }

    async fn remove(&self) {
        // Fleets go first, so that nothing in the namespace is recreated during its removal.
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

    /// How an administrator reaches the API server from this machine.
    pub(crate) async fn config(&self) -> anyhow::Result<Config> {
        config(&self.sandbox).await
    }

    /// A client for objects in the test's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Runs `kubectl` in the test's namespace; returns its standard output, or an error with its
    /// standard error.
    pub(crate) fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        output(
            self.sandbox
                .kubectl()
                .args(["--namespace", &self.namespace])
                .args(args),
        )
    }

    /// Runs `helm` in the operator's namespace; returns its standard output, or an error with its
    /// standard error.
    pub(crate) fn helm(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut helm = self.sandbox.helm();
        output(helm.args(args).args(["--namespace", OPERATOR_NAMESPACE]))
    }

    /// Applies a fleet named `orders` with this spec.
    pub(crate) async fn apply(&self, spec: Value) -> anyhow::Result<()> {
        self.apply_as("orders", spec).await
    }

    /// Applies a fleet of this name.
    pub(crate) async fn apply_as(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let fleet = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TaskQueueWorker",
            "metadata": {"name": name}, "spec": spec,
        });
        self.api::<TaskQueueWorker>()
            .patch(
                name,
                &PatchParams::apply("cluster-test").force(),
                &Patch::Apply(&fleet),
            )
            .await?;
        Ok(())
    }

    /// Applies a fleet `orders` with one idle queue, from zero to `max` replicas, and waits until
    /// the queue has been read.
    pub(crate) async fn start_from_zero(&self, task_queue: &str, max: u32) -> anyhow::Result<()> {
        self.apply(one_queue(task_queue, 0, max, &json!({})))
            .await?;
        self.condition_is("ScalingActive", "True", "Active")
            .await
            .map(drop)
    }

    /// Applies a connection that fleets can reference.
    pub(crate) async fn share_connection(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        let connection = json!({
            "apiVersion": "taskqueue.dev/v1alpha1", "kind": "TemporalConnection",
            "metadata": {"name": name}, "spec": spec,
        });
        let params = PatchParams::apply("cluster-test").force();
        self.api::<TemporalConnection>()
            .patch(name, &params, &Patch::Apply(&connection))
            .await?;
        Ok(())
    }

    /// An owner reference to the test's namespace. An object outside that has it is deleted with
    /// the namespace.
    pub(crate) async fn owner(&self) -> anyhow::Result<Value> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let uid = namespaces.get(&self.namespace).await?.uid();
        Ok(json!({
            "apiVersion": "v1", "kind": "Namespace", "name": self.namespace, "uid": uid,
        }))
    }

    /// The fleet `orders`.
    pub(crate) async fn fleet(&self) -> anyhow::Result<TaskQueueWorker> {
        Ok(self.api().get("orders").await?)
    }

    /// A condition of the fleet `orders`, if it is about the present generation.
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

    /// The requested and ready replicas of a queue's Deployment.
    pub(crate) async fn replicas(&self, queue: &str) -> anyhow::Result<(i32, i32)> {
        let deployments = self.deployments().await?;
        let deployment = deployments
            .get(queue)
            .ok_or_else(|| anyhow::anyhow!("queue {queue} has no Deployment"))?;
        let requested = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let ready = deployment
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or(0);
        Ok((requested, ready))
    }

    /// Waits until the (requested, ready) replicas of a queue's Deployment satisfy `wanted`.
    pub(crate) async fn replicas_are(
        &self,
        queue: &str,
        what: &str,
        wanted: impl Fn(i32, i32) -> bool,
    ) -> anyhow::Result<(i32, i32)> {
        eventually(&format!("{what} (queue {queue})"), || async {
            Ok(match self.replicas(queue).await {
                Ok((requested, ready)) if wanted(requested, ready) => Ok((requested, ready)),
                Ok(other) => Err(format!("(requested, ready) is {other:?}")),
                Err(error) => Err(format!("{error:#}")),
            })
        })
        .await
    }

    /// The pods of the namespace that are not terminating.
    pub(crate) async fn live_pods(&self) -> anyhow::Result<Vec<Pod>> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await?;
        Ok(pods
            .items
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .collect())
    }

    /// Waits until a worker in the namespace has logged a line with this text.
    pub(crate) async fn log_says(&self, text: &str) -> anyhow::Result<()> {
        eventually(&format!("a worker logs {text:?}"), || async {
            let log = self.kubectl(&["logs", "--selector=taskqueue.dev/worker", "--tail=-1"])?;
            Ok(if log.contains(text) {
                Ok(())
            } else {
                Err(format!("{} lines without it", log.lines().count()))
            })
        })
        .await
    }

    /// The notes of the fleet's Events with this reason.
    pub(crate) async fn events(&self, reason: &str) -> anyhow::Result<Vec<String>> {
        let events = self.api::<Event>().list(&ListParams::default()).await?;
        Ok(events
            .items
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some(reason))
            .filter_map(|event| event.note)
            .collect())
    }

    /// The logs of all replicas of the operator.
    pub(crate) fn operator_log(&self) -> anyhow::Result<String> {
        self.end_of_operator_log(-1)
    }

    /// The last lines of each replica's log; -1 = all lines.
    fn end_of_operator_log(&self, lines: i32) -> anyhow::Result<String> {
        output(self.sandbox.kubectl().args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "logs",
            "--selector",
            &format!("app.kubernetes.io/name={OPERATOR}"),
            "--prefix",
            &format!("--tail={lines}"),
        ]))
    }

    /// The metrics of the operator's leader as text, one series per line.
    pub(crate) fn metrics(&self) -> anyhow::Result<String> {
        let leader = self.sandbox.operator_pod()?;
        let path =
            format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{leader}:8080/proxy/metrics");
        output(self.sandbox.kubectl().args(["get", "--raw", &path]))
    }

    /// The value of the series of the fleet `orders` with these labels.
    pub(crate) fn series(
        &self,
        metric: &str,
        labels: &[(&str, &str)],
    ) -> anyhow::Result<Option<f64>> {
        let metrics = self.metrics()?;
        let of_fleet = [("namespace", self.namespace.as_str()), ("name", "orders")];
        let mut ours = metrics.lines().filter_map(Sample::parse).filter(|sample| {
            let has = |&(name, value): &(&str, &str)| sample.label(name) == Some(value);
            sample.name == metric && of_fleet.iter().chain(labels).all(has)
        });
        Ok(ours.next().map(|sample| sample.value))
    }

    /// A task queue that no other test uses.
    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }

    /// Fails if one of these secrets appears in an object of the fleet, in a log or in a metric.
    pub(crate) fn shows_none_of(&self, secrets: &[&str]) -> anyhow::Result<()> {
        let texts = [
            self.kubectl(&["get", "tqw,deployments,pods,events", "-o", "yaml"])?,
            self.kubectl(&["logs", "--selector=taskqueue.dev/worker", "--tail=-1"])?,
            self.operator_log()?,
            self.metrics()?,
        ];
        for line in texts.iter().flat_map(|text| text.lines()) {
            let shown = secrets.iter().any(|secret| line.contains(secret));
            anyhow::ensure!(!shown, "a secret is shown: {line}");
        }
        Ok(())
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
                "jsonpath={range .items[*]}{.metadata.name}: \
                 {.status.containerStatuses}{\"\\n\"}{end}",
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
        let log = self.end_of_operator_log(80);
        eprintln!("--- log of the operator\n{}", log.unwrap_or_default());
    }
}

async fn config(sandbox: &Sandbox) -> anyhow::Result<Config> {
    let kubeconfig = Kubeconfig::read_from(sandbox.kubeconfig())?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Runs a command; returns its standard output, or an error with its standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}
