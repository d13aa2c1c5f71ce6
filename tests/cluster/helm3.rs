//! The chart with Helm 3: it renders as with Helm 4, and the packaged chart is installed, tested,
//! upgraded, rolled back and removed while a fleet runs. Then Helm 4 goes on with the same release.

use std::{fs, process::Command};

use anyhow::Context as _;
use sandbox_machine::{Progress, Sandbox};

use crate::{
    harness::{OPERATOR, alone, output, with_namespace},
    upgrade::release::{PLACE, chart, definitions, on_a_bare_cluster, package},
};

fn helm3(sandbox: &Sandbox) -> anyhow::Result<Command> {
    Ok(sandbox.helm3(Progress::silent())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_3_checks_and_renders_every_value_set_of_the_chart_as_helm_4_does() {
    with_namespace("helm-3-renders-the-chart", |cluster| async move {
        let sandbox = &cluster.sandbox;
        let version = output(helm3(sandbox)?.args(["version", "--short"]))?;
        anyhow::ensure!(version.starts_with("v3."), "{version}");
        let mut sets = 0;
        for entry in fs::read_dir(chart().join("ci"))? {
            let values = entry?.path();
            let set = values.display().to_string();
            let lint = ["lint", "--strict", "--values", &set];
            output(helm3(sandbox)?.args(lint).arg(chart())).context(set.clone())?;
            let template = |mut helm: Command| {
                helm.args(["template", OPERATOR]).arg(chart()).args(PLACE);
                // Each renders for another version unless it is told one.
                helm.args(["--kube-version=1.36.0", "--include-crds", "--values", &set]);
                output(&mut helm)
            };
            let (older, newer) = (template(helm3(sandbox)?)?, template(sandbox.helm())?);
            let (older, newer) = (documents(&older), documents(&newer));
            let differs = older.iter().zip(&newer).find(|(a, b)| a != b);
            anyhow::ensure!(older == newer, "{set}: {differs:?}");
            sets += 1;
        }
        anyhow::ensure!(sets > 0, "the chart has value sets");
        Ok(())
    })
    .await;
}

/// The documents of a YAML stream. Helm 4 ends each with one more blank line than Helm 3.
fn documents(stream: &str) -> Vec<&str> {
    stream.split("---\n").map(str::trim_end).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_3_installs_upgrades_rolls_back_and_removes_the_packaged_chart() {
    alone("helm-3-installs-the-chart", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let sandbox = &release.cluster.sandbox;
            let package = package(&release.cluster)?;
            release.helm_with(helm3(sandbox)?, &["install"], &package, &[])?;
            release.definitions_are(&definitions()).await?;
            let before = release.start_fleet().await?;
            let test = ["test", OPERATOR, "--timeout=120s"];
            output(helm3(sandbox)?.args(test).args(PLACE))?;

            let other = ["--set=concurrency=4"];
            release.helm_with(helm3(sandbox)?, &["upgrade"], &package, &other)?;
            release.change_fleet(3).await?;
            before.is_unaffected("the upgrade").await?;

            let rollback = ["rollback", OPERATOR, "1", "--wait", "--timeout=120s"];
            output(helm3(sandbox)?.args(rollback).args(PLACE))?;
            release.change_fleet(4).await?;
            before.is_unaffected("the rollback").await?;

            // A person who changes to Helm 4 goes on with the release.
            release.helm(&["upgrade"], &package, &other)?;
            release.change_fleet(5).await?;
            before.is_unaffected("the upgrade with Helm 4").await?;

            let uninstall = ["uninstall", OPERATOR, "--wait", "--timeout=120s"];
            output(helm3(sandbox)?.args(uninstall).args(PLACE))?;
            release.definitions_are(&definitions()).await?;
            release.cluster.fleet().await.context("the fleet stays")?;
            before.is_unaffected("the removal of the operator").await?;

            release.helm(&["install"], &chart(), &[])?;
            release.change_fleet(6).await?;
            before.is_unaffected("the new operator").await
        })
        .await
    })
    .await;
}
