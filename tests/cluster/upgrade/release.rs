//! The shared release of the operator: installed, removed and restored with helm and kubectl, and
//! the fleet that runs meanwhile.

use std::{
    future::Future,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::{Value, json};
use taskqueue_api::status::QueueStatus;

use crate::harness::{
    OPERATOR, OPERATOR_NAMESPACE, TestCluster, Workers, eventually, one_queue, output,
};

const DEFINITIONS: [&str; 3] = [
    "clustertemporalconnections.taskqueue.dev",
    "taskqueueworkers.taskqueue.dev",
    "temporalconnections.taskqueue.dev",
];

pub(crate) const PLACE: [&str; 2] = ["--namespace", OPERATOR_NAMESPACE];

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/taskqueue-operator")
}

/// The chart as a release packs it, but for the address and the digest of the image.
pub(crate) fn package(cluster: &TestCluster) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&cluster.namespace);
    let mut helm = cluster.sandbox.helm();
    helm.arg("package").arg(chart()).arg("--destination");
    output(helm.arg(&folder))?;
    Ok(folder.join(format!("{OPERATOR}-{}.tgz", env!("CARGO_PKG_VERSION"))))
}

pub(crate) fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

pub(crate) fn frozen_chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/0.1.0/taskqueue-operator")
}

/// The shared release, and the values that it was installed with.
pub(crate) struct Release {
    pub(crate) cluster: Arc<TestCluster>,
    pub(crate) values: PathBuf,
}

/// Removes the operator and its definitions, runs the body, and restores the earlier installation,
/// whatever the result of the body.
pub(crate) async fn on_a_bare_cluster<T, F>(
    cluster: &Arc<TestCluster>,
    body: T,
) -> anyhow::Result<()>
where
    T: FnOnce(Release) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let all = installed_values(cluster)?;
    // The values that every version of the chart supports.
    let image = json!({"image": all["image"], "podAnnotations": all["podAnnotations"]});
    let release = Release {
        cluster: cluster.clone(),
        values: file(cluster, "image.json", &image)?,
    };
    let before = Release {
        cluster: cluster.clone(),
        values: file(cluster, "values.json", &all)?,
    };
    let result = match release.clear() {
        Ok(()) => body(release).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        // Print it now, before the cluster is restored.
        eprintln!(
            "{}",
            cluster
                .kubectl(&["get", "all", "-o", "wide"])
                .unwrap_or_default()
        );
        let crds = cluster
            .sandbox
            .kubectl()
            .args(["get", "crd", "--show-labels"])
            .output()?;
        eprintln!("{}", String::from_utf8_lossy(&crds.stdout));
    }
    if result.is_ok() && installed_values(cluster).is_ok_and(|left| left == all) {
        // The body has left the installation as it was.
        return Ok(());
    }
    let restored = before.helm(
        &[
            "upgrade",
            "--install",
            "--take-ownership",
            "--force-conflicts",
        ],
        &chart(),
        &[],
    );
    result?;
    restored.map(drop)
}

/// The values that the operator was installed with.
fn installed_values(cluster: &TestCluster) -> anyhow::Result<Value> {
    let values = output(
        cluster
            .sandbox
            .helm()
            .args(["get", "values", OPERATOR, "--output", "json"])
            .args(PLACE),
    )?;
    Ok(serde_json::from_str(&values)?)
}

/// Writes a file of this test.
pub(crate) fn file(cluster: &TestCluster, name: &str, content: &Value) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&cluster.namespace);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    std::fs::write(&file, content.to_string())?;
    Ok(file)
}

impl Release {
    /// Runs `helm VERB taskqueue-operator CHART`, and waits until the operator is available.
    pub(crate) fn helm(
        &self,
        verb: &[&str],
        chart: &Path,
        settings: &[&str],
    ) -> anyhow::Result<String> {
        self.helm_with(self.cluster.sandbox.helm(), verb, chart, settings)
    }

    /// The same with another Helm.
    pub(crate) fn helm_with(
        &self,
        mut helm: Command,
        verb: &[&str],
        chart: &Path,
        settings: &[&str],
    ) -> anyhow::Result<String> {
        helm.args(verb).arg(OPERATOR).arg(chart).args(PLACE).args([
            "--wait",
            "--timeout=120s",
            "--values",
        ]);
        output(helm.arg(&self.values).args(settings))
    }

    fn clear(&self) -> anyhow::Result<()> {
        let sandbox = &self.cluster.sandbox;
        output(
            sandbox
                .helm()
                .args(["uninstall", OPERATOR, "--wait", "--timeout=120s"])
                .args(PLACE),
        )?;
        let mut kubectl = sandbox.kubectl();
        kubectl
            .args([
                "delete",
                "customresourcedefinition",
                "--ignore-not-found",
                "--timeout=120s",
            ])
            .args(DEFINITIONS);
        output(&mut kubectl).map(drop)
    }

    /// Waits until the API server has exactly the definitions in these files.
    pub(crate) async fn definitions_are(&self, folder: &Path) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.cluster.client.clone());
        for name in DEFINITIONS {
            let plural = name.split('.').next().unwrap_or_default();
            let file = folder.join(format!("taskqueue.dev_{plural}.yaml"));
            // An earlier version has fewer kinds.
            if !file.exists() {
                continue;
            }
            let text = std::fs::read_to_string(file)?;
            let file: CustomResourceDefinition = serde_saphyr::from_str(&text)?;
            eventually(
                &format!("{name} is served as in {}", folder.display()),
                || async {
                    let served = api.get(name).await?;
                    let same = served.spec.versions == file.spec.versions;
                    let established = served
                        .status
                        .iter()
                        .flat_map(|status| status.conditions.iter().flatten());
                    let established = established.into_iter().any(|condition| {
                        condition.type_ == "Established" && condition.status == "True"
                    });
                    Ok(if same && established {
                        Ok(())
                    } else {
                        Err(format!("same: {same}, established: {established}"))
                    })
                },
            )
            .await?;
        }
        Ok(())
    }

    /// Starts a fleet at zero and scales it to two workers with orders. The decision contains what
    /// the operator has learned; an operator without that knowledge would go back to zero.
    pub(crate) async fn start_fleet(&self) -> anyhow::Result<Before> {
        let cluster = &self.cluster;
        eventually("the API server accepts fleets", || async {
            let applied = cluster.apply(self.fleet(2)).await;
            Ok(applied.map_err(|error| format!("{error:#}")))
        })
        .await?;
        let order = json!({"total": 100, "card": "tok_delay_8000"});
        // More orders than 4 slots can finish before the worker's first heartbeat, so some still
        // wait then.
        let workflows = cluster
            .temporal
            .orders(&cluster.queue("all"), 0..16, &order)?;
        let workers = cluster.workers_run(2).await?;
        cluster.temporal.results(&workflows).await?;
        let status = eventually("the status covers both replicas", || async {
            let status = status(cluster).await?;
            let settled = status.first().is_some_and(|queue| {
                let last = queue.last_decision.as_ref();
                (queue.desired, queue.ready) == (Some(2), Some(2))
                    && last.is_some_and(|last| last.to == 2)
            });
            Ok(if settled {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            })
        })
        .await?;
        Ok(Before {
            cluster: cluster.clone(),
            workers,
            status,
        })
    }

    /// One queue that only ever scales out, to at most `max` replicas.
    fn fleet(&self, max: u32) -> Value {
        let behavior = json!({"scaleDown": {"selectPolicy": "Disabled"}});
        one_queue(
            &self.cluster.queue("all"),
            0,
            max,
            &json!({"behavior": behavior}),
        )
    }

    /// Changes the fleet, and waits until its status is about the change.
    pub(crate) async fn change_fleet(&self, max: u32) -> anyhow::Result<()> {
        self.cluster.apply(self.fleet(max)).await?;
        self.cluster
            .condition_is("Ready", "True", "Available")
            .await?;
        self.cluster
            .condition_is("ScalingActive", "True", "Active")
            .await
            .map(drop)
    }
}

/// The fleet after it was scaled.
pub(crate) struct Before {
    cluster: Arc<TestCluster>,
    workers: Workers,
    status: Vec<QueueStatus>,
}

impl Before {
    /// Checks that no worker was touched, and that the operator's new status repeats the earlier
    /// one: the replicas, and the last decision with its inputs.
    pub(crate) async fn is_unaffected(&self, by_what: &str) -> anyhow::Result<()> {
        self.cluster.untouched(&self.workers, by_what).await?;
        let status = status(&self.cluster).await?;
        anyhow::ensure!(
            status == self.status,
            "{by_what} lost the status: {:?} became {status:?}",
            self.status
        );
        Ok(())
    }
}

async fn status(cluster: &TestCluster) -> anyhow::Result<Vec<QueueStatus>> {
    let status = cluster.fleet().await?.status;
    Ok(status.map(|status| status.queues).unwrap_or_default())
}
