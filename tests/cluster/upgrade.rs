//! From the last release to the present version and back, with the chart and with CRDs applied by
//! kubectl, while a fleet runs: no worker is affected, and the operator continues where the
//! previous one stopped. The last release is frozen under `tests/fixtures` (chart and CRDs; the
//! image is the present one). These tests stop the shared operator and remove the CRDs, so they run
//! alone, and reinstall it at the end.

use std::{
    future::Future,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::{Value, json};
use taskqueue_api::status::QueueStatus;

use crate::harness::{
    OPERATOR, OPERATOR_NAMESPACE, Workers, World, alone, eventually, one_queue, output,
};

const DEFINITIONS: [&str; 2] = [
    "taskqueueworkers.taskqueue.dev",
    "temporalconnections.taskqueue.dev",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_rollback_and_uninstall_of_the_chart_change_no_worker() {
    alone("the-chart-is-upgraded", |world| async move {
        on_a_bare_cluster(&world, |release| async move {
            release.helm(&["install"], &frozen_chart(), &[])?;
            release
                .definitions_are(&frozen_chart().join("files/crds"))
                .await?;
            let before = release.start_fleet().await?;

            release.helm(&["upgrade"], &chart(), &[])?;
            release.definitions_are(&definitions()).await?;
            release.fleet_goes_on(3).await?;
            before.goes_on("the upgrade").await?;

            output(
                release
                    .world
                    .sandbox
                    .helm()
                    .args(["rollback", OPERATOR, "1", "--wait", "--timeout=120s"])
                    .args(PLACE),
            )?;
            release
                .definitions_are(&frozen_chart().join("files/crds"))
                .await?;
            release.fleet_goes_on(4).await?;
            before.goes_on("the rollback").await?;

            release.helm(&["upgrade"], &chart(), &[])?;
            release.fleet_goes_on(5).await?;
            output(
                release
                    .world
                    .sandbox
                    .helm()
                    .args(["uninstall", OPERATOR, "--wait", "--timeout=120s"])
                    .args(PLACE),
            )?;
            release.definitions_are(&definitions()).await?;
            release.world.fleet().await.context("the fleet stays")?;
            before.goes_on("the removal of the operator").await?;

            // Under the same name and namespace, the new release adopts the definitions and the
            // fleet.
            release.helm(&["install"], &chart(), &[])?;
            release.fleet_goes_on(6).await?;
            before.goes_on("the new operator").await
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_applied_with_kubectl_are_upgraded_before_the_chart_and_can_be_adopted_by_it() {
    alone("crds-applied-with-kubectl", |world| async move {
        on_a_bare_cluster(&world, |release| async move {
            let world = &release.world;
            let apply =
                |folder: &Path| output(world.sandbox.kubectl().args(["apply", "-f"]).arg(folder));
            apply(&frozen_chart().join("files/crds"))?;
            release.helm(
                &["install"],
                &frozen_chart(),
                &["--set", "crds.install=false"],
            )?;
            let before = release.start_fleet().await?;

            apply(&definitions())?;
            release.definitions_are(&definitions()).await?;
            release.helm(&["upgrade"], &chart(), &["--set", "crds.install=false"])?;
            release.fleet_goes_on(3).await?;
            before.goes_on("the upgrade").await?;

            // Helm adopts objects that it did not create only on request; the chart's README
            // explains how.
            let refused = release.helm(&["upgrade"], &chart(), &[]);
            let refused = format!(
                "{:#}",
                refused.expect_err("the definitions do not belong to the release")
            );
            anyhow::ensure!(refused.contains("ownership"), "{refused}");
            release.helm(
                &["upgrade", "--take-ownership", "--force-conflicts"],
                &chart(),
                &[],
            )?;
            release.definitions_are(&definitions()).await?;
            release.fleet_goes_on(4).await?;
            before.goes_on("the change of owner").await
        })
        .await
    })
    .await;
}

/// A release with another name: version 0.1.0 used the same lease for every name, this version uses
/// one per name.
const OTHER: &str = "orders-operator";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_another_release_name_never_has_two_writing_processes() {
    alone("an-upgrade-under-another-name", |world| async move {
        on_a_bare_cluster(&world, |release| async move {
            // Version 0.1.0 with its defaults, and with its lease.
            for settings in [&[][..], &["--set=replicas=2,leaderElection.enabled=true"]] {
                let result = upgraded_under_another_name(&release, settings).await;
                if result.is_err() {
                    eprintln!("{}", evidence(&release.world));
                }
                let mut helm = release.world.sandbox.helm();
                helm.args(["uninstall", OTHER, "--wait", "--timeout=120s"]);
                let removed = output(helm.args(PLACE));
                result.with_context(|| format!("version 0.1.0 with {settings:?}"))?;
                removed?;
            }
            // The remaining definitions belong to the other release.
            let verb = ["install", "--take-ownership", "--force-conflicts"];
            release.helm(&verb, &chart(), &[]).map(drop)
        })
        .await
    })
    .await;
}

/// Installs version 0.1.0 with these settings, and upgrades until there are two replicas. At no
/// time do two of them lead.
async fn upgraded_under_another_name(release: &Release, settings: &[&str]) -> anyhow::Result<()> {
    let world = &release.world;
    let helm = |verb: &str, chart: &Path| {
        let mut helm = world.sandbox.helm();
        helm.arg(verb).arg(OTHER).arg(chart).args(PLACE);
        helm.args(["--wait", "--timeout=120s", "--values"]);
        helm.arg(&release.values);
        helm
    };
    output(helm("install", &frozen_chart()).args(settings))?;
    eventually("the old version leads", || async {
        let leads = leading(world)?;
        Ok(if leads.len() == 1 {
            Ok(())
        } else {
            Err(format!("{leads:?}"))
        })
    })
    .await?;
    // The first upgrade replaces a process without a lease by one with a lease; the second adds a
    // standby.
    for _ in 0..2 {
        let mut upgrade = helm("upgrade", &chart()).spawn()?;
        let ended = loop {
            at_most_one_leads(world)?;
            if let Some(ended) = upgrade.try_wait()? {
                break ended;
            }
        };
        anyhow::ensure!(ended.success(), "helm upgrade: {ended}");
        // The old pods may still be terminating; one of the new pods becomes the leader.
        eventually("the new version leads alone", || async {
            at_most_one_leads(world)?;
            let leads = leading(world)?;
            let lease = format!("{OTHER}-taskqueue-operator-leader");
            let lease = crate::leaders::lease_of(world, &lease).await?;
            let holder = lease.and_then(|lease| lease.holder_identity);
            Ok(match (leads.as_slice(), holder) {
                ([leads], Some(holder)) if *leads == holder => Ok(()),
                (leads, holder) => Err(format!("{leads:?} lead, and {holder:?} holds the lease")),
            })
        })
        .await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), OPERATOR_NAMESPACE);
    let name = format!("{OTHER}-taskqueue-operator");
    let replicas = deployments
        .get(&name)
        .await?
        .spec
        .and_then(|spec| spec.replicas);
    anyhow::ensure!(replicas == Some(2), "{replicas:?} replicas");
    Ok(())
}

/// The replicas that report that they lead.
fn leading(world: &World) -> anyhow::Result<Vec<String>> {
    let names = output(
        world
            .sandbox
            .kubectl()
            .args(["get", "pods", "--output=jsonpath={.items[*].metadata.name}"])
            .args(PLACE),
    )?;
    let names = names.split_whitespace().map(str::to_owned);
    Ok(names.filter(|pod| leads(world, pod)).collect())
}

/// The lease holders and the logs of the replicas.
fn evidence(world: &World) -> String {
    let instance = format!("--selector=app.kubernetes.io/instance={OTHER}");
    let commands: [&[&str]; 3] = [
        &["get", "leases", "--output=yaml"],
        &["get", "pods", "--output=wide"],
        &["logs", "--prefix", "--tail=50", &instance],
    ];
    let printed = commands.map(|command| {
        let printed = output(world.sandbox.kubectl().args(command).args(PLACE));
        printed.unwrap_or_else(|error| format!("{error:#}"))
    });
    printed.join("\n")
}

/// Whether a replica reports that it leads. A replica that does not answer has not started, or has
/// ended.
fn leads(world: &World, pod: &str) -> bool {
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/metrics");
    let metrics = output(world.sandbox.kubectl().args(["get", "--raw", &path]));
    metrics.is_ok_and(|metrics| {
        metrics
            .lines()
            .any(|line| line == "taskqueue_operator_leader 1")
    })
}

/// Checks that at most one replica leads. The replicas are asked one after the other, so those that
/// report it are asked again in case the lease moved in between.
fn at_most_one_leads(world: &World) -> anyhow::Result<()> {
    let mut leads_now = leading(world)?;
    if leads_now.len() > 1 {
        leads_now.retain(|pod| leads(world, pod));
    }
    anyhow::ensure!(
        leads_now.len() <= 1,
        "several processes lead at once: {leads_now:?}"
    );
    Ok(())
}

const PLACE: [&str; 2] = ["--namespace", OPERATOR_NAMESPACE];

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/taskqueue-operator")
}

fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

fn frozen_chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/0.1.0/taskqueue-operator")
}

/// The shared release, and the values that it was installed with.
struct Release {
    world: std::sync::Arc<World>,
    values: PathBuf,
}

/// Removes the operator and its definitions, runs the body, and restores the earlier installation,
/// whatever the result of the body.
async fn on_a_bare_cluster<T, F>(world: &std::sync::Arc<World>, body: T) -> anyhow::Result<()>
where
    T: FnOnce(Release) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let values = output(
        world
            .sandbox
            .helm()
            .args(["get", "values", OPERATOR, "--output", "json"])
            .args(PLACE),
    )?;
    let all: Value = serde_json::from_str(&values)?;
    // The values that every version of the chart supports.
    let image = json!({"image": all["image"], "podAnnotations": all["podAnnotations"]});
    let release = Release {
        world: world.clone(),
        values: file(world, "image.json", &image)?,
    };
    let before = Release {
        world: world.clone(),
        values: file(world, "values.json", &all)?,
    };
    let result = match release.clear() {
        Ok(()) => body(release).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        // Print it now, before the cluster is restored.
        eprintln!(
            "{}",
            world
                .kubectl(&["get", "all", "-o", "wide"])
                .unwrap_or_default()
        );
        let crds = world
            .sandbox
            .kubectl()
            .args(["get", "crd", "--show-labels"])
            .output()?;
        eprintln!("{}", String::from_utf8_lossy(&crds.stdout));
    }
    if result.is_ok() && image == all {
        // The body has already left exactly this installation.
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

fn file(world: &World, name: &str, content: &Value) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&world.namespace);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join(name);
    std::fs::write(&file, content.to_string())?;
    Ok(file)
}

impl Release {
    /// Runs `helm VERB taskqueue-operator CHART`, and waits until the operator is available.
    fn helm(&self, verb: &[&str], chart: &Path, settings: &[&str]) -> anyhow::Result<String> {
        let mut helm = self.world.sandbox.helm();
        helm.args(verb).arg(OPERATOR).arg(chart).args(PLACE).args([
            "--wait",
            "--timeout=120s",
            "--values",
        ]);
        output(helm.arg(&self.values).args(settings))
    }

    fn clear(&self) -> anyhow::Result<()> {
        let sandbox = &self.world.sandbox;
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
    async fn definitions_are(&self, folder: &Path) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.world.client.clone());
        for name in DEFINITIONS {
            let plural = name.split('.').next().unwrap_or_default();
            let text =
                std::fs::read_to_string(folder.join(format!("taskqueue.dev_{plural}.yaml")))?;
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
    async fn start_fleet(&self) -> anyhow::Result<Before> {
        let world = &self.world;
        eventually("the API server accepts fleets", || async {
            let applied = world.apply(self.fleet(2)).await;
            Ok(applied.map_err(|error| format!("{error:#}")))
        })
        .await?;
        let order = json!({"total": 100, "card": "tok_delay_8000"});
        // More orders than 4 slots can finish before the worker's first heartbeat, so some still
        // wait then.
        let workflows = world.temporal.orders(&world.queue("all"), 0..16, &order)?;
        let workers = world.workers_run(2).await?;
        world.temporal.results(&workflows).await?;
        let status = eventually("the status covers both replicas", || async {
            let status = status(world).await?;
            let settled = status.first().is_some_and(|queue| {
                let last = queue.last_decision.as_ref();
                (queue.desired, queue.ready) == (2, 2) && last.is_some_and(|last| last.to == 2)
            });
            Ok(if settled {
                Ok(status)
            } else {
                Err(format!("{status:?}"))
            })
        })
        .await?;
        Ok(Before {
            world: world.clone(),
            workers,
            status,
        })
    }

    /// One queue that only ever scales out, to at most `max` replicas.
    fn fleet(&self, max: u32) -> Value {
        let behavior = json!({"scaleDown": {"selectPolicy": "Disabled"}});
        one_queue(
            &self.world.queue("all"),
            0,
            max,
            &json!({"behavior": behavior}),
        )
    }

    /// Changes the fleet, and waits until its status is about the change.
    async fn fleet_goes_on(&self, max: u32) -> anyhow::Result<()> {
        self.world.apply(self.fleet(max)).await?;
        self.world
            .condition_is("Ready", "True", "Available")
            .await?;
        self.world
            .condition_is("ScalingActive", "True", "Active")
            .await
            .map(drop)
    }
}

/// The fleet after it was scaled.
struct Before {
    world: std::sync::Arc<World>,
    workers: Workers,
    status: Vec<QueueStatus>,
}

impl Before {
    /// Checks that no worker was touched, and that the operator's new status repeats the earlier
    /// one: the replicas, and the last decision with its inputs.
    async fn goes_on(&self, by_what: &str) -> anyhow::Result<()> {
        self.world.untouched(&self.workers, by_what).await?;
        let status = status(&self.world).await?;
        anyhow::ensure!(
            status == self.status,
            "{by_what} lost the status: {:?} became {status:?}",
            self.status
        );
        Ok(())
    }
}

async fn status(world: &World) -> anyhow::Result<Vec<QueueStatus>> {
    let status = world.fleet().await?.status;
    Ok(status.map(|status| status.queues).unwrap_or_default())
}
