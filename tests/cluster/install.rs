//! What a release has to install the operator with: the plain YAML, by kubectl, and the packaged
//! chart, by Helm. Only the image differs: the sandbox has its own, which no registry has.

use std::{ffi::OsString, fs, net::TcpListener};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::{Api, api::ListParams};
use serde_json::json;

use crate::{
    harness::{
        OPERATOR, OPERATOR_NAMESPACE, TEMPORAL, TestCluster, alone, eventually, one_queue, output,
    },
    upgrade::release::{PLACE, definitions, file, on_a_bare_cluster, package},
};

/// A name that only the chart's `hostAliases` and the fleet's template know.
const ALIAS: &str = "temporal.install.example";

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

/// The address of Temporal's service in the cluster, and its port.
async fn temporal_address(cluster: &TestCluster) -> anyhow::Result<(String, String)> {
    let (name, port) = TEMPORAL.rsplit_once(':').context("a port")?;
    let mut parts = name.split('.');
    let (service, namespace) = parts.next().zip(parts.next()).context("a namespace")?;
    let services = Api::<Service>::namespaced(cluster.client.clone(), namespace);
    let spec = services.get(service).await?.spec.unwrap_or_default();
    Ok((spec.cluster_ip.context("no cluster IP")?, port.to_owned()))
}

/// Waits until the operator has one pod with this many ready containers.
async fn one_pod_runs(cluster: &TestCluster, ready: usize) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    let chosen = ListParams::default().labels(&format!("app.kubernetes.io/name={OPERATOR}"));
    eventually("one pod of the operator runs", || async {
        let list = pods.list(&chosen).await?.items;
        let containers = |pod: &Pod| {
            let status = pod.status.iter();
            let containers = status.flat_map(|status| status.container_statuses.iter().flatten());
            containers.filter(|container| container.ready).count()
        };
        let found: Vec<usize> = list.iter().map(containers).collect();
        Ok(if found == [ready] {
            Ok(())
        } else {
            Err(format!("ready containers: {found:?}"))
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_take_containers_volumes_variables_and_names() {
    alone("the-values-for-pods", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let cluster = release.cluster.clone();
            let (address, port) = temporal_address(&cluster).await?;
            let version = env!("CARGO_PKG_VERSION");
            let values = json!({
                "replicas": 1,
                "extraObjects": [{
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "extra", "namespace": "{{ .Release.Namespace }}"},
                    "data": {"LOG": "extra"},
                }],
                "extraVolumes": [{"name": "extra", "configMap": {"name": "extra"}}],
                "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                "extraEnvFrom": [{"configMapRef": {"name": "extra"}}],
                "extraInitContainers": [{
                    "name": "before", "image": format!("localhost/{OPERATOR}:{version}"),
                    "args": ["--version"],
                }],
                "extraContainers": [{"name": "beside", "image": "localhost/pause:1"}],
                "hostAliases": [{"ip": address, "hostnames": [ALIAS]}],
                "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
            });
            let values = file(&cluster, "pods.json", &values)?;
            let values = format!("--values={}", values.display());
            let package = package(&cluster)?;
            release.helm(&["install", "--create-namespace"], &package, &[&values])?;
            one_pod_runs(&cluster, 2).await?;
            let mut fleet = one_queue(&cluster.queue("all"), 1, 1, &json!({}));
            fleet["connection"]["address"] = json!(format!("{ALIAS}:{port}"));
            fleet["template"]["spec"]["hostAliases"] =
                json!([{"ip": address, "hostnames": [ALIAS]}]);
            cluster.apply(fleet).await?;
            cluster
                .condition_is("ScalingActive", "True", "Active")
                .await
                .map(drop)
        })
        .await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_works_on_the_network_of_its_node() {
    alone("the-network-of-the-node", |cluster| async move {
        on_a_bare_cluster(&cluster, |release| async move {
            let cluster = release.cluster.clone();
            // The node may share its network with others: 8080 can be taken.
            let free = TcpListener::bind("0.0.0.0:0")?.local_addr()?.port();
            let values = json!({
                "replicas": 1, "hostNetwork": true, "ports": {"metrics": free},
            });
            let values = file(&cluster, "host.json", &values)?;
            let values = format!("--values={}", values.display());
            let package = package(&cluster)?;
            release.helm(&["install", "--create-namespace"], &package, &[&values])?;
            one_pod_runs(&cluster, 1).await?;
            let pods = Api::<Pod>::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
            let chosen =
                ListParams::default().labels(&format!("app.kubernetes.io/name={OPERATOR}"));
            let list = pods.list(&chosen).await?;
            let status = list.items.first().and_then(|pod| pod.status.as_ref());
            let (pod, node) = status
                .map(|it| (&it.pod_ip, &it.host_ip))
                .context("no pod")?;
            anyhow::ensure!(pod.is_some() && pod == node, "{pod:?}, {node:?}");
            // The names of Services resolve, and Temporal is reached.
            cluster
                .apply(one_queue(&cluster.queue("all"), 1, 1, &json!({})))
                .await?;
            cluster
                .condition_is("ScalingActive", "True", "Active")
                .await?;
            let test = ["test", OPERATOR, "--timeout=120s"];
            output(cluster.sandbox.helm().args(test).args(PLACE)).map(drop)
        })
        .await
    })
    .await;
}
