//! What a release has to install the operator with: the plain YAML, by kubectl, and the packaged
//! chart, by Helm. Only the image differs: the sandbox has its own, which no registry has.

use std::{ffi::OsString, fs};

use crate::{
    harness::{OPERATOR, OPERATOR_NAMESPACE, alone, output},
    upgrade::release::{PLACE, definitions, on_a_bare_cluster, package},
};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_installs_the_plain_yaml_of_a_release_and_helm_takes_it_over() {
    alone("kubectl-installs-the-plain-yaml", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let sandbox = &release.cluster.sandbox;
            let package = package(&release.cluster)?;
            let image: [OsString; 2] = ["--values".into(), release.values.clone().into()];
            let yaml = sandbox_release::plain_yaml(&sandbox.programs().helm, &package, &image)?;
            let file = package.with_file_name("install.yaml");
            fs::write(&file, yaml)?;
            let apply = || {
                let mut kubectl = sandbox.kubectl();
                output(kubectl.args(["apply", "--filename"]).arg(&file))
            };
            let ready = || {
                let deployment = format!("deployment/{OPERATOR}");
                let mut kubectl = sandbox.kubectl();
                kubectl.args(["rollout", "status", &deployment, "--timeout=120s"]);
                output(kubectl.args(PLACE))
            };
            apply()?;
            ready()?;
            release.definitions_are(&definitions()).await?;
            let before = release.start_fleet().await?;

            apply()?;
            ready()?;
            before.is_unaffected("the second time").await?;

            release.helm(
                &[
                    "upgrade",
                    "--install",
                    "--take-ownership",
                    "--force-conflicts",
                ],
                &package,
                &[],
            )?;
            ready()?;
            release.change_fleet(3).await?;
            before.is_unaffected("the change to Helm").await
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_4_installs_the_packaged_chart_of_a_release() {
    alone("helm-4-installs-the-package", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let sandbox = &release.cluster.sandbox;
            let package = package(&release.cluster)?;
            release.helm(&["install", "--create-namespace"], &package, &[])?;
            release.definitions_are(&definitions()).await?;
            let listed = ["list", "--namespace", OPERATOR_NAMESPACE];
            let listed = output(sandbox.helm().args(listed))?;
            let version = concat!("taskqueue-operator-", env!("CARGO_PKG_VERSION"));
            anyhow::ensure!(listed.contains(version), "{listed}");
            let before = release.start_fleet().await?;
            let test = ["test", OPERATOR, "--timeout=120s"];
            output(sandbox.helm().args(test).args(PLACE))?;

            release.helm(&["upgrade"], &package, &["--set=concurrency=4"])?;
            release.change_fleet(3).await?;
            before.is_unaffected("the upgrade").await?;
            release.helm(&["upgrade"], &package, &[])?;
            release.change_fleet(4).await?;
            before.is_unaffected("the upgrade to the default").await
        })
        .await
    })
    .await;
}
