//! From the chart that is frozen under `tests/fixtures` to the current one and back, with the chart
//! and with CRDs applied by kubectl, while a fleet runs: no worker is affected, and the operator
//! continues where the previous one stopped. The image is the current one with both charts. These
//! tests stop the shared operator and remove the CRDs, so they run alone, and reinstall it at the
//! end.

pub(crate) mod release;

use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;

use self::release::{PLACE, Release, chart, definitions, frozen_chart, on_a_bare_cluster};
use crate::harness::{OPERATOR, OPERATOR_NAMESPACE, TestCluster, alone, eventually, output};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_rollback_and_uninstall_of_the_chart_change_no_worker() {
    alone("the-chart-is-upgraded", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            release.helm(&["install"], &frozen_chart(), &[])?;
            release
                .definitions_are(&frozen_chart().join("files/crds"))
                .await?;
            let before = release.start_fleet().await?;

            release.helm(&["upgrade"], &chart(), &[])?;
            release.definitions_are(&definitions()).await?;
            release.change_fleet(3).await?;
            before.is_unaffected("the upgrade").await?;

            output(
                release
                    .cluster
                    .sandbox
                    .helm()
                    .args(["rollback", OPERATOR, "1", "--wait", "--timeout=120s"])
                    .args(PLACE),
            )?;
            release
                .definitions_are(&frozen_chart().join("files/crds"))
                .await?;
            release.change_fleet(4).await?;
            before.is_unaffected("the rollback").await?;

            release.helm(&["upgrade"], &chart(), &[])?;
            release.change_fleet(5).await?;
            output(
                release
                    .cluster
                    .sandbox
                    .helm()
                    .args(["uninstall", OPERATOR, "--wait", "--timeout=120s"])
                    .args(PLACE),
            )?;
            release.definitions_are(&definitions()).await?;
            release.cluster.fleet().await.context("the fleet stays")?;
            before.is_unaffected("the removal of the operator").await?;

            // Under the same name and namespace, the new release adopts the definitions and the
            // fleet.
            release.helm(&["install"], &chart(), &[])?;
            release.change_fleet(6).await?;
            before.is_unaffected("the new operator").await
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_applied_with_kubectl_are_upgraded_before_the_chart_and_can_be_adopted_by_it() {
    alone("crds-applied-with-kubectl", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let cluster = &release.cluster;
            let apply =
                |folder: &Path| output(cluster.sandbox.kubectl().args(["apply", "-f"]).arg(folder));
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
            release.change_fleet(3).await?;
            before.is_unaffected("the upgrade").await?;

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
            release.change_fleet(4).await?;
            before.is_unaffected("the change of owner").await
        })
        .await
    })
    .await;
}

/// A release with another name: the frozen chart uses one lease for every name, the current chart
/// one per name.
const OTHER: &str = "orders-operator";

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_under_another_release_name_never_has_two_writing_processes() {
    alone("an-upgrade-under-another-name", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            // The frozen chart with its defaults, and with its lease.
            for settings in [&[][..], &["--set=replicas=2,leaderElection.enabled=true"]] {
                let result = upgraded_under_another_name(&release, settings).await;
                if result.is_err() {
                    eprintln!("{}", evidence(&release.cluster));
                }
                let mut helm = release.cluster.sandbox.helm();
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
    let cluster = &release.cluster;
    let helm = |verb: &str, chart: &Path| {
        let mut helm = cluster.sandbox.helm();
        helm.arg(verb).arg(OTHER).arg(chart).args(PLACE);
        helm.args(["--wait", "--timeout=120s", "--values"]);
        helm.arg(&release.values);
        helm
    };
    output(helm("install", &frozen_chart()).args(settings))?;
    eventually("the old version leads", || async {
        let leads = leading(cluster)?;
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
            at_most_one_leads(cluster)?;
            if let Some(ended) = upgrade.try_wait()? {
                break ended;
            }
        };
        anyhow::ensure!(ended.success(), "helm upgrade: {ended}");
        // The old pods may still be terminating; one of the new pods becomes the leader.
        eventually("the new version leads alone", || async {
            at_most_one_leads(cluster)?;
            let leads = leading(cluster)?;
            let lease = format!("{OTHER}-taskqueue-operator-leader");
            let lease = crate::leaders::lease_of(cluster, &lease).await?;
            let holder = lease.and_then(|lease| lease.holder_identity);
            Ok(match (leads.as_slice(), holder) {
                ([leads], Some(holder)) if *leads == holder => Ok(()),
                (leads, holder) => Err(format!("{leads:?} lead, and {holder:?} holds the lease")),
            })
        })
        .await?;
    }
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
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
fn leading(cluster: &TestCluster) -> anyhow::Result<Vec<String>> {
    let names = output(
        cluster
            .sandbox
            .kubectl()
            .args(["get", "pods", "--output=jsonpath={.items[*].metadata.name}"])
            .args(PLACE),
    )?;
    let names = names.split_whitespace().map(str::to_owned);
    Ok(names.filter(|pod| leads(cluster, pod)).collect())
}

/// The lease holders and the logs of the replicas.
fn evidence(cluster: &TestCluster) -> String {
    let instance = format!("--selector=app.kubernetes.io/instance={OTHER}");
    let commands: [&[&str]; 3] = [
        &["get", "leases", "--output=yaml"],
        &["get", "pods", "--output=wide"],
        &["logs", "--prefix", "--tail=50", &instance],
    ];
    let printed = commands.map(|command| {
        let printed = output(cluster.sandbox.kubectl().args(command).args(PLACE));
        printed.unwrap_or_else(|error| format!("{error:#}"))
    });
    printed.join("\n")
}

/// Whether a replica reports that it leads. A replica that does not answer has not started, or has
/// ended.
fn leads(cluster: &TestCluster, pod: &str) -> bool {
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/metrics");
    let metrics = output(cluster.sandbox.kubectl().args(["get", "--raw", &path]));
    metrics.is_ok_and(|metrics| {
        metrics
            .lines()
            .any(|line| line == "taskqueue_operator_leader 1")
    })
}

/// Checks that at most one replica leads. The replicas are read one after the other, so those that
/// report it are read again in case the lease moved in between.
fn at_most_one_leads(cluster: &TestCluster) -> anyhow::Result<()> {
    let mut leads_now = leading(cluster)?;
    if leads_now.len() > 1 {
        leads_now.retain(|pod| leads(cluster, pod));
    }
    anyhow::ensure!(
        leads_now.len() <= 1,
        "several processes lead at once: {leads_now:?}"
    );
    Ok(())
}
