//! A snapshot of the workers in a namespace, to tell whether anything touched them later. Reads
//! only.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kube::{ResourceExt, api::ListParams};

use super::{TestCluster, eventually};

/// Two snapshots are equal if no worker was restarted, replaced or terminated, and no Deployment
/// was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workers {
    /// By name: the uid, and the generation, which counts every change of the spec.
    pub(crate) deployments: BTreeMap<String, (Option<String>, Option<i64>)>,
    /// By name.
    pub(crate) pods: BTreeMap<String, SeenPod>,
}

/// The facts that a restart would change about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenPod {
    uid: Option<String>,
    restarts: i32,
    pub(crate) ready: bool,
    ending: bool,
    ip: Option<IpAddr>,
}

impl Workers {
    /// The IP addresses of the pods.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.pods.values().filter_map(|pod| pod.ip).collect()
    }
}

impl TestCluster {
    /// Takes a snapshot of the workers.
    pub(crate) async fn workers(&self) -> anyhow::Result<Workers> {
        let all = ListParams::default();
        let deployments = self.api::<Deployment>().list(&all).await?.items;
        let pods = self.api::<Pod>().list(&all).await?.items;
        let version = |deployment: &Deployment| {
            let version = (deployment.uid(), deployment.metadata.generation);
            (deployment.name_any(), version)
        };
        Ok(Workers {
            deployments: deployments.iter().map(version).collect(),
            pods: pods.iter().map(|pod| (pod.name_any(), seen(pod))).collect(),
        })
    }

    /// Waits until `number` pods run and all of them are ready.
    pub(crate) async fn workers_run(&self, number: usize) -> anyhow::Result<Workers> {
        eventually(&format!("{number} workers are ready"), || async {
            let now = self.workers().await?;
            let ready = now.pods.len() == number && now.pods.values().all(|pod| pod.ready);
            Ok(if ready {
                Ok(now)
            } else {
                Err(format!("{now:?}"))
            })
        })
        .await
    }

    /// Waits until the workers' heartbeats show this number of activities in work.
    pub(crate) async fn are_in_work(&self, activities: u32) -> anyhow::Result<()> {
        eventually(&format!("{activities} activities are in work"), || async {
            let label = ("task_type", "activity");
            let used = self.series("taskqueue_operator_slots_used", &[label])?;
            Ok(if used == Some(f64::from(activities)) {
                Ok(())
            } else {
                Err(format!("{used:?}"))
            })
        })
        .await
    }

    /// Fails if the workers differ from the snapshot.
    pub(crate) async fn untouched(&self, before: &Workers, by_what: &str) -> anyhow::Result<()> {
        let now = self.workers().await?;
        anyhow::ensure!(
            now == *before,
            "{by_what} changed the workers: {before:?} became {now:?}"
        );
        Ok(())
    }
}

fn seen(pod: &Pod) -> SeenPod {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    SeenPod {
        uid: pod.uid(),
        restarts: containers
            .iter()
            .map(|container| container.restart_count)
            .sum(),
        ready: containers.iter().all(|container| container.ready) && !containers.is_empty(),
        ending: pod.metadata.deletion_timestamp.is_some(),
        ip: status.pod_ip.and_then(|ip| ip.parse().ok()),
    }
}
