//! The replicas of the operator: which one leads, what they answer, and their processes. A process
//! is found by the name of its pod, so signals reach no other process on the machine.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use rustix::process::{Pid, Signal, kill_process};
use sandbox_machine::{OPERATOR_LEASE, Process};

use crate::harness::{OPERATOR, OPERATOR_NAMESPACE, TestCluster, eventually, output};

/// Waits until two replicas are ready and one of them leads; returns the leader and the other one.
pub(crate) async fn settled(cluster: &TestCluster) -> anyhow::Result<(String, String)> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    eventually("two replicas are ready and one leads", || async {
        let label = format!("app.kubernetes.io/name={OPERATOR}");
        let pods = api.list(&ListParams::default().labels(&label)).await?.items;
        let ready: BTreeSet<String> = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_ready(pod))
            .map(ResourceExt::name_any)
            .collect();
        // A process that has ended twice waits before it is restarted. A new pod does not.
        for pod in pods.iter().filter(|pod| waits_to_restart(pod)) {
            api.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await?;
        }
        let holder = lease(cluster).await?.holder_identity.unwrap_or_default();
        let others: Vec<&String> = ready.iter().filter(|name| **name != holder).collect();
        if ready.len() == 2
            && others.len() == 1
            && get(cluster, &holder, "readyz").is_ok_and(|answer| answer == "ok\n")
        {
            return Ok(Ok((holder.clone(), others[0].clone())));
        }
        Ok(Err(format!(
            "ready are {ready:?}, the lease is held by {holder:?}"
        )))
    })
    .await
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn waits_to_restart(pod: &Pod) -> bool {
    let status = pod.status.iter();
    let mut containers = status.flat_map(|status| status.container_statuses.iter().flatten());
    containers.any(|container| {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"))
    })
}

pub(crate) async fn lease(cluster: &TestCluster) -> anyhow::Result<LeaseSpec> {
    let lease = lease_of(cluster, OPERATOR_LEASE).await?;
    Ok(lease.unwrap_or_default())
}

/// A lease in the operator's namespace, if it exists.
pub(crate) async fn lease_of(
    cluster: &TestCluster,
    name: &str,
) -> anyhow::Result<Option<LeaseSpec>> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), OPERATOR_NAMESPACE);
    Ok(api.get_opt(name).await?.and_then(|lease| lease.spec))
}

async fn another_leads(cluster: &TestCluster, than: &str) -> anyhow::Result<LeaseSpec> {
    eventually("another replica holds the lease", || async {
        let lease = lease(cluster).await?;
        let another = lease
            .holder_identity
            .as_deref()
            .is_some_and(|holder| !holder.is_empty() && holder != than);
        Ok(if another {
            Ok(lease)
        } else {
            Err(format!("{lease:?}"))
        })
    })
    .await
}

/// Waits until somebody has taken the lease after this moment; returns it.
pub(crate) async fn taken_after(
    cluster: &TestCluster,
    moment: Timestamp,
) -> anyhow::Result<LeaseSpec> {
    eventually("a replica takes the lease", || async {
        let lease = lease(cluster).await?;
        let taken = lease
            .acquire_time
            .as_ref()
            .is_some_and(|time| time.0 >= moment);
        Ok(if taken && lease.holder_identity.is_some() {
            Ok(lease)
        } else {
            Err(format!("{lease:?}"))
        })
    })
    .await
}

/// The time from a moment until the lease was acquired, or, if the holder is the same, renewed.
pub(crate) fn since(moment: Timestamp, lease: &LeaseSpec) -> anyhow::Result<Duration> {
    let acquired = lease
        .acquire_time
        .as_ref()
        .map(|time| time.0)
        .filter(|time| *time >= moment);
    let taken = acquired
        .or(lease.renew_time.as_ref().map(|time| time.0))
        .context("a lease has times")?;
    Ok(taken.duration_since(moment).unsigned_abs())
}

/// A leader whose process is stopped until it is woken, at the latest when this is dropped.
pub(crate) struct Frozen(pub(crate) Process);

impl Frozen {
    pub(crate) fn wake(&self) -> anyhow::Result<()> {
        signal(&self.0, Signal::CONT)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if self.0.is_alive()
            && let Err(error) = self.wake()
        {
            eprintln!("waking process {}: {error:#}", self.0.pid);
        }
    }
}

/// Freezes the leader and waits until another replica leads; returns the frozen leader, and the
/// time from its last renewal of the lease until then.
pub(crate) async fn freeze(
    cluster: &TestCluster,
    leader: &str,
) -> anyhow::Result<(Frozen, Duration)> {
    let process = process_of(leader).await?;
    signal(&process, Signal::STOP)?;
    let frozen = Frozen(process);
    let last = lease(cluster)
        .await?
        .renew_time
        .context("a lease has a time")?;
    let next = another_leads(cluster, leader).await?;
    let took = since(last.0, &next)?;
    println!(
        "from the last renewal of a leader that froze until another leads: {:.1} s",
        took.as_secs_f64()
    );
    Ok((frozen, took))
}

/// Finds the operator's process in a pod.
pub(crate) async fn process_of(pod: &str) -> anyhow::Result<Process> {
    let variable = format!("POD_NAME={pod}");
    eventually(&format!("the process of {pod}"), || async {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let named = environment
                .split(|byte| *byte == 0)
                .any(|entry| entry == variable.as_bytes());
            if named
                && let Ok(process) = Process::of(pid)
                && process.runs("run")
            {
                return Ok(Ok(process));
            }
        }
        Ok(Err("no process has it in its environment".to_owned()))
    })
    .await
}

pub(crate) fn signal(process: &Process, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(process.pid).context("a process id is above 0")?;
    anyhow::ensure!(process.is_alive(), "process {} has ended", process.pid);
    kill_process(pid, signal).with_context(|| format!("{signal:?} to process {}", process.pid))
}

/// The response of a replica of the operator on its port.
pub(crate) fn get(cluster: &TestCluster, pod: &str, path: &str) -> anyhow::Result<String> {
    let url = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{pod}:8080/proxy/{path}");
    output(cluster.sandbox.kubectl().args(["get", "--raw", &url]))
}
